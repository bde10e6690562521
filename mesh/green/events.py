"""`mesh.Publisher` and `mesh.Pusher`: an event is an attribute that is called; nothing comes back.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands each job
to one of its pullers, and waits while none of them takes more. Their socket is mesh/transport's
(event_sender.py); here is how somebody waits.
"""

from __future__ import annotations

import atexit
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from gevent import get_hub

from mesh.core import misuse, settings, wire
from mesh.core.event_options import (
    DEFAULT_TIMEOUT,
    EVENTS_QUEUED,
    JOBS_QUEUED,
    PublisherOptions,
    PusherOptions,
    check_event,
    check_name,
)
from mesh.core.events import Topic
from mesh.core.values import Encode
from mesh.green.loop import GeventLoop
from mesh.green.threads import Wakeup, loop_thread
from mesh.names.resolver import Target
from mesh.transport.event_sender import GRACE, EventSender, EventWaiter, JobSender, TopicSender
from mesh.transport.event_watch import LINGER
from mesh.transport.loop import Loop

MOMENT: Final = 1e-6
"""Seconds; gevent lets sockets and timers have their turn only when this is not 0."""


def _in_loop_thread(function: Callable[[Loop], object]) -> None:
    """The loop that looks after senders is one of its own, so that it goes on while others compute."""
    loop_thread.submit(lambda: function(GeventLoop(get_hub())))


def _until(sender: EventSender, attempt: Callable[[], bool], timeout: float | None) -> bool:
    """Wait until `attempt` gives True; False after `timeout` seconds."""
    if sender.at_once(attempt):
        return True
    if timeout is not None and timeout <= 0:
        return False
    done = Wakeup()
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

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __aenter__ = __aexit__ = misuse.advice(
            "mesh.{kind} is used with `with`; `async with` is for those of mesh.aio"
        )


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
        if not sender.push(payload) and not _until(sender, partial(sender.try_send, payload), timeout):
            raise sender.refused(event, timeout)


def _close(sender: EventSender, timeout: float) -> None:
    _open.discard(sender)
    done, began = Wakeup(), monotonic()
    if sender.close(timeout, done.wake):
        done.wait(timeout + GRACE)
        if timeout and monotonic() - began >= timeout:
            sender.not_all_left(timeout)


_open: Final[WeakSet[EventSender]] = WeakSet()


def _close_all() -> None:
    for sender in list(_open):
        _close(sender, LINGER)


atexit.register(_close_all)
