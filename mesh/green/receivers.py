"""`mesh.Subscriber` and `mesh.Puller`: carry out what publishers and pushers send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import zmq

from mesh.core import wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.events import Topic, prefixes_of
from mesh.green.event_socket import PULLER, SUBSCRIBER
from mesh.green.events import EVENTS_QUEUED, JOBS_QUEUED
from mesh.green.inlet import Inlet
from mesh.names.resolver import Target
from mesh.transport.sockets import Socket


class Subscriber(Inlet):
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
        self._prefixes = prefixes_of(topics)
        super().__init__(
            SUBSCRIBER, target, handler, pool_size, queue_size, services, max_message, max_elements
        )

    def _set_options(self, socket: Socket) -> None:
        super()._set_options(socket)
        for prefix in self._prefixes:
            socket.set(zmq.SUBSCRIBE, prefix)


class Puller(Inlet):
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
        super().__init__(PULLER, target, handler, pool_size, queue_size, services, max_message, max_elements)
