"""`mesh.Publisher` and `mesh.Pusher`: an event is an attribute that is called; nothing comes back.

A publisher sends each event to all who have subscribed, and never waits for them. A pusher hands each job
to one of its pullers, and waits while none of them takes more. Their socket is mesh/transport's
(event_sender.py); here is how somebody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from gevent import get_hub

from mesh.core import misuse, settings
from mesh.core.event_options import DEFAULT_TIMEOUT, check_event
from mesh.green.loop import GeventLoop
from mesh.green.threads import Wakeup, loop_thread
from mesh.transport.event_sender import GRACE, EventSender, EventWaiter
from mesh.transport.event_watch import LINGER
from mesh.transport.loop import Loop
from mesh.transport.sending import Publishing, Pushing, Sending, open_senders


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


class _Sender(Sending):
    """What publishers and pushers share."""

    __slots__ = ()
    _package = "mesh"

    @staticmethod
    def _in_loop(function: Callable[[Loop], object]) -> None:
        loop_thread.submit(lambda: function(GeventLoop(get_hub())))

    def close(self, timeout: float = LINGER) -> bool:
        """Close, and wait at most `timeout` seconds until what was sent has left; gives whether it has."""
        settings.seconds("timeout", timeout)
        sender = self._sender
        open_senders.discard(sender)
        done, began = Wakeup(), monotonic()
        if not sender.close(timeout, done.wake):
            return True
        done.wait(timeout + GRACE)
        return not sender.tell_what_stayed(began, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __aenter__ = __aexit__ = misuse.advice(
            "mesh.{kind} is used with `with`; `async with` is for those of mesh.aio"
        )


class Publisher(Publishing, _Sender):
    """Sends events to all who have subscribed: `publisher.happened(1, 2)`, or by name
    `publisher("happened", 1, 2)`.

    Nobody confirms anything: who has not subscribed yet, or is away, gets nothing.
    """

    __slots__ = ()

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


class Pusher(Pushing, _Sender):
    """Hands each job to one puller: `pusher.resize("a.png")`, or by name `pusher("resize", "a.png")`.

    A job that was handed to a puller which then dies is lost, as nobody confirms anything.
    """

    __slots__ = ()

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
