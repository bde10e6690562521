"""How long many things took, in little room: a sketch of which any quantile may be asked, and that adds up.

Each bucket is 4 % wider than the one before, so that a quantile is right within 2 % whatever the values are,
and two sketches merge without a further error (DDSketch, Masson, Rim and Lee, VLDB 2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log
from typing import Final, Self

GAMMA: Final = 1.04
_PER_LOG: Final = 1 / log(GAMMA)
SHORTEST: Final = 1e-6
"""Seconds; what is shorter counts as that."""
LONGEST: Final = 1e6
_LOWEST: Final = int(log(SHORTEST) * _PER_LOG) - 1
_HIGHEST: Final = int(log(LONGEST) * _PER_LOG) + 1


class Sketch:
    """buckets: number -> how many values are in it. total: their sum in seconds. longest: the largest."""

    __slots__ = ("buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Take in these, in seconds."""
        buckets = self.buckets
        for value in values:
            value = min(max(value, SHORTEST), LONGEST)
            bucket = int(log(value) * _PER_LOG // 1)
            buckets[bucket] = buckets.get(bucket, 0) + 1
            self.count += 1
            self.total += value
            if value > self.longest:
                self.longest = value

    def merge(self, other: Self) -> None:
        """Take in all that another one has."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> float:
        """The value, in seconds, that `share` (0 to 1) of all are not above; 0.0 where there is none."""
        left = share * self.count
        if not self.count:
            return 0.0
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(float(GAMMA ** (bucket + 0.5)), self.longest)
        return self.longest

    def pack(self) -> list[object]:
        """As values that travel, for `unpack`."""
        return [self.total, self.longest, self.buckets]

    @classmethod
    def unpack(cls, packed: object) -> Self:
        """Raises ValueError for what `pack` has not made."""
        match packed:
            case [float() as total, float() as longest, Mapping() as buckets] if all(
                map(_is_bucket, buckets.items())
            ):
                sketch = cls()
                sketch.buckets = dict(buckets)
                sketch.count, sketch.total, sketch.longest = sum(buckets.values()), total, longest
                return sketch
        raise ValueError("this is no sketch")


def _is_bucket(item: tuple[object, object]) -> bool:
    number, count = item
    return type(number) is int and type(count) is int and _LOWEST <= number <= _HIGHEST and 0 < count < 2**48
