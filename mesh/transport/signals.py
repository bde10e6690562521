"""What SIGTERM and SIGINT do while something of mesh runs in the program's main thread: it drains.

Owns who has asked for that, and puts back what was there before. A signal that the program handles by
itself, or has had ignored, is left to it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final

TWICE: Final = 0.25
"""Seconds within which a second SIGTERM counts as the first: `timeout` and some supervisors send it to the
process, and at once to its group."""
# What each does where the program has said nothing.
_USUAL: Final[dict[int, Any]] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}


class Signals:
    """Those of one process. The first lets all that runs drain, a second does what it would have done."""

    def __init__(self) -> None:
        self._running: list[Callable[[], None]] = []
        self._before: dict[int, Any] = {}
        self._received = 0
        self._received_at = 0.0
        self._is_program = False

    @contextmanager
    def drain(
        self, stop: Callable[[], None], later: Callable[[Callable[[], None]], object] | None = None
    ) -> Iterator[None]:
        """Call `stop` at a signal that comes meanwhile; it must not wait. In Python's main thread.

        later: calls something a moment later, for what is only a part of the program, which goes on beside
        it: the signal is raised once more when all has drained, for the program would have ended by it.
        """
        if not self._running:
            self._take()
        self._running.append(stop)
        if later is None:
            self._is_program = True
        if self._received:
            stop()
        running = self._running
        try:
            yield
        finally:
            running.remove(stop)
            if not self._running and running is self._running:
                self._give_back()
                if later is not None and self._received and not self._is_program:
                    later(partial(signal.raise_signal, self._received))

    @property
    def taken(self) -> list[int]:
        """Those that have their way with this now."""
        return list(self._before)

    def forked(self) -> None:
        """In the child of a fork: what ran is the parent's, and a signal is to end the child."""
        self._give_back()
        self._running, self._received = [], 0

    def _take(self) -> None:
        self._received, self._is_program = 0, False
        try:
            for number, usual in _USUAL.items():
                before = signal.getsignal(number)
                if (before == usual or _is_runners(before)) and not _taken_outside_of_python(number):
                    self._before[number] = signal.signal(number, self._on_signal)
        except ValueError:
            pass  # a subinterpreter, to which Python gives no signals

    def _give_back(self) -> None:
        for number, before in self._before.items():
            # Where the program has set one meanwhile, that stays.
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, before)
        self._before.clear()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = monotonic()
        if not self._received:
            self._received, self._received_at = number, now
            for stop in self._running:
                stop()
        elif number == signal.SIGINT or now - self._received_at > TWICE:
            self._give_back()
            signal.raise_signal(number)


def _is_runners(handler: Any) -> bool:
    """Whether it is what asyncio.run has for Ctrl-C, by which the program has asked for nothing."""
    function = getattr(handler, "func", None)
    home = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
    return home == ("asyncio.runners", "Runner._on_sigint")


def _taken_outside_of_python(number: int) -> bool:
    """Whether a library handles this signal, of which Python knows nothing: gevent.signal_handler does so."""
    try:
        action = (ctypes.c_void_p * 64)()  # begins with the function, wherever there is sigaction
        if ctypes.CDLL(None).sigaction(number, None, action) or not action[0] or action[0] == 1:
            return False  # the system's own way with it, or ignored
        return _library_of(action[0]) != _library_of(ctypes.pythonapi.PyErr_SetInterrupt)
    except (OSError, AttributeError, TypeError, ctypes.ArgumentError):
        return False


def _library_of(function: Any) -> int | None:
    """Where the library begins that has this function, or the one at this address (dladdr)."""
    info = (ctypes.c_void_p * 4)()  # name, beginning, symbol, its address
    return info[1] if ctypes.CDLL(None).dladdr(ctypes.cast(function, ctypes.c_void_p), info) else None


def leave_to_children(taken: Callable[[], Iterable[int]], forked: Callable[[], None]) -> None:
    """Let processes that are forked from now on end by signals that this one takes.

    taken: those. forked: gives them back, in the child. One that comes before that waits: whoever takes
    it here would take it for this process, and the child would not hear of it.
    """
    masks: dict[int, set[Any]] = {}

    def hold() -> None:
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, taken())

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def begin_child() -> None:
        try:
            forked()
        finally:
            let_go()

    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=begin_child)


signals: Final = Signals()
leave_to_children(lambda: signals.taken, signals.forked)
