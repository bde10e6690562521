"""The ids of spans: 16 hexadecimal digits each, made many at once.

To make one by itself takes ten times as long as to take one that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

_AT_ONCE: Final = 256
_BITS: Final = 64
_DIGITS: Final = 16


class SpanIds:
    """random_bits: gives so many as a number. Threads may share one.

    process: 16 digits of this process's own, for ids that are longer than those of spans.
    """

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self.renew()

    def renew(self) -> None:
        """Begin others: in the child of a fork those that are there would be its parent's, too."""
        self._ready: Iterator[str] = iter(())
        self.process = f"{self._random_bits(_BITS) or 1:016x}"

    def next(self) -> str:
        """One that has not been there before."""
        found = next(self._ready, None)
        if found is None:
            digits = self._random_bits(_AT_ONCE * _BITS).to_bytes(_AT_ONCE * _BITS // 8, "big").hex()
            made = iter([digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)])
            found = next(made)
            self._ready = made
        return found
