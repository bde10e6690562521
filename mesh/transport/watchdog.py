"""The watchdog: a native thread that stands in for an event loop which a handler keeps blocked.

A handler that computes for a minute is busy, not dead: while its loop does not turn, this
thread takes in what arrives and gives the heartbeats, under the lock of whom it stands in for,
and reports the line that blocks. It needs the interpreter's lock now and then; a C function
that keeps that for longer than two heartbeats can't be helped from inside the process.

Where the watchdog itself comes late, the whole process stood still: the loop is to turn first, and is
not blocked before it has had the time for that.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from mesh.transport import accepting, native, process
from mesh.transport.accepting import Accepting

PERIOD: Final = 0.1
SHORTEST: Final = 0.02
"""Seconds between two looks, at the most and at the least."""
REPEAT: Final = 10.0
"""Seconds after which a loop that is still blocked is reported again."""

log = logging.getLogger("mesh.guard")


class Watched(Protocol):
    """What the watchdog can stand in for."""

    lock: Any
    thread: int

    @property
    def turn(self) -> float: ...
    @property
    def patience(self) -> float: ...

    def overdue(self, now: float) -> bool: ...
    def stand_in(self, now: float) -> None: ...
    def blocked_in(self, frame: FrameType | None) -> str: ...


class Watchdog:
    """The one watchdog of a process; its thread begins with the first to be watched."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, sleep: Callable[[float], None] = native.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self.forked()
        process.remember(self)

    def forked(self) -> None:
        self._watched: WeakSet[Watched] = WeakSet()
        self._lock = native.allocate_lock()
        self._running = False
        # When it was to look while the process stood still, and when it came to that.
        self._stood: WeakKeyDictionary[Watched, float] = WeakKeyDictionary()
        self._woke: WeakKeyDictionary[Watched, float] = WeakKeyDictionary()
        self._reported: WeakKeyDictionary[Watched, float] = WeakKeyDictionary()
        self._accepting = Accepting()

    def watch(self, watched: Watched) -> None:
        with self._lock:
            self._watched.add(watched)
            if not self._running:
                self._running = True
                process.start_thread(self._run, (), "mesh watchdog")

    def forget(self, watched: Watched) -> None:
        with self._lock:
            self._watched.discard(watched)

    def _run(self) -> None:
        pause = PERIOD
        while True:
            due = self._clock() + pause
            self._sleep(pause)
            now = self._clock()
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._running = False
                    return
            self._look_at_descriptors()
            for one in watched:
                # Once for each time that the loop has turned: a busy machine may make every look late.
                if now - due > one.patience / 2 and one.turn >= self._stood.get(one, 0.0):
                    self._stood[one], self._woke[one] = due, now
                else:
                    self._look(one, now)
            pause = max(SHORTEST, min(PERIOD, *(one.patience / 2 for one in watched)))
            del watched

    def _look_at_descriptors(self) -> None:
        if self._accepting.look():
            log.warning("%s", accepting.describe(self._accepting.stopped))

    def _look(self, one: Watched, now: float) -> None:
        """now: from before, for the process may have been stopped since."""
        if not one.overdue(now):
            self._reported.pop(one, None)
            return
        try:
            with one.lock:
                if one.overdue(now):
                    one.stand_in(self._clock())
        except Exception:
            log.exception("could not stand in for a blocked loop")
        self._report(one, self._clock())

    def _report(self, one: Watched, now: float) -> None:
        blocked = now - max(one.turn, self._woke.get(one, 0.0))
        if now < self._reported.get(one, 0.0) or not one.overdue(now) or blocked <= one.patience:
            return
        frame = sys._current_frames().get(one.thread)
        whom = one.blocked_in(frame)
        if not whom:
            return
        self._reported[one] = now + REPEAT
        log.warning(
            "%s has blocked the event loop for %.1f s, now at %s; heartbeats go on, other calls wait",
            whom,
            blocked,
            _place(frame),
        )


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "an unknown line (its thread has ended)"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


watchdog: Final = Watchdog()
