"""What subscribers and pullers are, in whichever loop they live: their arguments, and where they are reached.

The socket is event_receiver.py's; how handlers are run is the driver's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar

from mesh.core import settings, wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.event_options import EVENTS_QUEUED, JOBS_QUEUED
from mesh.core.events import Topic, prefixes_of
from mesh.core.unfinished import Running
from mesh.names.resolver import Target
from mesh.transport.event_receiver import EventReceiver
from mesh.transport.event_socket import PULLER, SUBSCRIBER
from mesh.transport.lifecycle import Life


class Receiving(Life):
    """A receiver but for its loop. Who inherits lives in one, and runs the handlers there.

    pool_size: handlers that run at once.
    """

    __mesh_unexposed__ = "a receiver of events"

    _package: ClassVar[str]
    """That of its driver."""
    _coroutines: ClassVar[bool]
    """Whether what a handler gives is awaited."""

    def __init__(self, receiver: EventReceiver, pool_size: int) -> None:
        self._receiver = receiver
        self._pool_size = pool_size
        super().__init__()

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
        return f"<{self._package}: {self._receiver.name}>"

    # Its life

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._receiver.forked()
        super().forked()

    @property
    def _subject(self) -> str:
        return self._receiver.name

    def _abandon(self) -> None:
        self._receiver.close()

    def _running(self) -> list[Running]:
        return self._receiver.running()


class Subscribing(Receiving):
    """Carries out the events of publishers."""

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
        """target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
        yourself. handler: something callable, which gets (name, *args) of each event; or an object, class,
        module or dict, whose public methods get the events of their name. topics: beginnings of the topics
        that are wanted; None for all events, with and without a topic. pool_size: handlers that run at once;
        with 1 the events are carried out in the order in which they came. queue_size: events that wait for
        the handlers; what is over is dropped at the publisher. services: the registry file. max_message:
        bytes of one event. max_elements: values in one event, each item, key and value counted; one that
        holds more is dropped, and the log says so.

        Raises ConfigError, also for a handler that is a generator, ServiceNotFound and MeshError.
        """
        settings.count("pool_size", pool_size)
        receiver = EventReceiver(
            SUBSCRIBER,
            target,
            handler,
            coroutines=self._coroutines,
            prefixes=prefixes_of(topics),
            queue_size=queue_size,
            services=services,
            max_message=max_message,
            max_elements=max_elements,
        )
        super().__init__(receiver, pool_size)


class Pulling(Receiving):
    """Carries out the jobs that pushers hand to it."""

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
        """The arguments are those of a subscriber. queue_size: jobs that wait here for the handlers; they are
        lost with this process.
        """
        settings.count("pool_size", pool_size)
        receiver = EventReceiver(
            PULLER,
            target,
            handler,
            coroutines=self._coroutines,
            queue_size=queue_size,
            services=services,
            max_message=max_message,
            max_elements=max_elements,
        )
        super().__init__(receiver, pool_size)
