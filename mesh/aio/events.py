"""`mesh.aio.Publisher` and `mesh.aio.Pusher`: an event is an attribute whose call is awaited.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands each job
to one of its pullers, and waits while none of them takes more. Their socket is mesh/transport's
(event_sender.py), and belongs to no loop of the program's; here is how a task waits.
"""

from __future__ import annotations

from abc import abstractmethod
from asyncio import Future
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from mesh.aio.loop import AsyncioLoop
from mesh.aio.loop_thread import loop_thread
from mesh.core import misuse, settings
from mesh.core.event_options import DEFAULT_TIMEOUT, check_event
from mesh.transport.event_sender import GRACE, EventSender, EventWaiter
from mesh.transport.event_watch import LINGER
from mesh.transport.loop import Loop
from mesh.transport.sending import Publishing, Pushing, Sending, open_senders


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


class _Sender(Sending):
    """What publishers and pushers share. Their sockets belong to no loop of the program's, which may begin
    after they were made.
    """

    __slots__ = ()
    _package = "mesh.aio"

    @staticmethod
    def _in_loop(function: Callable[[Loop], object]) -> None:
        loop_thread.call(function)

    def __call__(self, event: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]:
        """Send the event of that name, once it is awaited."""
        check_event(event, kwargs, self._options.keywords)
        coroutine: Any = self._send(event, args, kwargs)
        # What Python says of one that is never awaited, which is easily forgotten, names it so.
        coroutine.__qualname__ = event
        named: Coroutine[Any, Any, None] = coroutine
        return named

    @abstractmethod
    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Send it now, or once it can be."""

    async def close(self, timeout: float = LINGER) -> bool:
        """Close, and wait at most `timeout` seconds until what was sent has left; gives whether it has."""
        settings.seconds("timeout", timeout)
        sender = self._sender
        open_senders.discard(sender)
        here = _here(sender.ends.name)
        future: Future[None] = here.loop.create_future()
        wake, began = partial(_resolve, future), monotonic()
        if not sender.close(timeout, partial(here.call_soon_threadsafe, wake)):
            return True
        timer = here.loop.call_later(timeout + GRACE, wake)
        try:
            await future
        finally:
            timer.cancel()
        return not sender.tell_what_stayed(began, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __enter__ = __exit__ = misuse.advice(
            "mesh.aio.{kind} is used with `async with`; `with` is for those of mesh"
        )


class Publisher(Publishing, _Sender):
    """Sends events to all who have subscribed: `await publisher.happened(1, 2)`, or by name
    `await publisher("happened", 1, 2)`.

    To await an event sends it at once, and lets no other task go on. Nobody confirms anything: who has not
    subscribed yet, or is away, gets nothing.
    """

    __slots__ = ()

    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._sender.publish(self._options.topic_bytes, event, args, kwargs)

    async def wait_for_subscriber(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """As `mesh.Publisher.wait_for_subscriber`."""
        settings.seconds("timeout", timeout, none=True)
        topic = self._options.topic_bytes
        if not await _until(self._sender, partial(self._sender.is_subscribed, topic), timeout):
            raise self._sender.nobody(self._options.topic, timeout)


class Pusher(Pushing, _Sender):
    """Hands each job to one puller: `await pusher.resize("a.png")`, or by name
    `await pusher("resize", "a.png")`.

    To await a job waits while no puller takes more. Raises TimeoutExpired where none is connected, Overloaded
    where those that are have full queues; then the job was handed to nobody, nor is that of a task which is
    cancelled while it waits. A job that was handed to a puller which then dies is lost, as nobody confirms
    anything.
    """

    __slots__ = ()

    async def _send(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sender, timeout = self._sender, self._options.timeout
        payload = sender.pack(event, args, kwargs)
        if sender.push(payload):
            return
        if not await _until(sender, partial(sender.try_send, payload), timeout):
            raise sender.refused(event, timeout)
