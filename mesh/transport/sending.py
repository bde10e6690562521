"""What publishers and pushers are, whoever waits: their arguments, options, and where they are reached.

The socket is event_sender.py's; how somebody waits is the driver's matter.
"""

from __future__ import annotations

import atexit
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Final, Self
from weakref import WeakSet

from mesh.core import wire
from mesh.core.event_options import (
    DEFAULT_TIMEOUT,
    EVENTS_QUEUED,
    JOBS_QUEUED,
    PublisherOptions,
    PusherOptions,
    check_name,
)
from mesh.core.events import Topic
from mesh.core.values import Encode
from mesh.names.resolver import Target
from mesh.transport import native
from mesh.transport.event_sender import GRACE, EventSender, JobSender, TopicSender
from mesh.transport.event_watch import LINGER
from mesh.transport.loop import Loop


class Sending(ABC):
    """A sender of events but for how somebody waits. Safe in any threads and loops, and after a fork."""

    __slots__ = ("__weakref__", "_options", "_sender")
    __mesh_unexposed__ = "a sender of events"

    _package: ClassVar[str]
    """That of its driver."""
    _sender: EventSender
    _options: PublisherOptions | PusherOptions

    @staticmethod
    @abstractmethod
    def _in_loop(function: Callable[[Loop], object]) -> None:
        """Have it called in the loop that looks after senders: one of its own, which goes on while the
        program's compute.
        """

    @abstractmethod
    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> Any:
        """Send the event of that name."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        check_name(name)
        return partial(self, name)

    def with_options(self, **options: Any) -> Self:
        """A view of this one whose events are sent with other options."""
        view = object.__new__(type(self))
        view._sender = self._sender
        view._options = replace(self._options, **options)
        return view

    def bind(self, endpoint: str) -> str:
        """Let receivers connect here; gives the real endpoint, with the port that `*` became."""
        return self._sender.bind(endpoint)

    def connect(self, endpoint: str) -> None:
        """Connect to a receiver that has bound or to a hub; in the background, and again for ever."""
        self._sender.connect(endpoint)

    @property
    def dropped(self) -> Counter[str]:
        """How often something is known not to have reached all whom it was for, by reason."""
        return Counter(self._sender.dropped)

    def __repr__(self) -> str:
        return f"<{self._package}: {self._sender.ends.name}>"


class Publishing(Sending):
    """Sends events to all who have subscribed. Nobody confirms anything: who has not subscribed yet, or is
    away, gets nothing.
    """

    __slots__ = ()

    _sender: TopicSender
    _options: PublisherOptions

    def __init__(
        self,
        target: Target | None = None,
        *,
        topic: Topic | None = None,
        keywords: bool = False,
        queue_size: int = EVENTS_QUEUED,
        services: str | None = None,
        max_message: int = wire.MAX_MESSAGE,
        encode: Encode | None = None,
    ) -> None:
        """target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
        yourself. topic, keywords: see PublisherOptions. queue_size: events that wait for a subscriber that
        reads too slowly; what is over is dropped for it. services: the registry file. max_message: bytes of
        one event. encode: gives what is to travel in place of what can't.

        Raises ConfigError, ServiceNotFound and MeshError.
        """
        self._options = PublisherOptions(topic, keywords)
        self._sender = TopicSender(self._in_loop, target, services, queue_size, max_message, encode)
        open_senders.add(self._sender)


class Pushing(Sending):
    """Hands each job to one puller. A job that was handed to a puller which then dies is lost, as nobody
    confirms anything.
    """

    __slots__ = ()

    _sender: JobSender
    _options: PusherOptions

    def __init__(
        self,
        target: Target | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        keywords: bool = False,
        queue_size: int = JOBS_QUEUED,
        services: str | None = None,
        max_message: int = wire.MAX_MESSAGE,
        encode: Encode | None = None,
    ) -> None:
        """target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
        yourself. timeout, keywords: see PusherOptions; a service's own timeout in the registry goes before
        the default. queue_size: jobs that wait for each puller. services: the registry file. max_message:
        bytes of one job. encode: gives what is to travel in place of what can't.

        Raises ConfigError, ServiceNotFound and MeshError.
        """
        self._options = PusherOptions(timeout, keywords)
        self._sender = sender = JobSender(self._in_loop, target, services, queue_size, max_message, encode)
        open_senders.add(sender)
        if timeout is DEFAULT_TIMEOUT and sender.own_timeout is not None:
            self._options = PusherOptions(sender.own_timeout, keywords)


open_senders: Final[WeakSet[EventSender]] = WeakSet()
"""Those that the program has not closed."""


def _close_all() -> None:
    """At the program's end: let what was sent leave."""
    for sender in list(open_senders):
        began, left = monotonic(), native.allocate_lock()
        left.acquire()
        if sender.close(LINGER, left.release):
            left.acquire(True, LINGER + GRACE)
            sender.tell_what_stayed(began, LINGER)


atexit.register(_close_all)
