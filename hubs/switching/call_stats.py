"""What has become of a service's calls, and how many a second there are. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 5.0
"""Seconds over which a rate is taken."""
_SLICE: Final = 1.0


class CallStats:
    """calls: that workers have ended, or were lost with. errors: those of them that came to an error.
    refused: calls that no worker has seen.

    Whoever counts a call asks for a slice from `slice_ends` on, and then adds to `calls`.
    """

    __slots__ = ("_slices", "calls", "errors", "refused", "slice_ends")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.refused = 0
        self.slice_ends = 0.0
        # When each began, and the calls of before.
        self._slices: deque[tuple[float, int]] = deque(maxlen=int(WINDOW / _SLICE) + 2)

    def begin_slice(self, now: float) -> None:
        """The calls from now on are counted apart from those of before."""
        self._slices.append((now, self.calls))
        self.slice_ends = now + _SLICE

    def lost(self, now: float) -> None:
        """A call was lost with its worker."""
        if now >= self.slice_ends:
            self.begin_slice(now)
        self.calls += 1
        self.errors += 1

    def rate(self, now: float) -> float:
        """Calls a second over the last WINDOW."""
        until, total = self.calls, 0.0
        for begun, before in reversed(self._slices):
            ends = min(now, begun + _SLICE)
            inside = ends - max(begun, now - WINDOW)
            if inside <= 0 and ends > begun:
                break
            share = inside / (ends - begun) if ends > begun else 1.0
            total += (until - before) * share
            until = before
        return total / WINDOW
