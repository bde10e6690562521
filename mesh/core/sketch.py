"""How long many things took, in little room: a sketch of which any quantile may be asked, and that adds up.

A bucket is as wide as a thirty-second of the power of two at which it begins, so that a quantile is right
within 2 % whatever the values are, and two sketches merge without a further error (as in HdrHistogram). Such
a bucket's number is the head of the value as a binary number of 32 bits (IEEE 754), so that most of what is
done for each value is done in C: there is one for each call.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from math import inf
from typing import Final, Self

SHORTEST: Final = 1e-6
"""Seconds; what is shorter counts as that."""
LONGEST: Final = 1e6
MOST: Final = 2**48
"""Values of one bucket in a sketch that travels; of more it has one less than that."""
_DROPPED: Final = 18
"""Bits at the end of a number that don't count: of the 23 behind the point five are left."""
_HEAD: Final = int(sys.byteorder == "little")
"""Which of the two halves of a number of 32 bits is its head."""


def _bucket(value: float) -> int:
    return int(struct.unpack("=I", struct.pack("=f", value))[0] >> _DROPPED)


_LOWEST: Final = _bucket(SHORTEST)
_HIGHEST: Final = _bucket(LONGEST)


class Sketch:
    """buckets: number -> how many values are in it. total: their sum in seconds. longest: the largest."""

    __slots__ = ("buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Take in these, in seconds."""
        if not values:
            return
        if min(values) < SHORTEST or max(values) > LONGEST:
            values = [
                value if SHORTEST <= value <= LONGEST else min(max(value, SHORTEST), LONGEST)
                for value in values
            ]
        buckets = self.buckets
        heads = array("H", array("f", values).tobytes())[_HEAD::2]
        for head, count in Counter(heads).items():
            bucket = head >> (_DROPPED - 16)
            buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += len(values)
        self.total += sum(values)
        self.longest = max(self.longest, max(values))

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
                return min(_middle(bucket), self.longest)
        return self.longest

    def spread(self, bounds: Sequence[float]) -> list[int]:
        """How many values are at most the first bound, how many more at most each next one, and at the end
        how many are above the last. bounds: seconds, in ascending order; each is met within 2 %.
        """
        found = [0] * (len(bounds) + 1)
        for bucket, count in self.buckets.items():
            found[bisect_left(bounds, _middle(bucket))] += count
        return found

    def pack(self) -> list[object]:
        """As values that travel, for `unpack`."""
        buckets = self.buckets
        if buckets and max(buckets.values()) >= MOST:
            buckets = {bucket: min(count, MOST - 1) for bucket, count in buckets.items()}
        return [self.total, self.longest, buckets]

    @classmethod
    def unpack(cls, packed: object) -> Self:
        """Raises ValueError for what `pack` has not made."""
        match packed:
            case [float() as total, float() as longest, Mapping() as buckets] if (
                0 <= total < inf and 0 <= longest < inf and all(map(_is_bucket, buckets.items()))
            ):
                sketch = cls()
                sketch.buckets = dict(buckets)
                sketch.count, sketch.total, sketch.longest = sum(buckets.values()), total, longest
                return sketch
        raise ValueError("this is no sketch")


@cache
def _middle(bucket: int) -> float:
    return float(struct.unpack("=f", struct.pack("=I", (bucket << _DROPPED) | (1 << (_DROPPED - 1))))[0])


def _is_bucket(item: tuple[object, object]) -> bool:
    number, count = item
    return type(number) is int and type(count) is int and _LOWEST <= number <= _HIGHEST and 0 < count < MOST
