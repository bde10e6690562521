"""Messages that wait for others of the same moment, to go in one frame: how long, and when none does.

Whoever is woken together may send together. Pure: time comes in as an argument, in seconds of any monotonic
clock, and what is to be sent comes out.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

from mesh.core.channel import NEVER

HOLD: Final = 0.001
"""Seconds for which a message may wait for others."""
QUICK: Final = 0.0005
"""Seconds that a method takes whose answers wait for those of the next, and an item of a stream."""
SLOW: Final = 0.002
"""Seconds of a turn after which whoever had it counts as slow, and nothing waits for it the next time."""
STRIKES: Final = 3
REST: Final = 1.0
"""Seconds for which nothing waits, where those that were not known were slow, so many times after each
other."""
STUCK: Final = 0.05
"""Seconds after which the watchdog sends what waits."""

T = TypeVar("T")


class Cork(Generic[T]):
    """A T is a connection that messages wait at. guarded: the watchdog looks after what is held; without it
    nothing is.
    """

    __slots__ = ("_from", "_held", "_slow", "_strikes", "on", "since")

    def __init__(self, guarded: bool) -> None:
        self.on = False
        """Whether messages wait now."""
        self.since = NEVER
        """When the oldest that waits came."""
        self._held: set[T] = set()
        self._from = 0.0 if guarded else NEVER
        self._strikes = 0
        self._slow: WeakSet[Any] = WeakSet()

    def __bool__(self) -> bool:
        return bool(self._held)

    def begin(self, now: float) -> None:
        """Several are woken, and may send."""
        self.on = now >= self._from

    def add(self, connection: T, now: float) -> bool:
        """A message waits at this connection; whether the oldest has waited for long enough."""
        if not self._held:
            self.since = now
        self._held.add(connection)
        return now - self.since > HOLD

    def end(self) -> None:
        """All that were woken have had their turn; what waits is to be released."""
        self.on = False

    def release(self, now: float) -> list[T]:
        """The connections at which something waits, for it to be sent."""
        self._strikes = self._strikes + 1 if now - self.since > SLOW else 0
        if self._strikes >= STRIKES:
            self._strikes = 0
            self._from = now + REST
            self.on = False
        self.since = NEVER
        held = list(self._held)
        self._held.clear()
        return held

    def overdue(self, now: float) -> bool:
        """Whether somebody keeps the loop who was not known to."""
        return now - self.since > STUCK

    def forget(self) -> None:
        """In the child of a fork: what waits is the parent's."""
        self._held.clear()
        self.since = NEVER

    # Whom nothing waits for, where the driver sees how long the turn of each is

    def is_slow(self, one: Any) -> bool:
        return bool(self._slow) and one in self._slow

    def note(self, one: Any, seconds: float) -> None:
        """How long its turn was."""
        if (seconds > SLOW) is not self.is_slow(one):
            change = self._slow.add if seconds > SLOW else self._slow.discard
            change(one)
