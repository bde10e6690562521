"""Greenlets that wait for what native threads do: see mesh/transport/thread_pool.py."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub

from mesh.green.loop import GeventLoop
from mesh.transport.thread_pool import Outcome, Task, ThreadPool

__all__ = ["GreenletPool", "Outcome"]


class GreenletPool:
    """At most `size` threads that work for the greenlets of one loop."""

    def __init__(self, size: int, hub: Hub) -> None:
        self._hub = hub
        self._threads = ThreadPool(size, GeventLoop(hub), _drop_loop)
        self._waiting: set[greenlet.greenlet] = set()

    def apply(self, work: Callable[[], Outcome]) -> Outcome:
        """Call `work` in a thread; this greenlet waits meanwhile. `work` must not raise."""
        if self._threads.closed:
            raise gevent.GreenletExit
        me = greenlet.getcurrent()
        task = Task(work, me.switch)
        self._threads.submit(task)
        self._waiting.add(me)
        try:
            outcome: Outcome = self._hub.switch()
        finally:
            self._waiting.discard(me)
            task.done = None
        return outcome

    def close(self) -> None:
        """Let the threads end, each after what it runs, and the greenlets that wait for them at once."""
        self._threads.close()
        for waiter in self._waiting:
            # A greenlet that waits for ever is never collected, nor is what it refers to.
            self._hub.loop.run_callback(waiter.throw, gevent.GreenletExit)


def _drop_loop() -> None:
    hub = get_hub_if_exists()
    if hub is not None:  # a handler has made one
        hub.destroy(destroy_loop=True)
