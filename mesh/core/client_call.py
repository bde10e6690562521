"""One request as its client sees it, and what has come back."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from mesh.core.channel import FIRST_CREDIT, NEVER, QUEUED, Channel
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.core.server_call import ServerCall
from mesh.core.span import Span

FIRST_WINDOW: Final = 100
"""Items that a server may send ahead when its stream begins."""


class Call(Channel):
    """One request and what has come back.

    value or error is set once state is DONE; items holds what a stream has delivered and nobody
    has taken yet. low: with fewer of them than that the server is to be let send more. pinned: it may
    go to no other peer than the one it was opened for. route: which peers it may go to, None for any.
    copy, was_copied, original: see RoutedCall and Copy. span: of the trace that it belongs to; None where it
    belongs to none. caller: the call whose handler has made it, where one has. sent_at: when it was given to
    a connection. Of a stream: began, when it was opened; first_at, when its first item came; received, how
    many have come.
    """

    route: Route | None = None
    hedge_at: float = NEVER
    copy: Copy | None = None
    was_copied: bool = False
    original: RoutedCall | None = None
    sent_at: float
    __slots__ = (
        "began",
        "caller",
        "credit",
        "deadline",
        "error",
        "first_at",
        "item_size",
        "items",
        "low",
        "method",
        "payload",
        "peer",
        "received",
        "sent_at",
        "span",
        "value",
        "window",
    )

    def __init__(self, channel_id: bytes, method: str, now: float, interval: float, deadline: float) -> None:
        # As Channel's, without the call of it.
        self.id = channel_id
        self.opened = now
        self.next_beat = now + interval
        self.last_heard = 0.0
        self.state = QUEUED
        self.waiter = None
        self.method = method
        self.deadline = deadline
        self.payload = b""
        self.peer: Peer | None = None
        self.value: Any = None
        self.error: Exception | None = None
        self.items: deque[Any] | None = None
        self.span: Span | None = None
        self.caller: ServerCall | None = None

    @property
    def pinned(self) -> bool:
        return False

    @property
    def is_stream(self) -> bool:
        """Whether its first answer is to be given to the caller as a stream; not one that broke off before
        its first item.
        """
        return self.items is not None and (self.error is None or bool(self.items))

    def take_error(self) -> Exception | None:
        """What a stream has ended with, once: then it merely has no more items."""
        error, self.error = self.error, None
        return error

    def begin_stream(self, now: float) -> None:
        self.items = deque()
        self.began = self.opened
        self.first_at = now
        self.received = 0
        self.credit = FIRST_CREDIT
        self.window = FIRST_WINDOW // 2
        self.item_size = 0
        self.set_low()

    def set_low(self) -> None:
        """After a change of credit or window: less than half of the window is to be on its way or here."""
        self.low = (self.window + 1) // 2 - self.credit


class RoutedCall(Call):
    """A call that may go to some peers only, or rather not to some. hedge_at: when a copy is to be sent.
    copy: the one that was, until one of the two has its end. was_copied: whether there ever was one.
    """

    __slots__ = ("copy", "hedge_at", "route", "was_copied")

    def __init__(
        self, channel_id: bytes, method: str, now: float, interval: float, deadline: float, route: Route
    ) -> None:
        Call.__init__(self, channel_id, method, now, interval, deadline)
        self.route: Route = route
        self.hedge_at = NEVER
        self.copy: Copy | None = None
        self.was_copied = False

    @property
    def pinned(self) -> bool:
        return self.route.peer is not None


class PinnedCall(Call):
    """A call for one peer only, for another may not understand it."""

    __slots__ = ()

    @property
    def pinned(self) -> bool:
        return True


class Copy(PinnedCall):
    """A call that was sent besides the one that somebody waits for."""

    __slots__ = ("original",)
    original: RoutedCall


class Waiting:
    """Somebody who waits for a connection, as `Call.waiter` for an answer. until: for how long."""

    __slots__ = ("until", "waiter")

    def __init__(self, waiter: Any, until: float) -> None:
        self.waiter = waiter
        self.until = until
