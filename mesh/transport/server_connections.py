"""The connections of a sidecar to its server: one, and more as there are more calls.

Owns their sockets and what waits for a server that does not read. Which call goes by which connection, and
what an event means, is the session's matter. All of it is for the loop's own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from mesh.core.carried_call import CarriedCall, ServerConnection
from mesh.core.channel import NEVER
from mesh.core.outbox import MAX_BYTES, Outbox
from mesh.core.sidecar import MAX_UNANSWERED, ForServer, SidecarSession
from mesh.transport.dealer import Dealer
from mesh.transport.dialer import Change
from mesh.transport.loop import Loop

SENT: Final = 100
"""Events for the server that libzmq may hold: what it does not read waits here, where it is counted."""
MAX_KEPT: Final = MAX_UNANSWERED + MAX_BYTES
"""Bytes that all connections together keep until the server reads: calls, and what follows on them."""


class ServerConnections:
    """max_message: bytes of one event. pass_on: called after each event of the server that the session has
    taken in, so that a batch of large ones is not held twice.
    """

    def __init__(self, session: SidecarSession, max_message: int, pass_on: Callable[[], object]) -> None:
        self._session = session
        self._max_message = max_message
        self._pass_on = pass_on
        self._loop: Loop | None = None
        self._work: Callable[[], None] = lambda: None
        first = session.connections[0]
        self._sockets = {first: self._open(first)}
        self._active = set(self._sockets.values())
        """Those that may have something: a descriptor tells only of changes, and a send swallows them."""

    def _open(self, connection: ServerConnection) -> _Socket:
        return _Socket(self._session, connection, self._max_message, self._pass_on)

    # Life

    def start(self, loop: Loop, work: Callable[[], None]) -> None:
        """Serve in this loop. work: called where something may have come."""
        self._loop, self._work = loop, work
        for socket in self._sockets.values():
            self._watch(socket)

    def _watch(self, socket: _Socket) -> None:
        if self._loop is not None:
            socket.dealer.watch(self._loop, self._on_readable, self._on_change, socket)

    def _on_readable(self, socket: _Socket) -> None:
        self._active.add(socket)
        self._work()

    def stop_watchers(self) -> None:
        for socket in self._sockets.values():
            socket.dealer.unwatch()

    def close(self, linger_ms: int) -> None:
        for connection in list(self._sockets):
            self._close(connection, linger_ms)

    def _close(self, connection: ServerConnection, linger_ms: int) -> None:
        socket = self._sockets.pop(connection, None)
        if socket is not None:
            self._active.discard(socket)
            socket.dealer.unwatch()
            socket.dealer.close(linger_ms)

    def forked(self) -> None:
        """In the child of a fork; the owner has stopped the watchers, where their loop is its own."""
        self._sockets.clear()
        self._active.clear()

    # In and out

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, about `most` messages at the most; how many there were."""
        total = 0
        most = most // max(len(self._active), 1) or 1
        for socket in list(self._active):
            count = socket.dealer.receive(now, most)
            if not count:
                self._active.discard(socket)
            total += count
        return total

    def flush(self) -> bool:
        """Send what the session has for the server, and what was kept; whether anything came of it."""
        session, went = self._session, False
        for socket in self._sockets.values():
            if socket.flush():
                self._active.add(socket)
                went = True
        events, pings = session.take_for_server(), session.take_pings()
        for call, event in events:
            self._send(call, event)
        for ping in pings:
            socket = self._sockets[session.connections[0]]
            socket.ping(ping)
            self._active.add(socket)
        return went or bool(events) or bool(pings)

    def _send(self, call: CarriedCall, event: bytes) -> None:
        socket = self._sockets.get(call.connection)
        if socket is None:
            socket = self._sockets[call.connection] = self._open(call.connection)
            self._watch(socket)
        if not socket.kept or not (socket.full or self._full):
            socket.send(call, event)
            self._active.add(socket)
        elif not call.ended:
            self._session.not_accepted(call)

    @property
    def _full(self) -> bool:
        """Whether the connections together keep more than they may."""
        return sum(socket.kept for socket in self._sockets.values()) > MAX_KEPT

    # The connections

    def _on_change(self, socket: _Socket) -> None:
        if self._sockets.get(socket.connection) is not socket:
            return
        now = monotonic()
        for change in socket.dealer.changes(now):
            if change is Change.UP:
                self._session.connection_up(socket.connection, socket.dealer.progress, now)
            else:
                self._lost(socket, change, now)
        self._work()

    def _lost(self, socket: _Socket, change: Change, now: float) -> None:
        why = "the connection broke"
        if change is Change.FAILED:
            why = socket.dealer.why
            socket.dealer.wanted(now)  # the hubs wait for it
        socket.empty(now)
        for needless in self._session.connection_down(socket.connection, why):
            self._close(needless, 0)

    @property
    def wake_at(self) -> float:
        """When `flush` and `redial` are to be tried again."""
        dealers = [socket.dealer for socket in self._sockets.values()]
        return min([min(dealer.retry_at, dealer.redial_at) for dealer in dealers], default=NEVER)

    @property
    def unresolved(self) -> str:
        """Why the server's host has no address, as far as is known; "" where it has one."""
        return next((socket.dealer.unresolved for socket in self._sockets.values()), "")

    def redial(self, now: float) -> None:
        """Try the connections again whose handshake failed, or another address, where it is time to."""
        for socket in self._sockets.values():
            socket.dealer.dial_if_due(now)


class _Socket:
    """The socket of one connection. Raises as Dealer does."""

    __slots__ = ("_pass_on", "_session", "connection", "dealer")

    def __init__(
        self,
        session: SidecarSession,
        connection: ServerConnection,
        max_message: int,
        pass_on: Callable[[], object],
    ) -> None:
        self._session = session
        self._pass_on = pass_on
        self.connection = connection
        self.dealer: Dealer[ForServer] = Dealer(
            session.endpoint, max_message, self._receive, send_high_water=SENT
        )

    # In

    def _receive(self, first: bytes, now: float) -> int:
        frames = [first]
        self.dealer.rest(frames, 3)
        if len(frames) > 2 or (len(frames) == 2 and first):
            self._session.dropped.add("malformed", "a message of too many frames from the server")
            return 1
        self._session.answer(self.connection, frames[-1], now)
        self._pass_on()
        return 1

    def empty(self, now: float) -> None:
        """The connection broke: what had arrived before still counts; what waits to be sent does not."""
        while self.dealer.receive(now, 1_000):
            pass
        self.dealer.outbox = Outbox()

    # Out

    def send(self, call: CarriedCall, event: bytes) -> None:
        """Send, or keep until the connection takes it; ask `full` first."""
        if self.kept or not self._try_send((call, event)):
            self.dealer.outbox.append((call, event), len(event))

    def ping(self, event: bytes) -> None:
        """One that can't be sent has no answer either."""
        if not self.kept:
            self.dealer.send(event)

    def flush(self) -> bool:
        """Send what was kept; whether anything went."""
        return self.kept > 0 and self.dealer.flush(self._try_send)

    def _try_send(self, message: ForServer) -> bool:
        """False where the connection takes no more now."""
        call, event = message
        if call.ended and not call.sent:
            return True
        if not self.dealer.send(event):
            return False
        call.mark_sent()
        return True

    @property
    def full(self) -> bool:
        return self.dealer.outbox.full

    @property
    def kept(self) -> int:
        """Bytes that wait."""
        return self.dealer.outbox.size
