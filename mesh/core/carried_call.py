"""A call on its way between a hub and a sidecar's server, and the connection that it takes."""

from __future__ import annotations

from typing import Any

from mesh.core.progress import Progress
from mesh.core.server_call import HubCall
from mesh.core.server_session import MAX_CHANNEL_ID
from mesh.core.wire import BEAT, Header


class ServerConnection:
    """One of the connections to the server.

    calls: those that are open on it, by their message ids. up: whether the connection stands.
    expected_until: when it should. progress: what moves on it, where the driver can tell.
    """

    __slots__ = ("calls", "expected_until", "progress", "up")

    def __init__(self, expected_until: float) -> None:
        self.calls: dict[bytes, CarriedCall] = {}
        self.up = False
        self.expected_until = expected_until
        self.progress: Progress | None = None

    def usable(self, now: float) -> bool:
        return self.up or now < self.expected_until


class CarriedCall:
    """A call on its way. name: of the method. opened: when it came.

    key: its message id as bytes, whether it came as bytes or as text. sent: the server may have seen it.
    ended: it has had its last event. heard_at: when either end was heard last. told_at: when its caller was
    last told anything. gap: the longest silence of both so far. beats: whether either gives heartbeats.
    size: bytes of the call until the server says anything about it, then 0.
    """

    __slots__ = (
        "beats",
        "connection",
        "ended",
        "gap",
        "heard_at",
        "id",
        "key",
        "name",
        "opened",
        "peer",
        "sent",
        "size",
        "told_at",
        "version",
    )

    def __init__(
        self,
        peer: HubCall,
        connection: ServerConnection,
        name: str,
        header: Header,
        key: bytes,
        size: int,
        now: float,
    ) -> None:
        self.peer = peer
        self.name = name
        self.opened = now
        self.connection = connection
        self.id = header["message_id"]
        self.key = key
        self.size = size
        version = header.get("v", 1)
        self.version = version if type(version) is int else 1
        self.sent = self.ended = self.beats = False
        self.heard_at = self.told_at = now
        self.gap = 0.0

    def mark_sent(self) -> None:
        """An event of it has gone to the server."""
        self.sent = True

    def heard(self, name: str, now: float) -> None:
        self.gap = max(self.gap, now - self.heard_at)
        self.heard_at = now
        self.beats = self.beats or name == BEAT


def key_of(channel_id: Any) -> bytes:
    """A message id as bytes, for some peers write as text what they read as bytes; else b""."""
    if type(channel_id) is str and len(channel_id) <= MAX_CHANNEL_ID:
        return channel_id.encode()
    return channel_id if type(channel_id) is bytes and len(channel_id) <= MAX_CHANNEL_ID else b""
