"""Calls that wait for others of the same moment, to go to a hub in one frame; and whom they do not wait for.

Used under the lock of the caller whose calls they are, but for `begin`, `is_slow` and `note`, which are its
loop's alone.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from mesh.core.channel import NEVER
from mesh.green.link import Link

HOLD: Final = 0.001
"""Seconds for which a call may wait for others."""
SLOW: Final = 0.002
"""Seconds of a greenlet's turn after which it counts as slow, and no call waits for it the next time."""
STRIKES: Final = 3
REST: Final = 1.0
"""Seconds for which no call waits for any other, where greenlets that were not known were slow, so many
times after each other."""
STUCK: Final = 0.05
"""Seconds after which the watchdog sends what waits."""


class Holding:
    """guarded: the watchdog looks after what is held; without it nothing is. on: calls wait now. since: when
    the oldest of them came.
    """

    __slots__ = ("_from", "_laden", "_slow", "_strikes", "on", "since")

    def __init__(self, guarded: bool) -> None:
        self.on = False
        self.since = NEVER
        self._from = 0.0 if guarded else NEVER
        self._laden: set[Link] = set()
        self._slow: WeakSet[Any] = WeakSet()
        self._strikes = 0

    def __bool__(self) -> bool:
        return bool(self._laden)

    def begin(self, now: float) -> None:
        """Several greenlets have their answers, and may call again."""
        self.on = now >= self._from

    def add(self, link: Link, now: float) -> None:
        """A call waits at this link."""
        if not self._laden:
            self.since = now
        self._laden.add(link)
        if now - self.since > HOLD:
            self.release(now)

    def release(self, now: float) -> None:
        """Send what waits."""
        self._strikes = self._strikes + 1 if now - self.since > SLOW else 0
        if self._strikes >= STRIKES:
            self._strikes = 0
            self._from = now + REST
            self.on = False
        self.since = NEVER
        for link in self._laden:
            if not link.dealer.closed:
                link.flush()
        self._laden.clear()

    def overdue(self, now: float) -> bool:
        """Whether somebody keeps the loop who was not known to."""
        return now - self.since > STUCK

    def forget(self) -> None:
        """In the child of a fork: what waits is the parent's."""
        self._laden.clear()
        self.since = NEVER

    # Whom no call waits for

    def is_slow(self, greenlet: Any) -> bool:
        return bool(self._slow) and greenlet in self._slow

    def note(self, greenlet: Any, seconds: float) -> None:
        """How long its turn was."""
        if (seconds > SLOW) is not self.is_slow(greenlet):
            change = self._slow.add if seconds > SLOW else self._slow.discard
            change(greenlet)
