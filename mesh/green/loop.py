"""gevent's loop, as the transport has it, and how greenlets of it wait for their calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gevent import get_hub, monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from greenlet import getcurrent

from mesh.core.channel import NEVER
from mesh.core.client_session import Call, Waiting
from mesh.transport import native
from mesh.transport.client_endpoint import ClientEndpoint

_READ: Final = 1


class GeventLoop:
    """The loop of one hub of gevent. Made in that hub's thread."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.call_soon: Callable[..., object] = hub.loop.run_callback
        self._loop = hub.loop
        self.call_soon_threadsafe: Callable[..., object] = self._call_from_elsewhere
        self.thread: int = native.get_ident()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GeventLoop) and self.hub is other.hub

    def __hash__(self) -> int:
        return hash(id(self.hub))

    def _call_from_elsewhere(self, function: Callable[..., object], *args: Any) -> None:
        # gevent raises where the loop was destroyed; whoever calls from another thread can't know that.
        try:
            self._loop.run_callback_threadsafe(function, *args)
        except ValueError:
            if self.alive():
                raise

    def timer(self, function: Callable[[], object]) -> GeventTimer:
        return GeventTimer(self.hub, function)

    def reader(
        self, fd: int, function: Callable[..., object], *args: Any, background: bool = False
    ) -> GeventWatcher:
        watcher = self.hub.loop.io(fd, _READ, ref=not background)
        reader = GeventWatcher(watcher, function, args)
        reader.resume()
        return reader

    def idle(self, function: Callable[[], object]) -> GeventWatcher:
        return GeventWatcher(self.hub.loop.idle(), function, ())

    def alive(self) -> bool:
        """Not where the thread has destroyed its hub, as gevent asks it to do when it ends."""
        return self.hub.loop is not None

    def here(self) -> bool:
        return loop_here(self.hub)


class GeventWatcher:
    """One of gevent's watchers."""

    __slots__ = ("_args", "_function", "_watcher")

    def __init__(self, watcher: Any, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._watcher = watcher
        self._function = function
        self._args = args

    def pause(self) -> None:
        self._watcher.stop()

    def resume(self) -> None:
        self._watcher.start(self._function, *self._args)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()


class GeventTimer:
    """A timer that may be set again and again. due: when it fires, NEVER where it does not."""

    __slots__ = ("_function", "_hub", "_watcher", "due")

    def __init__(self, hub: Hub, function: Callable[[], object]) -> None:
        self._hub = hub
        self._function = function
        self._watcher: Any = None
        self.due = NEVER

    def at(self, when: float) -> None:
        if when >= self.due:
            return
        self._drop()
        self.due = when
        self._watcher = self._hub.loop.timer(max(when - monotonic(), 0.0))
        # Else it would count from when the loop has last looked at its clock, and fire too soon.
        self._watcher.start(self._fire, update=True)

    def _fire(self) -> None:
        self._drop()
        self._function()

    def stop(self) -> None:
        self._drop()

    close = stop

    def _drop(self) -> None:
        self.due = NEVER
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None


def loop_here(hub: Hub | None) -> bool:
    """Whether the event loop of `hub` is that of this native thread, and has not been destroyed.

    In the child of a fork the loops of all other threads stand still for ever, perhaps in the midst of a
    change: nothing in them may be touched.
    """
    return hub is not None and hub.loop is not None and hub is get_hub_if_exists()


def wait(endpoint: ClientEndpoint, call: Call) -> None:
    """Let others run until somebody wakes this greenlet, which is the call's waiter."""
    switch = get_hub().switch
    try:
        while call.waiter is not None:
            switch()
    except BaseException:
        endpoint.give_up(call)
        raise


def wait_for_connection(endpoint: ClientEndpoint, until: float) -> None:
    """The same, until another connection stands or it is `until`."""
    waiting = endpoint.await_connection(getcurrent(), until)
    switch = get_hub().switch
    try:
        while waiting.waiter is not None:
            switch()
    finally:
        waiting.waiter = None


def switch_to(endpoint: ClientEndpoint, woken: list[Call | Waiting]) -> None:
    """Switch to each that waits, from the hub's greenlet."""
    cork = endpoint.cork
    for call in woken:
        waiter = call.waiter
        if waiter is None:
            continue
        call.waiter = None
        began = 0.0
        if cork.on:
            if cork.is_slow(waiter):
                endpoint.release()
            began = monotonic()
        try:
            waiter.switch()
        except Exception:  # noqa: BLE001 - a bare greenlet that died of its error
            get_hub().handle_error(waiter, *sys.exc_info())
        if began:
            cork.note(waiter, monotonic() - began)


def in_gevent() -> bool:
    """Whether the program lives in gevent: it has patched the standard library, or this is a greenlet."""
    return bool(monkey.is_module_patched("socket")) or getcurrent().parent is not None


def in_asyncio() -> bool:
    """Whether a loop of asyncio runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
