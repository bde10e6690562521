"""Greenlets that wait for what native threads do: see mesh/transport/thread_pool.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from typing import Any, Final

import gevent
import greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub

from mesh.core.server_call import ServerCall
from mesh.green.loop import GeventLoop
from mesh.transport import thread_items
from mesh.transport.thread_items import PrefetchedItems
from mesh.transport.thread_pool import Outcome, Task, ThreadPool, outcome_of

__all__ = ["GreenletPool", "Outcome"]

FILES: Final = (__file__, thread_items.__file__)
"""Those through which a generator is called."""


class GreenletPool:
    """At most `size` threads that work for the greenlets of one loop."""

    def __init__(self, size: int, hub: Hub) -> None:
        self._hub = hub
        self._threads = ThreadPool(size, GeventLoop(hub), _drop_loop)
        self._waiting: set[greenlet.greenlet] = set()

    def apply(self, work: Callable[[], Outcome]) -> Outcome:
        """Call `work` in a thread; this greenlet waits meanwhile. `work` must not raise."""
        self.require_open()
        task = Task(work, greenlet.getcurrent().switch)
        self._threads.submit(task)
        try:
            outcome: Outcome = self.wait()
        finally:
            task.done = None
        return outcome

    def call(self, context: Context, function: Callable[[], Any]) -> Any:
        """As function(), in a thread and in this context."""
        value, error = self.apply(partial(outcome_of, context, function))
        if error is not None:
            raise error
        return value

    def items(self, call: ServerCall, stream: Iterable[Any], context: Context) -> GreenletItems:
        """Those of a stream, which are taken in the threads."""
        return GreenletItems(self, self._threads, call, stream, context)

    def wait(self) -> Any:
        """Until this greenlet is switched to; what is given by that. Raises GreenletExit once this closes."""
        self.require_open()
        me = greenlet.getcurrent()
        self._waiting.add(me)
        try:
            return self._hub.switch()
        finally:
            self._waiting.discard(me)

    def require_open(self) -> None:
        """Raises GreenletExit once this is closed."""
        if self._threads.closed:
            raise gevent.GreenletExit

    def close(self) -> None:
        """Let the threads end, each after what it runs, and the greenlets that wait for them at once."""
        self._threads.close()
        for waiter in self._waiting:
            # A greenlet that waits for ever is never collected, nor is what it refers to.
            self._hub.loop.run_callback(waiter.throw, gevent.GreenletExit)


class GreenletItems:
    """The items of one stream, for one greenlet, which waits where none is there."""

    def __init__(
        self,
        pool: GreenletPool,
        threads: ThreadPool,
        call: ServerCall,
        stream: Iterable[Any],
        context: Context,
    ) -> None:
        self._pool = pool
        self._context = context
        self._taken = PrefetchedItems(call, stream, context, threads, self._wake)
        self._waiter: greenlet.greenlet | None = None

    def next(self) -> Any:
        """The next one, or END. Raises what the generator raises."""
        self._pool.require_open()
        while self._taken.must_wait():
            self._wait()
            self._pool.require_open()
        return self._taken.next()

    def close(self) -> None:
        """Have the generator closed, once no thread is in it."""
        while self._taken.taking:
            self._wait()
        close = self._taken.close
        if close is not None:
            self._pool.call(self._context, close)

    def _wait(self) -> None:
        self._waiter = greenlet.getcurrent()
        try:
            self._pool.wait()
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.switch()


def _drop_loop() -> None:
    hub = get_hub_if_exists()
    if hub is not None:  # a handler has made one
        hub.destroy(destroy_loop=True)
