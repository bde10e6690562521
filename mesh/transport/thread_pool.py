"""The native threads in which a server's handlers run, where it was given `threads`; who has their places.

Not gevent's pool: to close that waits for every thread, one in a handler that never returns among them,
and its threads are unknown to `threading`, whose clean-up fails in a process that is forked from one
(Python 3.11 before .8, and 3.12 before .2). Nor asyncio's executors, for the first of these reasons.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, Final

from mesh.core.slots import Slots
from mesh.transport import native, process
from mesh.transport.loop import Loop
from mesh.transport.server_endpoint import ServerEndpoint

TELL_ROOM: Final = 0.1
"""Seconds until hubs are told of the places that streams have left, or taken again."""

Outcome = tuple[Any, BaseException | None]
_NOTHING: Final[Outcome] = (None, None)


def outcome_of(context: Context, function: Callable[[], Any]) -> Outcome:
    """What a function gives or raises in a context, for a Task."""
    try:
        return context.run(function), None
    except BaseException as exc:  # noqa: BLE001 - it belongs to who waits for it
        return None, exc


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
        self._said: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        """Functions, and their arguments, that threads want called in the loop."""
        self._loop_told = False
        self.closed = False

    # In the loop

    def submit(self, task: Task) -> None:
        """Have its work, which must not raise, called in a thread. Not once it is closed.

        Raises RuntimeError where the system has no thread and there is none yet.
        """
        if self._busy >= self._threads < self._size:
            try:
                process.start_thread(self._run, (), f"mesh handlers {self._threads + 1}")
                self._threads += 1
            except RuntimeError:
                if not self._threads:
                    raise
        self._busy += 1
        self._tasks.put(task)

    def _finished(self, task: Task, outcome: Outcome) -> None:
        self._busy -= 1
        if task.done is not None:
            task.done(outcome)

    def _hear(self) -> None:
        """Call what the threads have said since it was told: to tell a loop takes longer than most calls."""
        self._loop_told = False  # before anything is looked for: what is said from now on is told again
        said = self._said
        while said:
            function, args = said.popleft()
            try:
                function(*args)
            except BaseException:
                self._loop.call_soon(self._hear)  # Ctrl-C, or the program's exit
                raise

    def close(self) -> None:
        """Let the threads end, each after what it runs; nobody hears of that."""
        if process.generation() != self._generation:  # in the child of a fork, which has none of them
            self.closed = True
            return
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
            self.tell(self._finished, task, outcome)
            del task, outcome  # a thread that is idle must not keep what it was last called with
        self._at_end()

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called in the loop, unless this is closed: the loop may be destroyed by then."""
        with self._lock:
            if self.closed:
                return
            self._said.append((function, args))
            if not self._loop_told:
                self._loop_told = True
                self._loop.call_soon_threadsafe(self._hear)


class ThreadPlaces:
    """The places of calls in the threads: a stream that waits for credit is in none, and lends its own."""

    def __init__(self, slots: Slots, endpoint: ServerEndpoint, loop: Loop) -> None:
        self._slots = slots
        self._endpoint = endpoint
        self._teller = loop.timer(self._tell_room)
        self._closed = False

    def lend(self, number: int) -> None:
        """One more stream waits in no thread; or, with -1, one less."""
        if self._closed:
            return
        self._slots.lend(number)
        if self._endpoint.hubs:
            # Not at once, for a stream that is read waits again and again.
            self._teller.at(monotonic() + TELL_ROOM)
        if self._endpoint.session.ready and self._slots.running < self._slots.limit:
            self._endpoint.go_on_later()

    def _tell_room(self) -> None:
        """The hubs give their calls by it."""
        if self._slots.take_change() and not self._endpoint.closed:
            self._endpoint.offer(self._slots.capacity)

    def close(self) -> None:
        self._closed = True
        self._teller.close()
