"""One of a sidecar's connections to its server: a DEALER that passes events on in both directions.

Every method runs under the sidecar's lock; none of them switches to another greenlet. What an
event means is the session's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import zmq

from mesh.core.carried import Carried, Lane
from mesh.core.outbox import Outbox
from mesh.core.redial import Redial
from mesh.core.sidecar import SidecarSession, ToServer
from mesh.transport import process, sockets
from mesh.transport.dialer import Dialer
from mesh.transport.sockets import MORE, NOBLOCK

BATCH: Final = 256
SENT: Final = 100
"""Events for the server that libzmq may hold: what it does not read waits here, where it is counted."""


class ServerLink:
    """lane: what it is to the session. hand: called after each event of the server that that has taken."""

    def __init__(
        self, session: SidecarSession, lane: Lane, hand: Callable[[], object], max_message: int
    ) -> None:
        self._session = session
        self._lane = lane
        self._hand = hand
        self._outbox: Outbox[ToServer] = Outbox()
        self.socket = socket = sockets.open_socket(zmq.DEALER, max_message)
        # A call goes to a server that is there, not into a queue for the one that comes.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.SNDHWM, SENT)
        self.dialer = Dialer(socket, process.monitors(), session.endpoint, Redial())
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self._readable = sockets.readable(socket)
        try:
            sockets.attach(socket, session.endpoint, "connect")
        except Exception:
            self.close(0)
            raise

    def close(self, linger_ms: int) -> None:
        self.dialer.close()
        self.socket.close(linger_ms)

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, at most `most` messages; how many there were."""
        if not self._readable():
            return 0
        recv, answer, lane, hand = self._recv, self._session.answer, self._lane, self._hand
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
                self._session.dropped.add("malformed", f"a message of {frames} frames from the server")
                continue
            answer(lane, frame.bytes, now)
            hand()
        if lane.progress is not None:
            lane.progress.came += count
        return count

    # Out

    def transmit(self, call: Carried, event: bytes) -> None:
        """Send, or keep until the connection takes it; ask `full` first."""
        if self._outbox or not self._pass(call, event):
            self._outbox.append((call, event), len(event))

    @property
    def full(self) -> bool:
        return self._outbox.full

    @property
    def kept(self) -> int:
        """Bytes that wait."""
        return self._outbox.size

    def ping(self, event: bytes) -> None:
        """One that can't be sent has no answer either."""
        if not self._outbox:
            self._try_send(event)

    def flush(self) -> bool:
        """Send what was kept; whether anything went."""
        outbox, went = self._outbox, False
        while outbox and self._pass(*outbox.first):
            outbox.popleft()
            went = True
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

    # The connection

    def broke(self, now: float) -> None:
        """What had arrived before the connection broke still counts; what waits does not."""
        while self.receive(now, BATCH):
            pass
        self._outbox = Outbox()
