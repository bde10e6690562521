"""What goes to one peer in one frame: the calls, or the answers, that a worker and a hub, or a client and a
hub or server, exchange. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgpack

from mesh.core import majordomo as mdp
from mesh.core.wire import UNREADABLE
from mesh.errors import WireError

_EACH: Final = 8
"""Bytes that MessagePack adds to each: a code, and the lengths of a token and of a short event."""
SMALLEST: Final = 64
"""Bytes of a batch that is worth its name."""
MAX_EVENTS: Final = 2_000
"""Events in one frame that is read: as many calls as go into one are fewer, so that one of more is an attempt
to keep its reader busy."""
BUNDLED: Final = 64
"""Events in one frame that is sent, as many as are taken in before those whom they are for have their turn:
of more, a server that has a turn only now and then would have to refuse some."""
_BINARIES: Final = frozenset((b"\xc4", b"\xc5", b"\xc6"))


class Batch:
    """limit: bytes that the peer takes at once. most: bytes from which an event goes by itself."""

    __slots__ = ("items", "limit", "most", "size")

    def __init__(self, limit: int) -> None:
        self.limit_to(limit)
        self.items: list[int | bytes] = []
        self.size = _EACH

    def limit_to(self, limit: int) -> None:
        """For what comes from now on."""
        self.limit = limit
        self.most = min(mdp.LONE, limit // 4)

    def add(self, code: int, token: bytes, event: bytes) -> bool:
        """Put one more in; False where there is no room for it. An empty one has room."""
        size = self.size + len(token) + len(event) + _EACH
        if size > self.limit and self.items:
            return False
        self.items += (code, token, event)
        self.size = size
        return True

    def take(self) -> bytes:
        """The frame, after which it is empty again."""
        frame = mdp.batch(self.items)
        self.clear()
        return frame

    def clear(self) -> None:
        self.items = []
        self.size = _EACH


def limit_of(about: dict[str, object]) -> int:
    """Bytes that a peer takes at once, by what it says of itself; 0 where it takes no batches."""
    limit = about.get("batch")
    return min(limit, mdp.MAX_BATCH) if type(limit) is int and limit >= SMALLEST else 0


class Bundle:
    """Events that go to one client in one frame."""

    __slots__ = ("events", "size")

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.size = _EACH

    def add(self, event: bytes) -> bool:
        """Put one more in, of less than LONE bytes; False where there is no room for it."""
        size = self.size + len(event) + _EACH
        if size > mdp.MAX_BATCH or len(self.events) >= BUNDLED:
            return False
        self.events.append(event)
        self.size = size
        return True

    def frames(self) -> list[bytes]:
        """As a message without its address: a lone event as it always is."""
        return [pack_events(self.events)] if len(self.events) > 1 else [b"", *self.events]


def pack_events(events: Sequence[bytes]) -> bytes:
    """Several events in one frame, between a client and a hub or server that have agreed on it."""
    frame: bytes = msgpack.packb(events)
    return frame


def holds_events(frame: bytes) -> bool:
    """Whether a frame may be several events; one alone begins otherwise."""
    return mdp.first_item(frame) in _BINARIES


def read_events(frame: bytes) -> list[bytes]:
    """The events of a frame. Raises WireError."""
    events = None
    if len(frame) <= mdp.MAX_BATCH:
        try:
            events = msgpack.unpackb(frame)
        except UNREADABLE:
            pass
    if type(events) is not list or {*map(type, events)} != {bytes} or len(events) > MAX_EVENTS:
        raise WireError(f"a batch is an array of events, of at most {mdp.MAX_BATCH} bytes")
    return events
