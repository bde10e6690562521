"""How a command that serves ends: at SIGTERM, Ctrl-C or a closed terminal it drains, and ends in any case.

Owns those signals, the exit code, and the end of a process that does not come to its own. Processes that
have a parent of ours get their signals from that: processes.py.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from _thread import start_new_thread
from collections.abc import Sequence
from contextlib import suppress
from select import poll
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from mesh.cli.lines import end_errors
from mesh.cli.reporting import EXIT_FAILED, EXIT_INTERRUPTED, tell_draining
from mesh.transport.signals import leave_to_children

if TYPE_CHECKING:
    from mesh.cli.starting import Start

DRAIN: Final = 25.0
"""Seconds that running calls have to finish where the user does not say: what looks after containers kills
them 30 seconds after a SIGTERM."""
MARGIN: Final = 2.0
"""Seconds on top, after which a process that has not ended by itself is ended."""
PARENTS_MARGIN: Final = 3.5
"""Seconds on top, after which the parent of several kills those that are left."""
LAST: Final = 1.0
"""Seconds that the last line of a process has to be written."""
LONGEST_WAIT: Final = 3_600.0
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DRAIN_BEGAN: Final = 0
"""No signal has this number."""

log = logging.getLogger("mesh.serve")


class Stoppable(Protocol):
    """A server, or a sidecar. cut_off: how many calls its end has cut off."""

    @property
    def cut_off(self) -> int: ...
    def begin_to_stop(self, timeout: float | None) -> None: ...
    def unfinished(self) -> str: ...


def is_ignored(number: int) -> bool:
    """Whether this process was started so that it ignores the signal, as nohup has it with SIGHUP."""
    return signal.getsignal(number) == signal.SIG_IGN


class Stop:
    """The signal handler. The first signal drains, a Ctrl-C after it ends the process at once.

    life: what is stopped. drain: seconds that it has. numbers: the signals. tell: whether to say on standard
    error that it drains. start: what had the signals till now, one of which may have come.

    A native thread counts the seconds, and hears of signals from the system itself: the main thread runs no
    signal handler while it is in a C function.
    """

    def __init__(
        self,
        life: Stoppable,
        drain: float,
        *,
        numbers: Sequence[int] = STOPS,
        tell: bool = True,
        start: Start | None = None,
    ) -> None:
        self._life = life
        self._drain = drain
        self._tell = None if not tell else tell_draining if start is None else start.tell_draining
        self.received: int | None = None
        self._numbers = [number for number in numbers if number != signal.SIGHUP or not is_ignored(number)]
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._loop_write = -1
        start_new_thread(self._watch, ())
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: self._take(number, start) for number in self._numbers}
        leave_to_children(lambda: self._numbers, self._forked)
        if start is not None and start.received is not None:
            self(start.received)

    @property
    def exit_code(self) -> int:
        """What the process is to end with."""
        if self._life.cut_off:
            return EXIT_FAILED
        return EXIT_INTERRUPTED if self.received == signal.SIGINT else 0

    def share_wakeup(self) -> None:
        """Hear of signals in the loop that runs now, too, where it has taken the wake-up descriptor, as
        uvloop's do; what comes is passed on to it. In that loop.
        """
        loops = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        if loops not in (-1, self._write):
            # One of our own: its number may be another file's once the loop has closed it.
            self._loop_write = os.dup(loops)

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        if self.received is None:
            self.received = number
            self._life.begin_to_stop(self._drain)
            with suppress(OSError):
                # For the case that TARGET has taken the wake-up descriptor, as asyncio does.
                os.write(self._write, bytes([_DRAIN_BEGAN]))
            if self._tell is not None:
                self._tell(number)
        elif number == signal.SIGINT:
            os._exit(EXIT_INTERRUPTED)

    def _take(self, number: int, start: Start | None) -> Any:
        """Handle that signal from now on; gives what the program would have handle it, were it not for us."""
        before: Any = signal.signal(number, self)
        return start.before[number] if start is not None and before is start else before

    def _forked(self) -> None:
        """In a process that TARGET forks: it ends by these signals as others do.

        By the system's own doing, where the program has said nothing: gevent's loop may go to sleep in the
        moment before a handler of Python's is called, and does not call it as long as nothing wakes it.
        """
        if signal.getsignal(signal.SIGTERM) == self:
            signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            if signal.getsignal(number) == self:
                signal.signal(number, before)

    # In the thread

    def _watch(self) -> None:
        ready = poll()
        ready.register(self._read)
        end = float("inf")
        while (left := end - monotonic()) > 0:
            if not ready.poll(min(left, LONGEST_WAIT) * 1000):
                continue
            numbers = os.read(self._read, 4096)
            if self._loop_write >= 0:
                with suppress(OSError):  # it is full, or its loop has ended
                    os.write(self._loop_write, numbers)
            for number in numbers:
                if number == signal.SIGINT and number in self._numbers and end < float("inf"):
                    os._exit(EXIT_INTERRUPTED)
                if end == float("inf") and (number in self._numbers or number == _DRAIN_BEGAN):
                    end = monotonic() + self._drain + MARGIN
        self._end_process()

    def _end_process(self) -> None:
        """It should have ended by now. Here nothing may wait for a lock that others hold."""
        code = EXIT_FAILED
        try:
            # Not to sys.stderr, which TARGET may have replaced by something without a descriptor.
            faulthandler.dump_traceback_later(LAST, exit=True, file=2)
            unfinished = self._life.unfinished()
            if unfinished:
                log.error("ended %g s after the signal, in the midst of %s", self._drain + MARGIN, unfinished)
            else:
                code = self.exit_code
                log.warning("ended though %.1000s", _left_over())
            end_errors()
        finally:
            os._exit(code)


def _left_over() -> str:
    """What of the program's own keeps a process whose server has ended, in words."""
    main = threading.main_thread()
    threads = [one.name for one in threading.enumerate() if not (one.daemon or one is main)]
    if threads:
        return f"threads of the program's own still run: {', '.join(threads)}"
    frame = sys._current_frames().get(main.ident or 0)
    if frame is None:
        return "the main thread has ended"
    code = frame.f_code
    return f"the main thread still runs: {code.co_name} in {code.co_filename}:{frame.f_lineno}"
