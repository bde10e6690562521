"""The connection of a socket to one endpoint: what its monitor tells, and another attempt after a refusal.

libzmq connects by itself, and again after each break. After a handshake that failed it does so never again,
or far too often: then the connection is left, and dialled anew when core/redial.py says so.

Whoever uses the socket uses this: one thread at a time, under the same lock.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.progress import Progress
from mesh.core.redial import Redial
from mesh.transport import handshake
from mesh.transport.connection import Connection
from mesh.transport.greeting import ANOTHER_MECHANISM
from mesh.transport.monitors import ConnectionEvent, Monitors

KINDS: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""The events that tell of a connection that is dialled."""
FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)
_ANOTHER_MECHANISM: Final = 0x11000002
"""ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, of zmq.h."""
NO_REASON: Final = (
    "the handshake failed: what listens there may be no ZeroMQ program, another kind of ZeroMQ socket, or "
    "want a key"
)
_MOST_OF_IT: Final = 0.9
"""The share of the time for a handshake after which its end counts as a time-out; libzmq does not say."""


class Change(Enum):
    """What has happened to a connection."""

    UP = "it stands"
    DOWN = "it broke"
    FAILED = "its handshake failed"


class Dialer:
    """progress: of the connection, None while there is none. why: what was wrong with the last handshake; ""
    where it went well.
    """

    def __init__(self, socket: zmq.Socket[bytes], monitors: Monitors, endpoint: str, redial: Redial) -> None:
        self.monitor = monitors.monitor(socket, KINDS)
        self.progress: Progress | None = None
        self.why = ""
        self._socket = socket
        self._endpoint = endpoint
        self._redial = redial
        self._up = False
        self._failed = False
        """Whether that has been told of the connection that ends."""
        self._left = False
        self._taken_at = 0.0
        """When the far end took the connection that is in its handshake, as far as is known."""

    def take(self, now: float) -> list[Change]:
        """What has happened since the last time, in order."""
        changes = []
        for event in self.monitor.take():
            change = self._change(event, now)
            if change is not None:
                changes.append(change)
        if changes and changes[-1] is Change.FAILED:
            # Also where libzmq would go on by itself: it would do so twenty times a second.
            self._leave(now)
        return changes

    def _change(self, event: ConnectionEvent, now: float) -> Change | None:
        kind, value, _ = event
        if self._left:
            return None  # of a connection that was left
        if kind == zmq.EVENT_CONNECTED:
            self.progress = Progress(Connection(value).counters)
            self._taken_at = now
            self._failed = False
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._redial.succeeded()
            self.why = ""
            self._up = True
            return Change.UP
        elif kind == zmq.EVENT_DISCONNECTED:
            self.progress = None
            up, self._up = self._up, False
            if up:
                return Change.DOWN
            if not self._failed:
                # libzmq tells nothing more of another kind of socket, or of what has no handshake.
                self.why = NO_REASON
                return Change.FAILED
        elif kind in FAILURES:
            self._failed = True
            self.why = reason(kind, value, now - (self._taken_at or now))
            return Change.FAILED
        return None

    def _leave(self, now: float) -> None:
        self._left = True
        self._up, self.progress = False, None
        self._redial.failed(now)
        self._socket.disconnect(self._endpoint)

    # Dialling anew

    @property
    def wake_at(self) -> float:
        """When `dial_if_due` is to be called."""
        return self._redial.at

    def wanted(self, now: float) -> None:
        """Somebody waits for this connection: it is tried sooner."""
        self._redial.wanted(now)

    def dial_if_due(self, now: float) -> None:
        """Dial anew where it is time to."""
        if self._left and self._redial.at <= now:
            self._redial.dialled(now)
            self.monitor.take()
            self._left = False
            self._socket.connect(self._endpoint)

    def close(self) -> None:
        self._redial.at = NEVER
        self.monitor.close()


def reason(kind: int, value: int, seconds: float) -> str:
    """Why a handshake has failed, in words. seconds: how long it took."""
    if kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"it refused us: its authentication says {value}"
    if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if value == _ANOTHER_MECHANISM:
            return ANOTHER_MECHANISM
        return f"it refused us: the handshake broke the protocol (ZeroMQ's error {value:#x})"
    return silence() if seconds >= _MOST_OF_IT * handshake.timeout() else NO_REASON


def silence() -> str:
    """What is wrong where nothing has come in all the time for a handshake."""
    return (
        f"it takes the connection and then says nothing for {handshake.timeout():g} s: a program that "
        "stands still, or a proxy whose server is gone"
    )
