"""`mesh.Subscriber` and `mesh.Puller`: carry out what publishers and pushers send, in greenlets of one loop.

The socket is mesh/transport's (event_receiver.py); here is how handlers are run.
"""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Pool

from mesh.core import settings, wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.event_options import EVENTS_QUEUED, JOBS_QUEUED
from mesh.core.events import Topic, prefixes_of
from mesh.core.unfinished import Running
from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop
from mesh.green.runnable import Runnable
from mesh.names.resolver import Target
from mesh.transport import process
from mesh.transport.event_receiver import FAIR, Delivery, EventReceiver
from mesh.transport.event_socket import PULLER, SUBSCRIBER

MOMENT: Final = 1e-6
"""Seconds; gevent lets sockets and timers have their turn only when this is not 0."""


class _Receiver(Runnable):
    """What subscribers and pullers share: the greenlets that read and that carry out."""

    __mesh_unexposed__ = "a receiver of events"

    def __init__(self, receiver: EventReceiver, pool_size: int) -> None:
        self._receiver = receiver
        self._pool_size = pool_size
        self._pool: Pool | None = None
        self._reader: gevent.Greenlet[..., None] | None = None
        self._slice_end = 0.0
        """When the rest of the loop is to have its turn."""
        self._arrived: Any = None
        Runnable.__init__(self, self._receiver.name)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._receiver.forked()
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
        return f"<mesh: {self._receiver.name}>"

    # Life

    def _begin(self) -> None:
        self._arrived = Event()
        self._generation, self._in_main = process.generation(), process.in_main_thread()
        self._pool = Pool(self._pool_size) if self._pool_size > 1 else None
        self._receiver.start(GeventLoop(self._hub), self._arrived.set)
        self._reader = gevent.spawn(self._read)

    def _abandon(self) -> None:
        self._receiver.close()

    def _drain(self, timeout: float | None) -> None:
        self._arrived.set()
        self._receiver.tell_draining(timeout)
        gevent.joinall([self._reader, *(self._pool or ())], timeout)
        self._receiver.tell_given_up(timeout)

    def _running(self) -> list[Running]:
        return self._receiver.running()

    def _end(self) -> None:
        self.cut_off = len(self._receiver.running())
        if self._reader is not None:
            self._reader.kill(block=False)
        if self._pool is not None:
            self._pool.kill(block=False)
        self._receiver.close()

    # In the greenlet that reads

    def _read(self) -> None:
        pool = self._pool
        while True:
            if pool is not None:
                pool.wait_available()
            frame = self._next()
            if frame is None:
                return
            delivery = self._receiver.begin(frame)
            if delivery is None:
                continue
            if pool is None:
                self._handle(delivery)
            else:
                pool.spawn(self._handle, delivery)

    def _next(self) -> bytes | None:
        """The next event, waited for; None when it is over."""
        while not self._stopping:
            if monotonic() > self._slice_end:
                gevent.sleep(MOMENT)
                self._slice_end = monotonic() + FAIR
                continue
            frame = self._receiver.take()
            if frame is not None:
                return frame
            self._arrived.clear()
            self._receiver.wait()
            self._arrived.wait()
            self._slice_end = monotonic() + FAIR
        return None

    def _handle(self, delivery: Delivery) -> None:
        try:
            contextvars.Context().run(_carry_out, delivery)
        except BaseException as exc:
            if process.generation() != self._generation:
                handler_ended(exc, self._in_main)
                return
            given_up = self._stopping and isinstance(exc, gevent.GreenletExit)
            if given_up or (isinstance(exc, KeyboardInterrupt) and process.in_main_thread()):
                raise
            self._receiver.raised(delivery, exc, __file__)
            return
        finally:
            self._receiver.end(delivery)
        if process.generation() != self._generation:
            handler_ended(None, self._in_main)


def _carry_out(delivery: Delivery) -> None:
    result = delivery.function(*delivery.args, **delivery.kwargs)
    if result is not None and (hasattr(type(result), "__await__") or hasattr(type(result), "__next__")):
        if hasattr(result, "close"):
            result.close()
        kind = type(result).__name__
        raise TypeError(
            f"{delivery.name!r:.80} gave a {kind}, of which nothing is carried out: write a plain function"
        )


class Subscriber(_Receiver):
    """Carries out the events of publishers.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. handler: something callable, which gets (name, *args) of each event; or an object,
    class, module or dict, whose public methods get the events of their name. topics: beginnings of
    the topics that are wanted; None for all events, with and without a topic. pool_size: handlers
    that run at once; with 1 the events are carried out in the order in which they came.
    queue_size: events that wait for the handlers; what is over is dropped at the publisher.
    services: the registry file. max_message: bytes of one event. max_elements: values in one event, each
    item, key and value counted; one that holds more is dropped, and the log says so.
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
