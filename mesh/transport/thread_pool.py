"""The native threads in which a server's handlers run, where it was given `threads`.

Not gevent's pool: to close that waits for every thread, one in a handler that never returns among them,
and its threads are unknown to `threading`, whose clean-up fails in a process that is forked from one
(Python 3.11 before .8, and 3.12 before .2). Nor asyncio's executors, for the first of these reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mesh.transport import native, process
from mesh.transport.loop import Loop

Outcome = tuple[Any, BaseException | None]
_NOTHING: Final[Outcome] = (None, None)


class Task:
    """work: what a thread calls. done: called in the loop with the outcome; None where nobody waits."""

    __slots__ = ("done", "work")

    def __init__(self, work: Callable[[], Outcome], done: Callable[[Outcome], object]) -> None:
        self.work = work
        self.done: Callable[[Outcome], object] | None = done


class ThreadPool:
    """At most `size` threads, begun as they are needed. at_end: called in each thread when it ends.

    All but what runs in the threads is for the loop's own.
    """

    def __init__(self, size: int, loop: Loop, at_end: Callable[[], object] = lambda: None) -> None:
        self._size = size
        self._loop = loop
        self._at_end = at_end
        self._generation = process.generation()
        self._tasks = native.original("queue", "SimpleQueue")()
        self._threads = 0
        self._busy = 0
        self._lock = native.allocate_lock()
        self.closed = False

    # In the loop

    def submit(self, task: Task) -> None:
        """Have its work, which must not raise, called in a thread. Not once it is closed."""
        self._busy += 1
        if self._busy > self._threads < self._size:
            self._threads += 1
            process.start_thread(self._run, (), f"mesh handlers {self._threads}")
        self._tasks.put(task)

    def _finished(self, task: Task, outcome: Outcome) -> None:
        self._busy -= 1
        if task.done is not None:
            task.done(outcome)

    def close(self) -> None:
        """Let the threads end, each after what it runs; nobody hears of that."""
        with self._lock:
            self.closed = True
        for _ in range(self._threads):
            self._tasks.put(None)

    # In the threads

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            outcome = task.work()
            if process.generation() != self._generation:
                process.leave(outcome[1])  # a handler has forked this process, which has no loop to go on
            with self._lock:  # the loop may be destroyed as soon as the pool is closed
                if not self.closed:
                    self._loop.call_soon_threadsafe(self._finished, task, outcome)
            del task, outcome  # a thread that is idle must not keep what it was last called with
        self._at_end()
