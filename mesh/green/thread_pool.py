"""The native threads in which a server's handlers run, where it was given `threads`.

Not gevent's pool: to close that waits for every thread, one in a handler that never returns among them,
and its threads are unknown to `threading`, whose clean-up fails in a process that is forked from one
(Python 3.11 before .8, and 3.12 before .2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gevent
import greenlet
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub

from mesh.transport import native, process

Outcome = tuple[Any, BaseException | None]

# The real one, whatever gevent has patched.
SimpleQueue: Any = monkey.get_original("queue", "SimpleQueue")
_NOTHING: Final[Outcome] = (None, None)


class _Task:
    """work: what a thread calls. waiter: the greenlet that gets the outcome, None where it has gone on."""

    __slots__ = ("outcome", "waiter", "work")

    def __init__(self, work: Callable[[], Outcome]) -> None:
        self.work = work
        self.outcome = _NOTHING
        self.waiter: greenlet.greenlet | None = greenlet.getcurrent()


class ThreadPool:
    """At most `size` threads, begun as they are needed, that work for the greenlets of one loop."""

    def __init__(self, size: int, hub: Hub) -> None:
        self._size = size
        self._hub = hub
        self._generation = process.generation()
        self._tasks = SimpleQueue()
        self._waiting: set[_Task] = set()
        self._threads = 0
        self._busy = 0
        self._lock = native.allocate_lock()
        self._closed = False

    # In the loop

    def apply(self, work: Callable[[], Outcome]) -> Outcome:
        """Call `work` in a thread; this greenlet waits meanwhile. `work` must not raise."""
        if self._closed:
            raise gevent.GreenletExit
        self._busy += 1
        if self._busy > self._threads < self._size:
            self._threads += 1
            process.start_thread(self._run, (), f"mesh handlers {self._threads}")
        task = _Task(work)
        self._tasks.put(task)
        self._waiting.add(task)
        try:
            self._hub.switch()
        finally:
            self._waiting.discard(task)
            task.waiter = None
        return task.outcome

    def _went_on(self, task: _Task) -> None:
        self._busy -= 1
        if task.waiter is not None:
            task.waiter.switch()

    def close(self) -> None:
        """Let the threads end, each after what it runs, and the greenlets that wait for them at once."""
        with self._lock:
            self._closed = True
        for _ in range(self._threads):
            self._tasks.put(None)
        for task in self._waiting:
            if task.waiter is not None:
                # A greenlet that waits for ever is never collected, nor is what it refers to.
                self._hub.loop.run_callback(task.waiter.throw, gevent.GreenletExit)

    # In the threads

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            outcome = task.outcome = task.work()
            if process.generation() != self._generation:
                process.leave(outcome[1])  # a handler has forked this process, which has no loop to go on
            with self._lock:  # the loop may be destroyed as soon as the pool is closed
                if not self._closed:
                    self._hub.loop.run_callback_threadsafe(self._went_on, task)
            del task, outcome  # a thread that is idle must not keep what it was last called with
        hub = get_hub_if_exists()
        if hub is not None:  # a handler has made one
            hub.destroy(destroy_loop=True)
