"""When a server asks, by a heartbeat, which of its peers can still be reached: after a connection broke.

libzmq tells that a connection broke, but not whose it was, and it tells so a moment before its routing
table knows. So it is asked several times, and now and then while connections go on breaking.
"""

from __future__ import annotations

from typing import Final

from mesh.core.channel import NEVER

PAUSES: Final = (0.0, 0.02, 0.1)
"""Seconds before each probe after a break."""


class Probing:
    """wake_at: when the next probe is due."""

    __slots__ = ("_done", "wake_at")

    def __init__(self) -> None:
        self.wake_at = NEVER
        self._done = 0

    def connection_broke(self, now: float) -> None:
        """A storm of them costs a probe for each of the longest pauses, not three for each of them."""
        if self.wake_at == NEVER:
            self._done = 0
            self.wake_at = now + PAUSES[0]
        else:
            self._done = 1

    def due(self, now: float) -> bool:
        """Whether to probe now; the next one is later."""
        if now < self.wake_at:
            return False
        self._done += 1
        self.wake_at = now + PAUSES[self._done] if self._done < len(PAUSES) else NEVER
        return True
