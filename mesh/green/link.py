"""One socket of a client to one endpoint: sends, receives in batches, sees the connection break.

Every method that touches the socket or the session runs under the caller's lock; none of them
switches to another greenlet.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

import zmq

from mesh.core import outcomes
from mesh.core.balance import NO_CONNECTION, Peer
from mesh.core.batch import Bundle, holds_events, read_events
from mesh.core.channel import NEVER
from mesh.core.client_session import Call, ClientSession
from mesh.core.majordomo import LONE
from mesh.core.redial import Redial
from mesh.errors import WireError
from mesh.transport import process, sockets
from mesh.transport.dialer import Change, Dialer
from mesh.transport.sockets import MORE, NOBLOCK
from mesh.transport.spin import Spin

BATCH: Final = 64
"""Messages that are received before the callers among them go on."""
MAX_OUTBOX: Final = 1_000
"""Messages that wait while the connection takes no more."""

log = logging.getLogger("mesh.client")


class Link(Peer):
    """The connection to one endpoint. renewed: when it was made in place of one whose server stops.

    dialer: None within a process, where nothing tells of connections and none of them breaks.
    """

    __slots__ = (
        "_misled",
        "_obstacle",
        "_outbox",
        "_recv",
        "_send",
        "_session",
        "dialer",
        "readable",
        "renewed",
        "socket",
        "spin",
    )

    spin: Spin

    def __init__(self, endpoint: str, weight: int, session: ClientSession, max_message: int) -> None:
        Peer.__init__(self, endpoint, weight)
        self._obstacle: str | None = None
        self._misled = False
        self.renewed = -NEVER
        self._session = session
        self._outbox: deque[tuple[Call | None, bytes]] = deque()
        self.socket = socket = sockets.open_socket(zmq.DEALER, max_message)
        # A call is queued here, not in libzmq, until there is a connection: so it is known
        # what a server can have seen.
        socket.set(zmq.IMMEDIATE, 1)
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self.readable = sockets.readable(socket)
        self.dialer: Dialer | None = None
        try:
            if not endpoint.startswith("inproc:"):
                self.dialer = Dialer(socket, process.monitors(), endpoint, Redial())
            sockets.attach(socket, endpoint, "connect")
        except Exception:
            self.close()
            raise
        if self.dialer is None:
            session.peer_up(self)

    def close(self, linger_ms: int = 0) -> None:
        if self.dialer is not None:
            self.dialer.close()
            self.dialer = None
        self.socket.close(linger_ms)

    # Out

    def transmit(self, payload: bytes, call: Call | None = None) -> None:
        """Send, or keep until the connection takes it. Raises as `keep` does."""
        if self._outbox or not self._try_send(payload):
            self.keep(payload, call)

    def keep(self, payload: bytes, call: Call | None = None) -> None:
        """Keep it until `flush`. Raises Overloaded for a call over the bound.

        What is no call, a heartbeat or a cancel, is bounded by the calls that it is about.
        """
        if call is not None and len(self._outbox) >= MAX_OUTBOX and not self._tidy():
            raise outcomes.not_read(call.method, MAX_OUTBOX, self)
        self._outbox.append((call, payload))

    def post(self, call: Call) -> None:
        """Send a call that has waited for a connection, where its number was bounded."""
        if call.payload is not None:
            self._outbox.append((call, call.payload))
            self.flush()

    def _tidy(self) -> bool:
        """Forget the calls that have ended unsent; whether that made room."""
        kept = [(call, payload) for call, payload in self._outbox if call is None or call.payload is not None]
        self._outbox.clear()
        self._outbox.extend(kept)
        return len(kept) < MAX_OUTBOX

    def _try_send(self, payload: bytes) -> bool:
        try:
            self._send(b"", MORE)
        except zmq.Again:
            return False
        self._send(payload, NOBLOCK)
        return True

    def flush(self) -> None:
        """Send what was kept, as far as the connection takes it."""
        outbox = self._outbox
        while outbox:
            if self.batch and len(outbox) > 1:
                if not self._flush_batch():
                    return
                continue
            call, payload = outbox[0]
            if (call is None or call.payload is not None) and not self._try_send(payload):
                return
            outbox.popleft()

    def _flush_batch(self) -> bool:
        """Send the first of what was kept, as many as go in one frame; False where it takes no more."""
        outbox, bundle, number = self._outbox, Bundle(), 0
        for call, payload in outbox:
            ended = call is not None and call.payload is None
            if not ended and (len(payload) >= LONE or not bundle.add(payload)):
                break
            number += 1
        if not number:
            # One that goes by itself.
            if not self._try_send(outbox[0][1]):
                return False
            number = 1
        elif bundle.events and not self._try_send_all(bundle.frames()):
            return False
        for _ in range(number):
            outbox.popleft()
        return True

    def _try_send_all(self, frames: list[bytes]) -> bool:
        if len(frames) > 1:
            return self._try_send(frames[-1])
        try:
            self._send(frames[0], NOBLOCK)
        except zmq.Again:
            return False
        return True

    @property
    def waiting(self) -> bool:
        return bool(self._outbox)

    # In

    def receive(self, now: float, most: int = BATCH) -> int:
        """Take in what has arrived, until there were `most` events or more; how many there were."""
        if not self.readable():
            return 0
        recv, receive = self._recv, self._session.receive
        count = 0
        while count < most:
            try:
                frame = recv(NOBLOCK)
            except zmq.Again:
                break
            if frame:
                odd = self._odd(frame)
                if odd is None:
                    count += 1
                    continue
                if self.batch and holds_events(odd):
                    count += self._receive_batch(odd, now)
                    continue
                frame = odd
            else:
                try:
                    frame = recv(NOBLOCK)
                except zmq.Again:  # the empty frame was all
                    self._session.dropped["malformed"] += 1
                    break
            count += 1
            receive(self, frame, now)
        if self.progress is not None:
            self.progress.came += count
        if self._session.asked:
            asked, self._session.asked = self._session.asked, []
            for frame in asked:
                self._refuse([b"", frame])
        return count

    def _receive_batch(self, frame: bytes, now: float) -> int:
        try:
            events = read_events(frame)
        except WireError:
            self._session.dropped["malformed"] += 1
            return 1
        receive = self._session.receive
        for event in events:
            receive(self, event, now)
        return len(events)

    def _odd(self, frame: bytes) -> bytes | None:
        """A message that does not begin with an empty frame: its last frame is the event."""
        frames = [frame]
        while self.socket.get(zmq.RCVMORE):
            frames.append(self._recv(NOBLOCK))
        if len(frames) <= 2:
            return frames[-1]
        if not self._refuse(frames):
            self._session.dropped["malformed"] += 1
        return None

    def _refuse(self, message: Sequence[bytes]) -> bool:
        """Tell the sender of a call that this is no server; False where it is no call.

        Nothing is kept for one that does not read.
        """
        answer = self._session.refusal(message)
        if answer is None:
            return False
        if not self._misled:
            self._misled = True
            log.warning(
                "%s sends calls, not answers: it is the out side of a queue hub for anonymous workers, or a "
                "client side; clients connect to the hub's in side",
                self.endpoint,
            )
        try:
            self._send(answer[0], MORE)
        except zmq.Again:
            return True
        for frame in answer[1:-1]:
            self._send(frame, MORE)
        self._send(answer[-1], NOBLOCK)
        return True

    # The connection

    def looked_up(self, problem: str) -> None:
        """What was found to stand in the way to its endpoint, "" where nothing was."""
        if problem and not self.live:
            self.why = self._obstacle = problem
        elif self.why is self._obstacle:
            self.why, self._obstacle = NO_CONNECTION, None

    def watch(self, now: float) -> bool:
        """Take in what has happened to the connection; whether there was anything."""
        if self.dialer is None:
            return False
        changes = self.dialer.take(now)
        for change in changes:
            if change is Change.UP:
                self.progress = self.dialer.progress
                self._stands(now)
            elif change is Change.DOWN:
                self._broke(now)
            elif self.why is not self._obstacle:  # that is the cause
                self.why = self.dialer.why
        return bool(changes)

    def look(self, now: float) -> bool:
        """Do what there is to do on the connection; whether there was anything. Costs little where not."""
        told = self.watch(now)
        count = received = self.receive(now)
        while received >= BATCH:
            received = self.receive(now)
        waiting = self.waiting
        if waiting:
            self.flush()
        return told or waiting or count > 0

    def _stands(self, now: float) -> None:
        self._session.peer_up(self)
        # Else the service has moved, and this one has its old calls alone.
        if self in self._session.peers:
            for call in self._session.take_unsent(self, now):
                self.post(call)

    def _broke(self, now: float) -> None:
        # What had arrived before the connection broke still counts.
        while self.receive(now) >= BATCH:
            pass
        self.progress = None
        self._session.put_back(call for call, _ in self._outbox if call is not None)
        self._outbox.clear()
        self._session.peer_down(self, "the connection broke")
        for call in self._session.take_stranded(now):
            call.peer.post(call)  # type: ignore[union-attr]

    @property
    def redial_at(self) -> float:
        """When `redial` is to be called."""
        return NEVER if self.dialer is None else self.dialer.wake_at

    def redial(self, now: float, *, wanted: bool = False) -> None:
        """Try the connection again whose handshake failed, if it is time to. wanted: a call waits for it."""
        if self.dialer is not None:
            if wanted:
                self.dialer.wanted(now)
            self.dialer.dial_if_due(now)
            if self.dialer.why and not self.live and self.why is not self._obstacle:
                self.why = self.dialer.why
