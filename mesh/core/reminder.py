"""When to say once more what goes on being wrong, so that it is seen and fills no log."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

FIRST: Final = 60.0
LONGEST: Final = 3600.0
"""Seconds between the first two times, and at the most: each pause is twice the one before."""
MOST: Final = 16
"""Things that may be wrong by turns, unless whoever asks says otherwise."""


class Reminder:
    """Of one thing that is wrong."""

    __slots__ = ("_at", "_pause")

    def __init__(self) -> None:
        self._at = float("-inf")
        self._pause = FIRST

    def due(self, now: float) -> bool:
        """Whether it is to be said now, as it is at first, and when it has not been wrong for long."""
        if now < self._at:
            return False
        if now >= self._at + self._pause:
            self._pause = FIRST
        self._at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST)
        return True


class Reminders:
    """Of things that are wrong by turns; of too many the one is forgotten that was longest not wrong."""

    __slots__ = ("_most", "_reminders")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._reminders: dict[Hashable, Reminder] = {}

    def due(self, what: Hashable, now: float) -> bool:
        """As that of the one reminder."""
        reminder = self._reminders.pop(what, None) or Reminder()
        self._reminders[what] = reminder
        if len(self._reminders) > self._most:
            del self._reminders[next(iter(self._reminders))]
        return reminder.due(now)
