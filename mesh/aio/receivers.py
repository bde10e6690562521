"""`mesh.aio.Subscriber` and `mesh.aio.Puller`: carry out what publishers and pushers send, in one loop.

The socket is mesh/transport's (event_receiver.py); here is how handlers are run: a plain function at once,
what is to be awaited in a task of its own.
"""

from __future__ import annotations

import logging
import sys
from asyncio import CancelledError, Task, current_task, wait
from collections.abc import Awaitable, Collection, Coroutine
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from mesh.aio.loop import AsyncioLoop
from mesh.aio.runnable import Runnable, quietly
from mesh.core.unfinished import Running
from mesh.transport import process
from mesh.transport.event_receiver import FAIR, Delivery, EventReceiver
from mesh.transport.handlers import ends_process
from mesh.transport.loop import Timer
from mesh.transport.receiving import Pulling, Receiving, Subscribing

EAGER: Final = sys.version_info >= (3, 12)


class _Receiver(Receiving, Runnable):
    """How events are carried out in one loop."""

    _package = "mesh.aio"
    _coroutines = True
    _log = logging.getLogger("mesh.events")

    def __init__(self, receiver: EventReceiver, pool_size: int) -> None:
        self._tasks: set[Task[None]] = set()
        """Those of the handlers that wait for something."""
        self._next_turn: Timer | None = None
        """To go on when the rest of the loop has had its turn."""
        self._generation = process.generation()
        super().__init__(receiver, pool_size)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._next_turn = None
        super().forked()

    # Life

    def _begin(self, loop: AsyncioLoop) -> None:
        for other in list(_begun):
            if other._loop is not None and not other._loop.alive():
                # Its loop was closed without a word, and nothing will turn it again.
                _begun.discard(other)
                other.begin_to_stop()
        _begun.add(self)
        self._next_turn = loop.timer(self._turn)
        self._receiver.start(loop, self._turn)
        loop.call_soon(self._turn)

    async def _drain(self, timeout: float | None) -> None:
        self._receiver.tell_draining(timeout)
        if self._tasks:
            await wait(self._tasks, timeout=timeout)
        self._receiver.tell_given_up(timeout)

    async def _end(self) -> None:
        _begun.discard(self)
        self.cut_off = len(self._receiver.running())
        if self._next_turn is not None:
            self._next_turn.close()
        self._receiver.close()

    def _handlers(self) -> Collection[Task[None]]:
        return self._tasks

    def _going_on(self) -> list[Running]:
        return self._receiver.running()

    # In the loop

    def _turn(self) -> None:
        """Begin with the events that are there, as far as the pool allows."""
        end = monotonic() + FAIR
        while len(self._tasks) < self._pool_size and not self._life.stopping:
            if monotonic() > end:
                if self._next_turn is not None:
                    self._next_turn.at(0.0)
                return
            frame = self._receiver.take()
            if frame is None:
                self._receiver.wait()
                return
            delivery = self._receiver.begin(frame)
            if delivery is not None:
                self._handle(delivery)

    def _handle(self, delivery: Delivery) -> None:
        """Carry it out: in a task of its own, with a context of its own, where it waits for something."""
        context = delivery.context()
        try:
            result = context.run(self._receiver.call, delivery)
        except BaseException as exc:  # noqa: BLE001 - nothing that a handler raises ends this
            self._over(delivery, exc)
            return
        if result is None:
            self._over(delivery)
            return
        task = self._new_task(self._await(delivery, result), context)
        if task.done():
            self._tasks.discard(task)
        else:
            self._tasks.add(task)
            quietly(task)
            task.add_done_callback(partial(self._done, delivery, result))

    def _new_task(self, coroutine: Coroutine[Any, Any, None], context: Context) -> Task[None]:
        assert self._loop is not None
        loop = self._loop.loop
        if not EAGER or loop.get_task_factory() is not None:
            return loop.create_task(coroutine, context=context)
        # To its first wait in this turn: many have none.
        make: Any = Task  # of Python 3.12 and later
        task: Task[None] = make(coroutine, loop=loop, context=context, eager_start=True)
        return task

    def _done(self, delivery: Delivery, result: Awaitable[Any], task: Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() and isinstance(result, Coroutine):
            result.close()  # it may have been cancelled before it began
        self._receiver.end(delivery)
        self._turn()

    async def _await(self, delivery: Delivery, result: Awaitable[Any]) -> None:
        task = current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await result
        except (CancelledError, GeneratorExit) as exc:
            # Where somebody has cancelled the task, as asyncio.run does at its end, there is nothing to tell.
            self._over(delivery, None if task.cancelling() or type(exc) is GeneratorExit else exc)
            raise
        except BaseException as exc:  # noqa: BLE001 - nothing that a handler raises ends this
            self._over(delivery, exc)
        else:
            self._over(delivery)

    def _over(self, delivery: Delivery, error: BaseException | None = None) -> None:
        """Its handler has come to its end. error: what it raised. Raises only what must end the process."""
        if process.generation() != self._generation:
            process.leave(error)  # the handler has forked this process, in which there is nothing else to do
        try:
            if error is not None:
                if ends_process(error):
                    raise error
                self._receiver.raised(delivery, error, __file__)
        finally:
            self._receiver.end(delivery)


_begun: Final[WeakSet[_Receiver]] = WeakSet()
"""Those that live in a loop."""


class Subscriber(Subscribing, _Receiver):
    """Carries out the events of publishers: `await subscriber.serve()`, or `async with subscriber:` for the
    background. Handlers may be `async def`, or plain functions, in which the loop stands still.
    """


class Puller(Pulling, _Receiver):
    """Carries out the jobs that pushers hand to it, as a subscriber does events."""
