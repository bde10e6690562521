"""When to say once more what goes on being wrong, so that it is seen and fills no log."""

from __future__ import annotations

from typing import Final

FIRST: Final = 10.0
LONGEST: Final = 3600.0
"""Seconds between the first two times, and at the most: each pause is twice the one before."""


class Reminder:
    """Of one thing that is wrong."""

    __slots__ = ("_at", "_pause")

    def __init__(self) -> None:
        self._at = float("-inf")
        self._pause = FIRST

    def due(self, now: float) -> bool:
        """Whether it is to be said now, as it is at first."""
        if now < self._at:
            return False
        self._at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST)
        return True
