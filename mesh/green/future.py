"""A call whose answer is asked for later.

It is one of concurrent.futures, so `wait` and `as_completed` take it. What waits there would keep its native
thread, and where that is the thread of a loop, the greenlet with it that makes the call: so whoever waits in
such a thread, here or there, waits by a LoopEvent, and its loop turns.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import gevent
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from greenlet import getcurrent

from mesh.core import misuse, settings
from mesh.errors import LostRemote, MeshError, TimeoutExpired
from mesh.green.loop import loop_here
from mesh.green.threads import LoopEvent, Wakeup, loop_thread
from mesh.transport import native, process

LOOK_FOR: Final = 1e-6
"""Seconds; with 0 gevent would look for no message."""


class Future(concurrent.futures.Future[Any]):
    """The answer to come of `client.method.future(…)`; the request is on its way already.

    Any thread may ask it. limit: the timeout of the client. hub: of the loop that makes the call, None for
    that of the loop thread.
    """

    __mesh_unexposed__ = "an answer of another service"

    def __init__(self, limit: float | None, hub: Hub | None) -> None:
        super().__init__()
        self._forget_waiters()
        self._limit = limit
        self._hub = hub
        self._stop: Callable[[], object] | None = None
        process.remember(self)

    @classmethod
    def in_greenlet(cls, limit: float | None, function: Callable[..., Any], *args: Any) -> Self:
        """Of what a greenlet of this thread's loop does from now on."""
        hub = get_hub()
        future = cls(limit, hub)
        greenlet = gevent.spawn(_carry_out, future, function, *args)
        future._stop = partial(hub.loop.run_callback_threadsafe, partial(greenlet.kill, block=False))
        return future

    @classmethod
    def in_loop_thread(cls, limit: float | None, function: Callable[..., Any], *args: Any) -> Self:
        """The same, for a native thread that has no loop."""
        future = cls(limit, None)
        box = loop_thread.submit(_carry_out, future, function, *args)
        future._stop = partial(loop_thread.kill, box)
        return future

    def forked(self) -> None:
        """In the child of a fork: the call is the parent's, and so is who waits for it."""
        self._forget_waiters()
        if not super().done():
            self.set_exception(
                LostRemote("this call was made before a fork, by the parent; the child has no part in it")
            )

    def _forget_waiters(self) -> None:
        # A native lock, which keeps nobody longer than a moment, whatever gevent has patched.
        self._condition = threading.Condition(native.reentrant_lock())
        self._waiters = _Waiters()
        self._done_callbacks: list[Callable[..., object]] = []

    def done(self) -> bool:
        """Whether the call has ended, one way or the other.

        In the thread that made it this lets the others run for a moment: a program that does
        nothing but ask would never hear of the answer.
        """
        if not super().done() and loop_here(self._hub) and getcurrent() is not self._hub:
            gevent.sleep(LOOK_FOR)
        return super().done()

    def result(self, timeout: float | None = None) -> Any:
        """What the call returns or raises; TimeoutExpired after `timeout` seconds without either.

        MeshError where it was cancelled, LostRemote in the child of a fork.
        """
        self._await(timeout)
        try:
            return super().result(0)
        except CancelledError:
            raise MeshError("the call was cancelled") from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raises, None where it returns; as `result`."""
        self._await(timeout)
        try:
            return super().exception(0)
        except CancelledError:
            raise MeshError("the call was cancelled") from None

    def _await(self, timeout: float | None) -> None:
        settings.seconds("timeout", timeout, none=True)
        if super().done():
            return
        if timeout is None and self._hub is not None and not loop_here(self._hub):
            timeout = self._limit  # as the other thread's loop may never turn again
        wakeup = Wakeup()
        ended = lambda _: wakeup.wake()  # noqa: E731
        self.add_done_callback(ended)
        try:
            wakeup.wait(timeout)
        finally:
            with suppress(ValueError):
                self._done_callbacks.remove(ended)
        if not super().done():
            within = f" within {timeout:.4g} s" if timeout else " yet"
            raise TimeoutExpired(f"no result{within}; the call goes on")

    def cancel(self) -> bool:
        """Give the call up; the server is told. False where it has ended already."""
        with self._condition:
            stop, self._stop = self._stop, None
        if stop is None or not super().cancel():
            return self.cancelled()
        self.set_running_or_notify_cancel()
        stop()
        return True

    if not TYPE_CHECKING:  # a checker knows by itself that it is not there
        __await__ = misuse.advice(
            "the future of a client of mesh.connect is asked by result(); to be awaited there are tasks, of "
            "calls of a client of mesh.aio.connect"
        )


def _carry_out(future: Future, function: Callable[..., Any], *args: Any) -> None:
    """The greenlet of a future. Whatever it raises belongs to whoever asks for the result."""
    try:
        value = function(*args)
    except BaseException as exc:  # noqa: BLE001
        error = MeshError("the call was cancelled") if isinstance(exc, gevent.GreenletExit) else exc
        with suppress(InvalidStateError):  # it was cancelled
            future.set_exception(error)
        future._stop = None  # it has this greenlet, which has the future
        del future, error  # which hold this frame by the traceback
    else:
        with suppress(InvalidStateError):
            future.set_result(value)
        future._stop = None


class _Waiters(list[Any]):
    """Those who wait for a future in concurrent.futures, each with an event for all of its futures."""

    def append(self, waiter: Any) -> None:
        hub = get_hub_if_exists()
        if hub is not None and type(waiter.event) is not LoopEvent:
            waiter.event = LoopEvent(hub)
        super().append(waiter)
