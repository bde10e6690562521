"""How many calls may be tried again: a share of all, so that retries never become a storm.

Where a whole service fails, each caller who tries again adds to what brought it down. So a retry, and the
copy of a call that hedging sends, takes one from what the calls put in (the retry budget of Finagle). All
clients of a service in a process share one, also from several threads: what is counted twice, or not at all,
where two of them meet, does not matter.
"""

from __future__ import annotations

from math import exp
from typing import Final

SHARE: Final = 0.2
"""Retries for each call."""
RESERVE: Final = 10.0
"""Retries a second that there are besides, for those who call seldom."""
MEMORY: Final = 10.0
"""Seconds after which what was put in and not taken is forgotten, more or less."""


class RetryBudget:
    """calls: how many were made, counted by whoever makes them."""

    __slots__ = ("__weakref__", "_earned", "_reserve", "_seen", "_seen_at", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._seen = 0
        self._seen_at = 0.0
        self._earned = 0.0
        self._reserve = RESERVE * MEMORY

    def take(self, now: float) -> bool:
        """Whether one call may be tried again now; then it is taken from the budget."""
        self._look(now)
        if self._earned >= 1.0:
            self._earned -= 1.0
        elif self._reserve >= 1.0:
            self._reserve -= 1.0
        else:
            return False
        return True

    def _look(self, now: float) -> None:
        """Put in what the calls since the last look have earned, as if they had come evenly."""
        passed = max(now - self._seen_at, 0.0)
        calls = self.calls - self._seen
        self._seen, self._seen_at = self.calls, max(now, self._seen_at)
        kept = exp(-passed / MEMORY)
        even = (1.0 - kept) * MEMORY / passed if passed else 1.0
        self._earned = self._earned * kept + SHARE * calls * even
        self._reserve = min(self._reserve + RESERVE * passed, RESERVE * MEMORY)
