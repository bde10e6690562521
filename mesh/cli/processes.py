"""Processes that share the work of one command, and their parent, which watches over them.

Owns forking, restarts and the bounded end. It must not know what the children do, and must be
used before anything has started threads, gevent or ZeroMQ.
"""

from __future__ import annotations

import _thread
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, NoReturn

from mesh.cli.lines import end_errors
from mesh.cli.reporting import EXIT_FAILED, EXIT_INTERRUPTED, tell_draining
from mesh.cli.stopping import is_ignored

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
NOTE = 1000  # bytes; a pipe takes that many in one piece
STEADY = 10.0  # seconds after which a child counts as one that had started well
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

LONGEST_WAIT: Final = 3_600.0
"""Seconds that the system waits at once: more it may not take."""

log = logging.getLogger("mesh.serve")


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A child's tie to its parent."""

    _ready: int

    def ready(self, note: str) -> None:
        """Tell the parent that this child works, with a note for its `on_ready`."""
        os.write(self._ready, b"+" + note.encode("utf-8", "replace")[:NOTE])
        os.close(self._ready)


@dataclass(slots=True)
class Backoff:
    """How long to wait before a child is started again: longer each time it dies young."""

    _pauses: dict[int, float] = field(default_factory=dict)

    def pause(self, place: int, lived: float) -> float:
        """Seconds to wait with the child of `place`, which lived that many seconds."""
        last = 0.0 if lived >= STEADY else self._pauses.get(place, 0.0)
        self._pauses[place] = min(max(last * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return self._pauses[place]


@dataclass(slots=True)
class _Child:
    place: int
    began: float
    ready: int | None
    serves: bool = False


class Supervisor:
    """Runs `work` in `count` processes until a signal ends it.

    work: what a child does; gives its exit code. The first child must get ready before the others
    are started, so that what is wrong with all of them is said once. on_ready: called then, in the
    parent, with that child's note. drain: seconds that children have to end after SIGTERM
    before they are killed. tell: as Stop's. They get both, too, where the parent itself is killed.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Lifeline], int],
        on_ready: Callable[[str], None],
        drain: float,
        tell: Callable[[int], None] = tell_draining,
    ) -> None:
        self._count = count
        self._work = work
        self._on_ready = on_ready
        self._drain = drain
        self._tell = tell
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {0: 0.0}
        self._backoff = Backoff()
        self._asked: list[int] = []
        self._is_ready = False
        self._exit_code: int | None = None
        self._kill_at = float("inf")
        self._cut_short = False

    def run(self) -> int:
        """Supervise; gives the exit code, 1 where a child that served did not end well.

        SIGTERM, Ctrl-C and a terminal that closes drain, a second Ctrl-C kills.
        """
        self._leash_read, self._leash_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number != signal.SIGHUP or not is_ignored(number):
                signal.signal(number, self._on_signal)
        while self._children or self._exit_code is None:
            self._start_due()
            self._wait()
            self._obey()
            self._reap()
        return self._exit_code

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._asked.append(number)

    def _start_due(self) -> None:
        now = time.monotonic()
        for place, due in list(self._due.items()):
            if due <= now and self._exit_code is None:
                del self._due[place]
                try:
                    self._fork(place)
                except OSError as error:
                    if not self._is_ready:
                        raise
                    pause = self._backoff.pause(place, 0.0)
                    self._due[place] = now + pause
                    log.warning("no process can be started now, but in %g s: %s", pause, error.strerror)

    def _fork(self, place: int) -> None:
        ready_read, ready_write = os.pipe()
        # A signal between the fork and the child's own handlers would be lost in the child.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(Lifeline(ready_write), before)
            self._children[pid] = _Child(place, time.monotonic(), ready_read)
        except OSError:
            os.close(ready_read)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(ready_write)

    def _be_child(self, lifeline: Lifeline, mask: set[signal.Signals | int]) -> NoReturn:
        code = EXIT_FAILED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A terminal sends Ctrl-C, and that it closes, to all of them; the parent says what to do.
            signal.signal(signal.SIGINT, lambda *_: None)
            if not is_ignored(signal.SIGHUP):
                signal.signal(signal.SIGHUP, lambda *_: None)
            os.close(self._leash_write)
            os.close(self._wake_read)
            os.close(self._wake_write)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _thread.start_new_thread(_end_with_parent, (self._leash_read, self._drain))
            code = self._work(lifeline)
            sys.stdout.flush()
        finally:
            end_errors()
            os._exit(code)

    def _wait(self) -> None:
        ready = {child.ready: child for child in self._children.values() if child.ready is not None}
        until = min([*self._due.values(), self._kill_at], default=float("inf"))
        timeout = None if until == float("inf") else min(max(until - time.monotonic(), 0.0), LONGEST_WAIT)
        readable, _, _ = select.select([self._wake_read, *ready], [], [], timeout)
        for fd in readable:
            if fd == self._wake_read:
                os.read(fd, 4096)
            else:
                self._hear(ready[fd])

    def _hear(self, child: _Child) -> None:
        """The child is ready, or has ended before it was."""
        assert child.ready is not None
        note = os.read(child.ready, 1 + NOTE)
        os.close(child.ready)
        child.ready = None
        child.serves = bool(note)
        if note and not self._is_ready and self._exit_code is None:
            self._is_ready = True
            self._due.update(dict.fromkeys(range(1, self._count), 0.0))
            self._on_ready(note[1:].decode("utf-8", "ignore"))

    def _obey(self) -> None:
        while self._asked:
            number = self._asked.pop(0)
            if self._exit_code is None:
                self._stop(number)
            elif number == signal.SIGINT:
                self._exit_code = EXIT_INTERRUPTED
                self._cut_short = True
                self._kill_at = 0.0
        if time.monotonic() >= self._kill_at:
            if self._kill_at:
                log.warning(
                    "%d processes did not end in %g s and are killed", len(self._children), self._drain
                )
            self._kill_at = float("inf")
            self._send(signal.SIGKILL)

    def _stop(self, number: int) -> None:
        self._exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else 0
        self._tell(number)
        self._due.clear()
        self._kill_at = time.monotonic() + self._drain
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for pid in self._children:
            os.kill(pid, number)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(pid, os.waitstatus_to_exitcode(status))

    def _bury(self, pid: int, code: int) -> None:
        child = self._children.pop(pid)
        if child.ready is not None:
            self._hear(child)
        if self._exit_code is not None:
            if code and child.serves and not self._cut_short:
                self._exit_code = EXIT_FAILED
            return
        if not self._is_ready:
            self._exit_code = code if code > 0 else EXIT_FAILED
            return
        pause = self._backoff.pause(child.place, time.monotonic() - child.began)
        self._due[child.place] = time.monotonic() + pause
        log.warning("process %d %s; starting another in %g s", pid, _end(code), pause)


def _end_with_parent(leash: int, drain: float) -> None:
    """Do to this process what its parent would have done, once that is gone, however it went.

    A native thread, so that it sees the end of the leash also while a handler computes, and before there
    is an event loop.
    """
    pause = time.sleep  # as it is before gevent replaces it
    os.read(leash, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    pause(drain)
    os.kill(os.getpid(), signal.SIGKILL)


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # of the real-time ones few have names
        return f"was killed by signal {-code}"
