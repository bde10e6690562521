"""How a task waits for what comes from a socket, and goes on within the turn of the loop that has brought it.

A future would wake it by a callback, one turn later: that is a look at all descriptors more, for each call
that is made by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextvars import Context
from typing import Any, Protocol

from mesh.aio.loop import AsyncioLoop


class Waiter:
    """Awaited once, by one task. To that it is a future, of which it has what tasks of asyncio ask for.

    done: whether it was woken, or cancelled. value: what the await gives.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_error", "_go_on", "_loop", "done", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._go_on: Callable[[Any], object] | None = None
        self._error: asyncio.CancelledError | None = None
        self.value: Any = None
        self.done = False

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.done:
            self._asyncio_future_blocking = True  # asyncio's sign of a future that is awaited
            yield self
        return self.value

    def wake(self, later: bool) -> None:
        """Have the task go on: now, or in the loop's next turn. Raises only what is to end the loop's run."""
        if self.done:
            return
        self.done = True
        if self._go_on is None:
            return  # it does not wait yet
        if later:
            self._loop.call_soon(self._go_on, self, context=self._context)
        else:
            self._context.run(self._go_on, self)

    # What a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, function: Callable[[Any], object], *, context: Context) -> None:
        self._go_on, self._context = function, context

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled, from anywhere: so it goes on later."""
        if self.done:
            return False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.wake(later=True)
        return True


class Waits(Protocol):
    """What somebody may wait for."""

    waiter: Any


def wake(loop: AsyncioLoop, ones: Sequence[Waits]) -> bool:
    """Have the tasks go on that wait for these; whether they do so later. Raises as `Waiter.wake`."""
    later = not loop.steps_tasks()
    for number, one in enumerate(ones):
        waiter: Waiter | None = one.waiter
        if waiter is not None:
            one.waiter = None
            try:
                waiter.wake(later)
            except BaseException:
                # Ctrl-C, or the program's exit; should the loop run again, the others are not left out.
                loop.call_soon(wake, loop, ones[number + 1 :])
                raise
    return later
