"""When an endpoint is dialled again whose handshake has failed.

libzmq either never tries again (after a protocol error, such as a server that wants a CURVE key), or some
twenty times a second (where the connection is closed in the handshake). Here it is a pause that doubles while
nobody waits, and is short while somebody does, as far as a budget of attempts goes. Time comes in as an
argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final

from mesh.core.channel import NEVER

FIRST: Final = 0.05
LONGEST: Final = 30.0
"""Seconds between two attempts while nobody waits, at first and at the most."""
WANTED: Final = 1.0
"""The same while somebody waits for the connection, at the most."""
BUDGET: Final = 20.0
PER_ATTEMPT: Final = 8.0
"""Attempts that may follow each other so, and seconds until one more may: below 500 an hour in any case."""


class Redial:
    """One endpoint. at: when it is to be dialled again; NEVER where no handshake has failed."""

    __slots__ = ("_budget", "_counted", "_dialled", "_pause", "at")

    def __init__(self) -> None:
        self.at = NEVER
        self._pause = 0.0
        self._dialled = -NEVER
        self._budget = BUDGET
        self._counted = -NEVER
        """When the budget was last brought up to date."""

    def failed(self, now: float) -> None:
        """A handshake has failed, or the connection has ended in it."""
        if self._dialled == -NEVER:
            self._dialled = now  # libzmq's own attempt, of just now
        self._pause = min(max(FIRST, 2 * self._pause), LONGEST)
        self.at = max(now + self._pause, self._next_by_budget(now))

    def wanted(self, now: float) -> None:
        """Somebody waits for this connection."""
        if self.at != NEVER:
            soon = max(now, self._dialled + min(self._pause, WANTED))
            self.at = min(self.at, max(soon, self._next_by_budget(now)))

    def dialled(self, now: float) -> None:
        """It is being tried."""
        self._next_by_budget(now)
        self._budget -= 1
        self._dialled = now
        self.at = NEVER

    def succeeded(self) -> None:
        """A handshake has ended well."""
        self._pause = 0.0
        self.at = NEVER

    def _next_by_budget(self, now: float) -> float:
        elapsed = now - self._counted if self._counted != -NEVER else 0.0
        self._budget = min(BUDGET, self._budget + elapsed / PER_ATTEMPT)
        self._counted = now
        return now + max(0.0, (1.0 - self._budget) * PER_ATTEMPT)
