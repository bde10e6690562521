"""`mesh.Publisher` and `mesh.Pusher`: an event is an attribute that is called; nothing comes back.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands
each job to one of its pullers, and waits while none of them takes more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

import zmq

from mesh.core import settings, wire
from mesh.core.events import Subscribed, Topic, topic_bytes
from mesh.core.values import Encode
from mesh.errors import MeshError, Overloaded, TimeoutExpired
from mesh.green.event_socket import PUBLISHER, PUSHER
from mesh.green.outlet import Outlet
from mesh.green.watch import LINGER
from mesh.names.resolver import Target
from mesh.transport.sockets import MORE, NOBLOCK, Socket

DEFAULT_TIMEOUT: Final = 30.0
EVENTS_QUEUED: Final = 1_000
JOBS_QUEUED: Final = 100
_NO_TOPIC: Final = b"\x93"
"""How an event without a topic begins: as an array of three."""


@dataclass(frozen=True, slots=True)
class PublisherOptions:
    """topic: goes before each event, for subscribers to choose by its beginning; None for none.
    keywords: all receivers are mesh, so that keyword arguments may travel.
    """

    topic: Topic | None = None
    keywords: bool = False

    def __post_init__(self) -> None:
        if self.topic is not None:
            topic_bytes(self.topic)
        settings.flag("keywords", self.keywords)


@dataclass(frozen=True, slots=True)
class PusherOptions:
    """timeout: seconds to wait for a puller that takes the job, 0 for not at all, None for no
    limit. keywords: all receivers are mesh, so that keyword arguments may travel.
    """

    timeout: float | None = DEFAULT_TIMEOUT
    keywords: bool = False

    def __post_init__(self) -> None:
        settings.seconds("timeout", self.timeout, none=True)
        settings.flag("keywords", self.keywords)


class _Emitter:
    """What publishers and pushers share. Safe in any greenlets and native threads, and after a fork."""

    __slots__ = ("__weakref__", "_options", "_outlet")
    __mesh_unexposed__ = "a sender of events"

    _outlet: Outlet
    _options: PublisherOptions | PusherOptions

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(f"names that begin with _ are never events: {name!r}")
        return partial(self, name)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def with_options(self, **options: Any) -> Self:
        """A view of this one whose events are sent with other options."""
        view = object.__new__(type(self))
        view._outlet = self._outlet
        view._options = replace(self._options, **options)
        return view

    def bind(self, endpoint: str) -> str:
        """Let receivers connect here; gives the real endpoint, with the port that `*` became."""
        return self._outlet.bind(endpoint)

    def connect(self, endpoint: str) -> None:
        """Connect to a receiver that has bound or to a hub; in the background, and again for ever."""
        self._outlet.connect(endpoint)

    def close(self, timeout: float = LINGER) -> None:
        """Close, and wait at most `timeout` seconds until what was sent has left this process."""
        settings.seconds("timeout", timeout)
        self._outlet.close(timeout)

    @property
    def dropped(self) -> Counter[str]:
        """How often something is known not to have reached all whom it was for, by reason."""
        return Counter(self._outlet.dropped)

    def _check(self, event: str, kwargs: dict[str, Any]) -> None:
        if not isinstance(event, str):
            raise TypeError(f"the name of an event must be str, not {type(event).__name__}")
        if kwargs and not self._options.keywords:
            raise TypeError(
                f"{event!r:.80} can't take keyword arguments: an old zerorpc receiver would drop them, and "
                "nobody could tell; give them by position, or say keywords=True where all receivers are mesh"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh: {self._outlet.ends.name}>"


class Publisher(_Emitter):
    """Sends events to all who have subscribed: `publisher.happened(1, 2)`, or by name
    `publisher("happened", 1, 2)`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. topic, keywords: see PublisherOptions. queue_size: events that wait for a subscriber
    that reads too slowly; what is over is dropped for it. services: the registry file.
    max_message: bytes of one event. encode: gives what is to travel in place of what can't.

    Nobody confirms anything: who has not subscribed yet, or is away, gets nothing.
    """

    __slots__ = ()

    _outlet: _PublisherOutlet
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
        self._options = PublisherOptions(topic, keywords)
        self._outlet = _PublisherOutlet(PUBLISHER, target, services, queue_size, max_message, encode)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Send the event of that name. Never waits."""
        self._check(event, kwargs)
        self._outlet.publish(self._topic, event, args, kwargs)

    def wait_for_subscriber(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Wait until somebody has subscribed to events of this topic.

        Behind a hub that is a subscriber of the hub. There may be more who come later. Raises
        TimeoutExpired after `timeout` seconds.
        """
        settings.seconds("timeout", timeout, none=True)
        if not self._outlet.until_subscribed(self._topic, timeout):
            what = f"topic {self._options.topic!r}" if self._topic else "events without a topic"
            raise TimeoutExpired(
                f"nobody has subscribed to {what} within {timeout:.4g} s: {self._outlet.describe()}"
            )

    @property
    def _topic(self) -> bytes:
        topic = self._options.topic
        return topic_bytes(topic) if topic is not None else b""


class Pusher(_Emitter):
    """Hands each job to one puller: `pusher.resize("a.png")`, or by name `pusher("resize", "a.png")`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. timeout, keywords: see PusherOptions; a service's own timeout in the registry goes
    before the default. queue_size: jobs that wait for each puller. services: the registry file.
    max_message: bytes of one job. encode: gives what is to travel in place of what can't.

    A job that was handed to a puller which then dies is lost, as nobody confirms anything.
    """

    __slots__ = ()

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
        self._options = PusherOptions(timeout, keywords)
        self._outlet = outlet = Outlet(PUSHER, target, services, queue_size, max_message, encode)
        service = outlet.ends.service
        if timeout is DEFAULT_TIMEOUT and service is not None and service.timeout is not None:
            self._options = PusherOptions(service.timeout, keywords)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Hand over the job of that name.

        Waits while no puller takes more. Raises TimeoutExpired where none is connected, Overloaded
        where those that are have full queues; then the job was handed to nobody.
        """
        self._check(event, kwargs)
        outlet, timeout = self._outlet, self._options.timeout
        payload = outlet.pack(event, args, kwargs)
        if not outlet.until(lambda: outlet.try_send(payload), timeout):
            raise _refused(outlet, event, timeout)


def _refused(outlet: Outlet, event: str, timeout: float | None) -> MeshError:
    error: MeshError
    if outlet.connections:
        error = Overloaded(f"no puller took {event!r:.80} within {timeout:.4g} s: {outlet.describe()}")
    else:
        error = TimeoutExpired(f"nobody took {event!r:.80} within {timeout:.4g} s: {outlet.describe()}")
    error.refused = True
    return error


class _PublisherOutlet(Outlet):
    """Knows who has subscribed, as far as an XPUB socket tells."""

    def _set_options(self, socket: Socket) -> None:
        super()._set_options(socket)
        self._subscribed = Subscribed()
        # Tells when a subscriber falls behind, which libzmq would do in silence.
        socket.set(zmq.XPUB_NODROP, 1)

    def _take(self) -> None:
        socket = self.ends.socket
        while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._subscribed.take(socket.recv(NOBLOCK))

    def publish(self, topic: bytes, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        payload = self.pack(event, args, kwargs)
        with self.ends.lock:
            self.ready()
            first = topic or payload
            if not self._subscribed.match(first):
                self.look()
                if not self._subscribed.match(first):
                    self.dropped.add("nobody had subscribed", quiet=True)
            frames = (topic, payload) if topic else (payload,)
            if not self._try(frames):
                # Those who are not behind get it all the same.
                self.dropped.add("a subscriber fell behind and loses events", "raise its queue_size")
                self.ends.socket.set(zmq.XPUB_NODROP, 0)
                self._try(frames)
                self.ends.socket.set(zmq.XPUB_NODROP, 1)
            if self._waiters:
                self.look()

    def _try(self, frames: tuple[bytes, ...]) -> bool:
        try:
            for frame in frames[:-1]:
                self._send(frame, MORE)
            self._send(frames[-1], NOBLOCK)
        except zmq.Again:
            return False
        return True

    def until_subscribed(self, topic: bytes, timeout: float | None) -> bool:
        def attempt() -> bool:
            self._take()
            return self._subscribed.match(topic or _NO_TOPIC)

        with self.ends.lock:
            self.ready()
            if attempt():
                return True
        return self.until(attempt, timeout)
