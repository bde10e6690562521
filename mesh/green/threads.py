"""For native threads that have no event loop: a thread with a loop that makes their calls.

A loop of its own for every such thread would cost descriptors that no one gives back when the
thread ends, and a connection each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.hub import Hub, get_hub

from mesh.green.loop import GeventLoop
from mesh.green.native_loops import native_loops
from mesh.transport import descriptors, native, process

T = TypeVar("T")


class Box:
    """The outcome of something that another thread does."""

    __slots__ = ("_done", "error", "greenlet", "value")

    def __init__(self) -> None:
        self._done = native.allocate_lock()
        self._done.acquire()
        self.value: Any = None
        self.error: BaseException | None = None
        self.greenlet: gevent.Greenlet[..., None] | None = None

    def fill(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.value = function(*args)
        except BaseException as exc:  # noqa: BLE001 - it belongs to the thread that waits
            self.error = exc
        finally:
            self.greenlet = None
            self._done.release()

    def release(self) -> None:
        """There is an outcome, which is None."""
        self._done.release()

    def wait(self, timeout: float = -1.0) -> bool:
        """Block this native thread until there is an outcome; False after `timeout` seconds."""
        if not self._done.acquire(True, timeout):
            return False
        self._done.release()
        return True

    def outcome(self) -> Any:
        self.wait()
        if self.error is not None:
            raise self.error
        return self.value


class LoopEvent:
    """As threading.Event, for one who waits in the thread of a loop, which turns meanwhile. Set from any
    thread.
    """

    __slots__ = ("_event", "_soon", "clear", "is_set", "wait")

    def __init__(self, hub: Hub) -> None:
        self._event = event = Event()
        self._soon = hub.loop.run_callback_threadsafe
        self.clear, self.is_set, self.wait = event.clear, event.is_set, event.wait

    def set(self) -> None:
        self._soon(self._event.set)


class Wakeup:
    """What a greenlet, or a native thread without a loop, waits for. wake: from any thread, once. loop: the
    one that turns meanwhile, None where there is none.
    """

    __slots__ = ("_event", "loop", "wake")

    def __init__(self) -> None:
        hub = get_hub_if_exists()
        self.wake: Callable[[], object]
        self.loop = None if hub is None else GeventLoop(hub)
        if hub is None:
            self._event: Any = native.allocate_lock()
            self._event.acquire()
            self.wake = self._event.release
        else:
            self._event = LoopEvent(hub)
            self.wake = self._event.set

    def wait(self, timeout: float | None) -> None:
        if self.loop is not None:
            self._event.wait(timeout)
        else:
            self._event.acquire(True, -1 if timeout is None else timeout)


def in_own_loop(body: list[Callable[[], object]], ended: Box) -> None:
    """Call what is in `body` in this native thread, then destroy its loop and release `ended`.

    The frames in which gevent destroys a loop are never collected: the body is taken out of its
    list, so that they hold nothing that matters.
    """
    native_loops.enter()
    try:
        body.pop()()
    finally:
        gevent.sleep(0)  # lets what has ended leave the loop
        native_loops.leave()
        get_hub().destroy(destroy_loop=True)
        ended.release()


class LoopThread:
    """One native thread that turns an event loop for the others."""

    def __init__(self) -> None:
        self._lock = native.allocate_lock()
        self._hub: Hub | None = None
        process.remember(self)

    def forked(self) -> None:
        self._lock = native.allocate_lock()
        self._hub = None

    def submit(self, function: Callable[..., Any], *args: Any) -> Box:
        """Begin `function(*args)` in a greenlet of the loop thread."""
        box = Box()
        self._running().loop.run_callback_threadsafe(self._spawn, box, function, args)
        return box

    @staticmethod
    def _spawn(box: Box, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        box.greenlet = gevent.spawn(box.fill, function, args)

    def kill(self, box: Box) -> None:
        """End the greenlet that fills `box`; where it has not begun yet nobody ever fills it."""
        self._running().loop.run_callback_threadsafe(self._kill, box)

    @staticmethod
    def _kill(box: Box) -> None:
        if box.greenlet is not None:
            box.greenlet.kill(block=False)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        result: T = self.submit(function, *args).outcome()
        return result

    def _running(self) -> Hub:
        with self._lock:
            if self._hub is None:
                descriptors.require(descriptors.LOOP)
                started = Box()
                process.start_thread(self._main, (started,), "mesh loop")
                with descriptors.told():
                    self._hub = started.outcome()
            return self._hub

    def _main(self, started: Box) -> None:
        started.fill(self._kept_hub, ())
        if started.error is None:
            native_loops.enter()
            get_hub().switch()

    @staticmethod
    def _kept_hub() -> Hub:
        """That of this thread, with something in its loop that keeps it turning."""
        hub = get_hub()
        hub.loop.async_().start(lambda: None)
        return hub


loop_thread: Final = LoopThread()
