"""`mesh.aio.Subscriber` and `mesh.aio.Puller`: carry out what publishers and pushers send, in one loop.

The socket is mesh/transport's (event_receiver.py); here is how handlers are run: a plain function at once,
what is to be awaited in a task of its own.
"""

from __future__ import annotations

import logging
import sys
from asyncio import CancelledError, Task, current_task, wait
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterable
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from mesh.aio.loop import AsyncioLoop
from mesh.aio.runnable import Runnable, quietly
from mesh.core import settings, wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.event_options import EVENTS_QUEUED, JOBS_QUEUED
from mesh.core.events import Topic, prefixes_of
from mesh.core.unfinished import Running
from mesh.names.resolver import Target
from mesh.transport import process
from mesh.transport.event_receiver import FAIR, Delivery, EventReceiver
from mesh.transport.event_socket import PULLER, SUBSCRIBER
from mesh.transport.handlers import ends_process
from mesh.transport.loop import Timer

CANCELLED: Final = 1.0
"""Seconds that handlers have to end when they are cancelled at a receiver's end."""
EAGER: Final = sys.version_info >= (3, 12)

log = logging.getLogger("mesh.events")


class _Receiver(Runnable):
    """What subscribers and pullers share: how events are carried out in one loop."""

    __mesh_unexposed__ = "a receiver of events"

    def __init__(self, receiver: EventReceiver, pool_size: int) -> None:
        self._receiver = receiver
        self._pool_size = pool_size
        self._tasks: set[Task[None]] = set()
        """Those of the handlers that wait for something."""
        self._next_turn: Timer | None = None
        """To go on when the rest of the loop has had its turn."""
        self._generation = process.generation()
        Runnable.__init__(self, self._receiver.name)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._receiver.forked()
        self._next_turn = None
        Runnable.forked(self)

    def bind(self, endpoint: str) -> str:
        """Let senders connect here; gives the real endpoint, with the port that `*` became."""
        return self._receiver.bind(endpoint)

    def connect(self, endpoint: str) -> None:
        """Connect to a sender that has bound or to a hub; in the background, and again for ever."""
        self._receiver.connect(endpoint)

    @property
    def dropped(self) -> Counter[str]:
        """How many events were not carried out, by reason."""
        return self._receiver.dropped

    def __repr__(self) -> str:
        return f"<mesh.aio: {self._receiver.name}>"

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

    def _abandon(self) -> None:
        self._receiver.close()

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
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await wait(self._tasks, timeout=CANCELLED)
        names = sorted({name for name, _, _ in self._receiver.running()})
        if names:
            text = ", ".join(names)
            log.warning("%s: these handlers were cancelled and go on: %.300s", self._receiver.name, text)

    def _running(self) -> list[Running]:
        return self._receiver.running()

    def _in_handler(self) -> bool:
        return current_task() in self._tasks

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
        context = Context()
        try:
            result = context.run(_call, delivery)
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
        self._receiver.end(delivery)
        if error is None:
            return
        if ends_process(error):
            raise error
        self._receiver.raised(delivery, error, __file__)


_begun: Final[WeakSet[_Receiver]] = WeakSet()
"""Those that live in a loop."""


def _call(delivery: Delivery) -> Awaitable[Any] | None:
    """What there is to await of it. Raises what its handler raises, and TypeError for a generator."""
    result = delivery.function(*delivery.args, **delivery.kwargs)
    if result is None:
        return None
    kind = type(result)
    if hasattr(kind, "__await__"):
        return result  # type: ignore[no-any-return]
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        if hasattr(result, "close"):
            result.close()
        raise TypeError(
            f"{delivery.name!r:.80} gave a {kind.__name__}, of which nothing is carried out: write a plain "
            "function, or one that is `async def` and has no yield"
        )
    return None


class Subscriber(_Receiver):
    """Carries out the events of publishers: `await subscriber.serve()`, or `async with subscriber:` for the
    background.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. handler: something callable, which gets (name, *args) of each event; or an object,
    class, module or dict, whose public methods get the events of their name. Each may be `async def`, or a
    plain function, in which the loop stands still. topics: beginnings of the topics that are wanted; None for
    all events, with and without a topic. pool_size: handlers that run at once; with 1 the events are carried
    out in the order in which they came. queue_size: events that wait for the handlers; what is over is
    dropped at the publisher. services: the registry file. max_message: bytes of one event. max_elements:
    values in one event, each item, key and value counted; one with more is dropped, and the log says so.
    """

    def __init__(
        self,
        target: Target | None,
        handler: Any,
        *,
        topics: Topic | Iterable[Topic] | None = None,
        pool_size: int = 1,
        queue_size: int = EVENTS_QUEUED,
        services: str | None = None,
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        settings.count("pool_size", pool_size)
        receiver = EventReceiver(
            SUBSCRIBER,
            target,
            handler,
            prefixes=prefixes_of(topics),
            queue_size=queue_size,
            services=services,
            max_message=max_message,
            max_elements=max_elements,
        )
        super().__init__(receiver, pool_size)


class Puller(_Receiver):
    """Carries out the jobs that pushers hand to it. The arguments are those of Subscriber.

    queue_size: jobs that wait here for the handlers; they are lost with this process.
    """

    def __init__(
        self,
        target: Target | None,
        handler: Any,
        *,
        pool_size: int = 1,
        queue_size: int = JOBS_QUEUED,
        services: str | None = None,
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        settings.count("pool_size", pool_size)
        receiver = EventReceiver(
            PULLER,
            target,
            handler,
            prefixes=(),
            queue_size=queue_size,
            services=services,
            max_message=max_message,
            max_elements=max_elements,
        )
        super().__init__(receiver, pool_size)
