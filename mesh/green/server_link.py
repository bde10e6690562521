"""A sidecar's connection to its server: a DEALER that passes events on in both directions.

Every method runs under the sidecar's lock; none of them switches to another greenlet. What an
event means is the session's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from mesh.core.channel import NEVER
from mesh.core.sidecar import Carried, SidecarSession, ToServer
from mesh.green import sockets
from mesh.green.outbox import Outbox
from mesh.green.sockets import MORE, NOBLOCK

BATCH: Final = 64
RETRY: Final = 0.01
SENT: Final = 100
"""Events for the server that libzmq may hold: what it does not read waits here, where it is counted."""
KEPT: Final = 100_000
"""Events of the server that libzmq keeps for us. An old server shares a thousand among all of its
callers, who are one connection here, and drops in silence what is over."""

_FAILED: Final = "the handshake failed: what listens there may be no ZeroMQ program"
_EVENTS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class ServerLink:
    """hand: called after each event of the server that the session has taken."""

    def __init__(self, session: SidecarSession, hand: Callable[[], object], max_message: int) -> None:
        self._session = session
        self._hand = hand
        self._outbox: Outbox[ToServer] = Outbox()
        self.socket = socket = sockets.open_socket(zmq.DEALER, max_message)
        # A call goes to a server that is there, not into a queue for the one that comes.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.SNDHWM, SENT)
        socket.set(zmq.RCVHWM, KEPT)
        self.monitor = socket.get_monitor_socket(_EVENTS)
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self._readable = sockets.readable(socket)
        try:
            sockets.attach(socket, session.endpoint, "connect")
        except Exception:
            self.close(0)
            raise

    def close(self, linger_ms: int) -> None:
        self.socket.disable_monitor()
        self.socket.close(linger_ms)

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, at most `most` messages; how many there were."""
        if not self._readable():
            return 0
        recv, answer, hand = self._recv, self._session.answer, self._hand
        count = 0
        while count < most:
            try:
                frame = recv(NOBLOCK, False)
            except zmq.Again:
                break
            count += 1
            frames = 1
            first = frame
            while frame.more:
                frame = recv(NOBLOCK, False)
                frames += 1
            if frames > 2 or (frames == 2 and len(first)):
                self._session.dropped["malformed"] += 1
                continue
            answer(frame.bytes, now)
            hand()
        return count

    # Out

    def flush(self) -> bool:
        """Send what the session has for the server, and what was kept; whether anything came of it."""
        session, outbox = self._session, self._outbox
        went = False
        while outbox:
            call, event = outbox.first
            if not self._pass(call, event):
                break
            outbox.popleft()
            went = True
        waiting, session.to_server = session.to_server, []
        for call, event in waiting:
            if not outbox and self._pass(call, event):
                went = True
            elif not outbox.full:
                outbox.append((call, event), len(event))
            elif not call.ended:
                session.not_taken(call)
                went = True
        pings, session.health.out = session.health.out, []
        for ping in pings:
            # One that can't be sent has no answer either.
            went = (not outbox and self._try_send(ping)) or went
        return went

    def _pass(self, call: Carried, event: bytes) -> bool:
        """False where the connection takes no more now."""
        if call.ended and not call.sent:
            return True
        if not self._try_send(event):
            return False
        call.sent = True
        return True

    def _try_send(self, event: bytes) -> bool:
        try:
            self._send(b"", MORE)
        except zmq.Again:
            return False
        self._send(event, NOBLOCK)
        return True

    @property
    def wake_at(self) -> float:
        """When `flush` is to be tried again."""
        return monotonic() + RETRY if self._outbox else NEVER

    # The connection

    def watch(self, now: float) -> None:
        """Take in what the monitor has to tell."""
        while True:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))["event"]
            except zmq.Again:
                return
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._session.connected(now)
            elif event == zmq.EVENT_DISCONNECTED:
                # What had arrived before the connection broke still counts.
                while self.receive(now, BATCH):
                    pass
                self._outbox = Outbox()
                self._session.broke("the connection broke")
            else:
                self._session.broke(_FAILED)
