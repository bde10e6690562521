"""How many handlers of a server may run at once, and how many calls hubs may give it. Pure."""

from __future__ import annotations

from typing import Final

MAX_RUNNING: Final = 10_000
"""Handlers at once where the server has no pool size."""
CAPACITY: Final = 1_000
"""Calls at once that a hub may give where there is no limit."""


class Slots:
    """pool_size: handlers at once, or None for MAX_RUNNING. threads: native threads that handlers have, 0
    where they have none; a stream that waits for credit is in none.

    running: how many run. limit: how many may.
    """

    __slots__ = ("_lent", "_most", "_of_threads", "_offered", "leaving", "limit", "running")

    def __init__(self, pool_size: int | None, threads: int) -> None:
        self._most = pool_size or MAX_RUNNING
        self._of_threads = min(self._most, threads or MAX_RUNNING)
        self._lent = 0
        self._offered = self._of_threads
        self.limit = self._of_threads
        self.running = 0
        self.leaving = False

    @property
    def capacity(self) -> int:
        """Calls at once that a hub may give."""
        return 0 if self.leaving else min(self.limit, CAPACITY)

    def leave(self) -> None:
        """Hubs are to give no more."""
        self.leaving = True

    def lend(self, number: int) -> None:
        """A stream waits in no thread, so that its place is for others; or, with -1, wants it back."""
        self._lent += number
        self.limit = min(self._most, self._of_threads + self._lent)

    def take_change(self) -> bool:
        """Whether there are more or fewer places than at the last time."""
        changed, self._offered = self.limit != self._offered, self.limit
        return changed

    def load(self) -> tuple[int, int]:
        """How many run, and how many may."""
        return self.running, self.limit
