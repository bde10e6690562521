"""Takes in what has come to the sockets of one endpoint, in its event loop, until nothing is left.

A socket's descriptor tells only of changes, and whatever is sent takes the news away: so after each
send the sockets are looked at again. Owns when that is, when the rest of the loop has its turn, and the
endpoint's timer. What is to be done in a turn is the endpoint's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from mesh.core.channel import NEVER
from mesh.transport.loop import Loop, Timer

BATCH: Final = 64
"""Messages of each socket that are taken in before those whom they are for have their turn."""
FAIR: Final = 0.01
"""Seconds of messages, and of those whom they are for, after which the rest of the loop has its turn."""
STILL: Final = 0.05
"""Seconds without a turn after which the loop counts as one that stood still."""


class Pump:
    """work: gets the time and how many messages to take of each socket at the most; tells whether there was
    anything, so that it is worth to go on. on_timer: called at the time that `arm` was given. wake_at: gives
    that time after each run.

    running: whether `work` is being done. turn: when it was begun last, or `alive` was called.
    """

    __slots__ = (
        "_call_soon",
        "_due",
        "_later",
        "_on_timer",
        "_timer",
        "_wake_at",
        "_work",
        "closed",
        "running",
        "turn",
    )

    def __init__(
        self,
        work: Callable[[float, int], object],
        on_timer: Callable[[], None],
        wake_at: Callable[[], float],
    ) -> None:
        self._work = work
        self._on_timer = on_timer
        self._wake_at = wake_at
        self._call_soon: Callable[..., object] | None = None
        self._later: Timer | None = None
        self._timer: Timer | None = None
        self._due = False
        self.running = False
        self.closed = False
        self.turn = monotonic()

    def start(self, loop: Loop) -> None:
        """Begin in this loop."""
        self._later = loop.timer(self.run)
        self._timer = loop.timer(self._timed)
        self._call_soon = loop.call_soon
        self.turn = monotonic()
        self.soon()

    def close(self) -> None:
        """Stop for good; from the loop's own thread."""
        for timer in (self._later, self._timer):
            if timer is not None:
                timer.close()
        self.forget()

    def forget(self) -> None:
        """Stop for good where the loop must not be touched."""
        self.closed = True
        self._later = self._timer = self._call_soon = None

    def soon(self) -> None:
        """Run in this turn of the loop or the next: something was sent, or may have come."""
        if self._call_soon is not None and not self._due:
            self._due = True
            self._call_soon(self._check)

    def _check(self) -> None:
        self._due = False
        self.run()

    def later(self) -> None:
        """Run when the rest of the loop has had its turn."""
        if self._later is not None:
            self._later.at(0.0)

    def run(self) -> None:
        """Do what there is to do until nothing is left, or this loop's turn is over."""
        if self.closed or self.running:
            return
        self.running = True
        now = monotonic()
        end = now + FAIR
        # One at first: to receive until it fails costs more than a lone message. But of what came while the
        # loop stood still, some is a cancel of the rest.
        most = 1 if now - self.turn < STILL else BATCH
        try:
            while True:
                self.turn = now
                if not self._work(now, most) or self.closed:
                    break
                now = monotonic()
                if now > end:
                    self.later()
                    break
                most = BATCH
        finally:
            self.running = False
        when, timer = self._wake_at(), self._timer
        if timer is not None and when < timer.due:
            timer.at(when)

    def arm(self, when: float) -> None:
        """Have the timer due then, or earlier."""
        if when < NEVER and self._timer is not None:
            self._timer.at(when)

    def _timed(self) -> None:
        self._on_timer()
        self.arm(self._wake_at())
