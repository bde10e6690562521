"""The connection of a socket to one endpoint: where it is dialled, what its monitor tells, another attempt.

libzmq connects by itself, and again after each break. After a handshake that failed it does so never again,
or far too often: then the connection is left, and dialled anew when core/redial.py says so. It is given
numbers only: which of its host's addresses is dialled is core/host_addresses.py's matter.

Whoever uses the socket uses this: one thread at a time, under the same lock.
"""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.progress import Progress
from mesh.core.redial import Redial
from mesh.names.hosts import host_of
from mesh.transport import handshake, sockets
from mesh.transport.connection import Connection
from mesh.transport.finder import Finder
from mesh.transport.greeting import ANOTHER_MECHANISM
from mesh.transport.monitors import ConnectionEvent, Monitors
from mesh.transport.sockets import Socket

KINDS: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
"""The events that tell of a connection that is dialled,"""
NAMED: Final = KINDS | zmq.EVENT_CLOSED
"""and of one whose host has a name: also when an address has refused it."""
FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)
ABANDONED: Final = 0.5
"""Seconds after a break without another connection, from which on libzmq may have given the endpoint up. It
does so, and tells nobody, where a message was larger than the socket takes; else it has tried some times by
then.
"""
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
    where it went well. `begin` dials. hosts: as Finder's.
    """

    def __init__(
        self,
        socket: Socket,
        monitors: Monitors,
        endpoint: str,
        redial: Redial,
        hosts: tuple[str, ...] = (),
    ) -> None:
        self.progress: Progress | None = None
        self.why = ""
        self._socket = socket
        self._redial = redial
        self.monitor = monitor = monitors.monitor(socket, NAMED if host_of(endpoint) else KINDS)
        # Whoever watches the monitor is to look here. Not by a method: no socket may wait for a collection.
        self._finder = Finder(endpoint, lambda: monitor.notify(), monotonic(), hosts)
        self._at = ""
        """The endpoint in numbers, as libzmq has it; "" while it has none."""
        self._up = False
        self._failed = False
        """Whether that has been told of the connection that ends."""
        self._left = False
        self._renew_at = NEVER
        """When to dial once more by ourselves, after a connection broke that stood."""
        self._taken_at = 0.0
        """When the far end took the connection that is in its handshake, as far as is known."""

    def begin(self) -> None:
        """Dial, as soon as it is known where. Raises what libzmq does."""
        at = self._finder.at
        if at != self._at:
            if self._at:
                self._socket.disconnect(self._at)
            self._at = at
            sockets.connect(self._socket, at)

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
        self._find(now)
        return changes

    def _change(self, event: ConnectionEvent, now: float) -> Change | None:
        kind, value, address = event
        addresses = self._finder.addresses
        if self._left or (addresses is not None and address != self._at):
            return None  # of a connection that was left
        if kind == zmq.EVENT_CONNECTED:
            self.progress = Progress(Connection(value).counters)
            self._taken_at = now
            self._renew_at = NEVER
            self._failed = False
            if addresses is not None:
                addresses.connected()
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._redial.succeeded()
            self.why = ""
            self._up = True
            if addresses is not None:
                addresses.stands()
            return Change.UP
        elif kind == zmq.EVENT_DISCONNECTED:
            self.progress = None
            up, self._up = self._up, False
            if up:
                self._renew_at = now + ABANDONED
                if addresses is not None:
                    addresses.broke(now)
                return Change.DOWN
            if not self._failed:
                # libzmq tells nothing more of another kind of socket, or of what has no handshake.
                self.why = NO_REASON
                return Change.FAILED
        elif kind in FAILURES:
            self._failed = True
            self.why = reason(kind, value, now - (self._taken_at or now))
            return Change.FAILED
        elif addresses is not None:  # it was closed before it stood
            addresses.refused(now)
        return None

    def _leave(self, now: float) -> None:
        self._left, self._renew_at = True, NEVER
        self._up, self.progress = False, None
        self._redial.failed(now)
        self._socket.disconnect(self._at)
        self._at = ""

    def _find(self, now: float) -> None:
        """See where it is to be dialled now."""
        self._finder.settle(now)
        if not self._left:
            self.begin()

    def give(self, hosts: tuple[str, ...], now: float) -> None:
        """These are the addresses of its host now, or it is to be asked for: `take` follows, in the loop."""
        self._finder.give(hosts, now)
        self.monitor.notify()

    @property
    def unresolved(self) -> str:
        """Why its host has no address, as far as is known; "" where it has one."""
        return self._finder.problem

    # Dialling anew

    @property
    def wake_at(self) -> float:
        """When `dial_if_due` is to be called."""
        return min(self._redial.at, self._renew_at, self._finder.wake_at)

    def wanted(self, now: float) -> None:
        """Somebody waits for this connection: it is tried sooner."""
        self._redial.wanted(now)

    def dial_if_due(self, now: float) -> None:
        """Dial anew, or another of its host's addresses, where it is time to."""
        if self._left and self._redial.at <= now:
            self._redial.dialled(now)
            self.monitor.take()
            self._left = False
            if self._finder.addresses is not None:
                self._finder.addresses.redialled(now)
        if self._renew_at <= now:
            self._renew_at = NEVER
            self._socket.disconnect(self._at)
            self._at = ""
        self._find(now)

    def close(self) -> None:
        self._redial.at = self._renew_at = NEVER
        self._finder.close()
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
