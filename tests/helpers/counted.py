"""What the system would count on a connection, by a clock that the test owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.core.progress import Counters

RATE = 1_000_000.0


@dataclass
class Counted:
    """What the system counts on a connection. up, down: when a large message begins and when it is there."""

    now: float = 0.0
    up: tuple[float, float] = (0.0, 0.0)
    down: tuple[float, float] = (0.0, 0.0)
    acked: int = 0
    received: int = 0
    last_data: float = 0.0
    there: bool = True

    def counters(self) -> Counters | None:
        if not self.there:
            return None
        sent = self._moved(self.up)
        came = self._moved(self.down)
        last = min(self.now, self.down[1]) if self.now > self.down[0] else 0.0
        pending = 100_000 if self.up[0] <= self.now < self.up[1] else 0
        idle = self.now - max(self.last_data, last)
        return Counters(self.acked + sent, self.received + came, pending, idle)

    def by(self, clock: Callable[[], float]) -> Callable[[], Counters | None]:
        """As `counters`, at whatever time it is then."""

        def counters() -> Counters | None:
            self.now = clock()
            return self.counters()

        return counters

    def _moved(self, span: tuple[float, float]) -> int:
        begun, ends = span
        return int(max(0.0, min(self.now, ends) - begun) * RATE)
