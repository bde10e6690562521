"""`mesh.Publisher`, `Pusher`, `Subscriber` and `Puller`: events go one way, and nothing comes back.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands each job
to one of its pullers, and waits while none of them takes more. Subscribers and pullers carry them out, each
in greenlets of one loop. The sockets are mesh/transport's (event_sender.py, event_receiver.py).
"""

from __future__ import annotations

import atexit
import contextvars
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Final, Self
from weakref import WeakSet

import gevent
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.pool import Pool

from mesh.core import settings, wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.event_options import (
    DEFAULT_TIMEOUT,
    EVENTS_QUEUED,
    JOBS_QUEUED,
    PublisherOptions,
    PusherOptions,
    check_event,
    check_name,
)
from mesh.core.events import Topic, prefixes_of
from mesh.core.unfinished import Running
from mesh.core.values import Encode
from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop
from mesh.green.runnable import Runnable
from mesh.green.threads import loop_thread
from mesh.names.resolver import Target
from mesh.transport import native, process
from mesh.transport.event_receiver import FAIR, Delivery, EventReceiver
from mesh.transport.event_sender import GRACE, EventSender, EventWaiter, JobSender, TopicSender
from mesh.transport.event_socket import PULLER, SUBSCRIBER, Role
from mesh.transport.event_watch import LINGER
from mesh.transport.loop import Loop

MOMENT: Final = 1e-6
"""Seconds; gevent lets sockets and timers have their turn only when this is not 0."""


def _in_loop_thread(function: Callable[[Loop], object]) -> None:
    """The loop that looks after senders is one of its own, so that it goes on while others compute."""
    loop_thread.submit(lambda: function(GeventLoop(get_hub())))


class _Done:
    """What a greenlet, or a native thread without a loop, waits for. wake: from any thread, once."""

    __slots__ = ("_event", "loop", "wake")

    def __init__(self) -> None:
        hub = get_hub_if_exists()
        self.wake: Callable[[], object]
        self.loop = None if hub is None else GeventLoop(hub)
        if self.loop is None:
            self._event: Any = native.allocate_lock()
            self._event.acquire()
            self.wake = self._event.release
        else:
            self._event = Event()
            self.wake = partial(self.loop.call_soon_threadsafe, self._event.set)

    def wait(self, timeout: float | None) -> None:
        if self.loop is not None:
            self._event.wait(timeout)
        else:
            self._event.acquire(True, -1 if timeout is None else timeout)


def _until(sender: EventSender, attempt: Callable[[], bool], timeout: float | None) -> bool:
    """Wait until `attempt` gives True; False after `timeout` seconds."""
    if sender.at_once(attempt):
        return True
    if timeout is not None and timeout <= 0:
        return False
    done = _Done()
    waiter = EventWaiter(attempt, done.wake, done.loop)
    if sender.wait(waiter):
        return True
    try:
        done.wait(timeout)
    finally:
        sender.leave(waiter)
    return waiter.outcome()


class _Sender:
    """What publishers and pushers share. Safe in any greenlets and native threads, and after a fork."""

    __slots__ = ("__weakref__", "_options", "_sender")
    __mesh_unexposed__ = "a sender of events"

    _sender: EventSender
    _options: PublisherOptions | PusherOptions

    def __getattr__(self, name: str) -> Callable[..., None]:
        check_name(name)
        return partial(self, name)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

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

    def close(self, timeout: float = LINGER) -> None:
        """Close, and wait at most `timeout` seconds until what was sent has left this process."""
        settings.seconds("timeout", timeout)
        _close(self._sender, timeout)

    @property
    def dropped(self) -> Counter[str]:
        """How often something is known not to have reached all whom it was for, by reason."""
        return Counter(self._sender.dropped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh: {self._sender.ends.name}>"


class Publisher(_Sender):
    """Sends events to all who have subscribed: `publisher.happened(1, 2)`, or by name
    `publisher("happened", 1, 2)`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. topic, keywords: see PublisherOptions. queue_size: events that wait for a subscriber
    that reads too slowly; what is over is dropped for it. services: the registry file.
    max_message: bytes of one event. encode: gives what is to travel in place of what can't.

    Nobody confirms anything: who has not subscribed yet, or is away, gets nothing.
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
        self._options = PublisherOptions(topic, keywords)
        self._sender = TopicSender(_in_loop_thread, target, services, queue_size, max_message, encode)
        _open.add(self._sender)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Send the event of that name. Never waits."""
        options = self._options
        check_event(event, kwargs, options.keywords)
        self._sender.publish(options.topic_bytes, event, args, kwargs)

    def wait_for_subscriber(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Wait until somebody has subscribed to events of this topic.

        Behind a hub that is a subscriber of the hub. There may be more who come later. Raises
        TimeoutExpired after `timeout` seconds.
        """
        settings.seconds("timeout", timeout, none=True)
        topic = self._options.topic_bytes
        if not _until(self._sender, partial(self._sender.is_subscribed, topic), timeout):
            raise self._sender.nobody(self._options.topic, timeout)


class Pusher(_Sender):
    """Hands each job to one puller: `pusher.resize("a.png")`, or by name `pusher("resize", "a.png")`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. timeout, keywords: see PusherOptions; a service's own timeout in the registry goes
    before the default. queue_size: jobs that wait for each puller. services: the registry file.
    max_message: bytes of one job. encode: gives what is to travel in place of what can't.

    A job that was handed to a puller which then dies is lost, as nobody confirms anything.
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
        self._options = PusherOptions(timeout, keywords)
        self._sender = sender = JobSender(_in_loop_thread, target, services, queue_size, max_message, encode)
        _open.add(sender)
        if timeout is DEFAULT_TIMEOUT and sender.own_timeout is not None:
            self._options = PusherOptions(sender.own_timeout, keywords)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Hand over the job of that name.

        Waits while no puller takes more. Raises TimeoutExpired where none is connected, Overloaded
        where those that are have full queues; then the job was handed to nobody.
        """
        check_event(event, kwargs, self._options.keywords)
        sender, timeout = self._sender, self._options.timeout
        payload = sender.pack(event, args, kwargs)
        if not _until(sender, partial(sender.try_send, payload), timeout):
            raise sender.refused(event, timeout)


def _close(sender: EventSender, timeout: float) -> None:
    _open.discard(sender)
    done, began = _Done(), monotonic()
    if sender.close(timeout, done.wake):
        done.wait(timeout + GRACE)
        if timeout and monotonic() - began >= timeout:
            sender.not_all_left(timeout)


_open: Final[WeakSet[EventSender]] = WeakSet()


def _close_all() -> None:
    for sender in list(_open):
        _close(sender, LINGER)


atexit.register(_close_all)


class _Receiver(Runnable):
    """What subscribers and pullers share: the greenlets that read and that carry out."""

    __mesh_unexposed__ = "a receiver of events"

    def __init__(
        self,
        role: Role,
        target: Target | None,
        handler: Any,
        pool_size: int,
        queue_size: int,
        services: str | None,
        max_message: int,
        max_elements: int,
        prefixes: list[bytes],
    ) -> None:
        settings.count("pool_size", pool_size)
        self._receiver = EventReceiver(
            role,
            target,
            handler,
            prefixes=prefixes,
            queue_size=queue_size,
            services=services,
            max_message=max_message,
            max_elements=max_elements,
        )
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
    if hasattr(type(result), "__await__") or hasattr(type(result), "__next__"):
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
        prefixes = prefixes_of(topics)
        super().__init__(
            SUBSCRIBER, target, handler, pool_size, queue_size, services, max_message, max_elements, prefixes
        )


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
        super().__init__(
            PULLER, target, handler, pool_size, queue_size, services, max_message, max_elements, []
        )
