"""`mesh.aio.Publisher` and `mesh.aio.Pusher`: an event is an attribute whose call is awaited.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands each job
to one of its pullers, and waits while none of them takes more. Their socket is mesh/transport's
(event_sender.py), and belongs to no loop of the program's; here is how a task waits.
"""

from __future__ import annotations

import atexit
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from mesh.aio.loop import AsyncioLoop
from mesh.aio.loop_thread import loop_thread
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
from mesh.names.resolver import Target
from mesh.transport import native
from mesh.transport.event_sender import GRACE, EventSender, EventWaiter, JobSender, TopicSender
from mesh.transport.event_watch import LINGER


def _here(what: str) -> AsyncioLoop:
    """The loop that runs in this thread."""
    try:
        return AsyncioLoop()
    except RuntimeError:
        raise RuntimeError(
            f"{what} was awaited where no event loop of asyncio runs: await it in a coroutine that "
            "asyncio.run runs, or use that of `mesh`, which needs none"
        ) from None


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _until(sender: EventSender, attempt: Callable[[], bool], timeout: float | None) -> bool:
    """Wait until `attempt` gives True; False after `timeout` seconds."""
    if sender.at_once(attempt):
        return True
    if timeout is not None and timeout <= 0:
        return False
    here = _here(sender.ends.name)
    future: Future[None] = here.loop.create_future()
    wake = partial(_resolve, future)
    waiter = EventWaiter(attempt, partial(here.call_soon_threadsafe, wake), here)
    if sender.wait(waiter):
        return True
    timer = None if timeout is None else here.loop.call_later(timeout, wake)
    try:
        await future
    except GeneratorExit:  # it is collected, perhaps while this thread has the lock
        waiter.abandoned = True
        raise
    except BaseException:
        sender.leave(waiter)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    sender.leave(waiter)
    return waiter.outcome()


class _Sender:
    """What publishers and pushers share. Safe in any tasks, event loops and native threads, and after a fork.

    Its socket belongs to no loop of the program's, so that it may be made before there is one.
    """

    __slots__ = ("__weakref__", "_options", "_sender")
    __mesh_unexposed__ = "a sender of events"

    _sender: EventSender
    _options: PublisherOptions | PusherOptions

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, None]]:
        check_name(name)
        return partial(self, name)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]:
        """Send the event of that name, once it is awaited."""
        check_event(event, kwargs, self._options.keywords)
        coroutine = self._send(event, args, kwargs)
        # What Python says of one that is never awaited, which is easily forgotten, names it so.
        coroutine.__qualname__ = event  # type: ignore[attr-defined]
        return coroutine

    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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

    async def close(self, timeout: float = LINGER) -> None:
        """Close, and wait at most `timeout` seconds until what was sent has left this process."""
        settings.seconds("timeout", timeout)
        _open.discard(self._sender)
        here = _here(self._sender.ends.name)
        future: Future[None] = here.loop.create_future()
        wake = partial(_resolve, future)
        began = monotonic()
        if not self._sender.close(timeout, partial(here.call_soon_threadsafe, wake)):
            return
        timer = here.loop.call_later(timeout + GRACE, wake)
        try:
            await future
        finally:
            timer.cancel()
        if timeout and monotonic() - began >= timeout:
            self._sender.not_all_left(timeout)

    @property
    def dropped(self) -> Counter[str]:
        """How often something is known not to have reached all whom it was for, by reason."""
        return Counter(self._sender.dropped)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<mesh.aio: {self._sender.ends.name}>"

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __enter__ = __exit__ = misuse.advice(
            "mesh.aio.{kind} is used with `async with`; `with` is for those of mesh"
        )


class Publisher(_Sender):
    """Sends events to all who have subscribed: `await publisher.happened(1, 2)`, or by name
    `await publisher("happened", 1, 2)`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. topic, keywords: see PublisherOptions. queue_size: events that wait for a subscriber
    that reads too slowly; what is over is dropped for it. services: the registry file.
    max_message: bytes of one event. encode: gives what is to travel in place of what can't.

    To await an event sends it at once, and lets no other task go on. Nobody confirms anything: who has not
    subscribed yet, or is away, gets nothing.
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
        self._sender = TopicSender(loop_thread.call, target, services, queue_size, max_message, encode)
        _open.add(self._sender)

    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._sender.publish(self._options.topic_bytes, event, args, kwargs)

    async def wait_for_subscriber(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Wait until somebody has subscribed to events of this topic.

        Behind a hub that is a subscriber of the hub. There may be more who come later. Raises
        TimeoutExpired after `timeout` seconds.
        """
        settings.seconds("timeout", timeout, none=True)
        topic = self._options.topic_bytes
        if not await _until(self._sender, partial(self._sender.is_subscribed, topic), timeout):
            raise self._sender.nobody(self._options.topic, timeout)


class Pusher(_Sender):
    """Hands each job to one puller: `await pusher.resize("a.png")`, or by name
    `await pusher("resize", "a.png")`.

    target: a name from the registry, an endpoint or a list of them; None to `bind` or `connect`
    yourself. timeout, keywords: see PusherOptions; a service's own timeout in the registry goes
    before the default. queue_size: jobs that wait for each puller. services: the registry file.
    max_message: bytes of one job. encode: gives what is to travel in place of what can't.

    To await a job waits while no puller takes more. Raises TimeoutExpired where none is connected, Overloaded
    where those that are have full queues; then the job was handed to nobody, nor is that of a task which is
    cancelled while it waits. A job that was handed to a puller which then dies is lost, as nobody confirms
    anything.
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
        self._sender = sender = JobSender(loop_thread.call, target, services, queue_size, max_message, encode)
        _open.add(sender)
        if timeout is DEFAULT_TIMEOUT and sender.own_timeout is not None:
            self._options = PusherOptions(sender.own_timeout, keywords)

    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sender, timeout = self._sender, self._options.timeout
        payload = sender.pack(event, args, kwargs)
        if sender.push(payload):
            return
        if not await _until(sender, partial(sender.try_send, payload), timeout):
            raise sender.refused(event, timeout)


_open: Final[WeakSet[EventSender]] = WeakSet()


def _close_all() -> None:
    """What the program has not closed. No loop of its own runs any more."""
    for sender in list(_open):
        left = native.allocate_lock()
        left.acquire()
        if sender.close(LINGER, left.release) and not left.acquire(True, LINGER + GRACE):
            sender.not_all_left(LINGER)


atexit.register(_close_all)
