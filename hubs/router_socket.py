"""One ROUTER socket of a broker: messages in and out, peers that do not read, connections that break.

Knows nothing of what the messages say. Only the thread of the broker may use it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

import zmq

from hubs.connections import EVENTS, Connections
from hubs.sockets import Attached, open_socket, set_options
from hubs.spec import HubSpec
from mesh.core.outbox import Outbox
from mesh.core.registration import LOST_AFTER
from mesh.transport import handshake, sockets
from mesh.transport.context import Context
from mesh.transport.monitors import Monitors
from mesh.transport.peers import Peers
from mesh.transport.sockets import MORE, NOBLOCK

MAX_FRAMES: Final = 1_000
MARGIN: Final = 4_096
"""Bytes of a message for its addresses and what its protocol adds to the event."""

Envelope = tuple[bytes, ...]
Message = tuple[Envelope, Sequence[bytes]]
"""The addresses that it is for, and its other frames."""
Deliver = Callable[[int, list[bytes], float], int]
Refuse = Callable[[int, bytes], None]


class Sent(Enum):
    """What became of a message."""

    DONE = "libzmq has it"
    LATER = "the peer takes no more now"
    GONE = "there is no such peer"


# To look a member up in its enum costs as much as a function call.
DONE: Final = Sent.DONE
LATER: Final = Sent.LATER
GONE: Final = Sent.GONE


class RouterSocket:
    """side: the number that its messages are delivered with. unread: messages that were thrown away as their
    peers had not read them in time, or at all, by envelope; whoever looks takes them. wake: has the thread
    of the broker take a turn, from any other.
    """

    def __init__(
        self,
        context: Context,
        monitors: Monitors,
        spec: HubSpec,
        side: int,
        name: str,
        wake: Callable[[], object],
    ) -> None:
        self.side = side
        self.socket = open_socket(context, zmq.ROUTER, spec)
        self.socket.set(zmq.TCP_MAXRT, round(LOST_AFTER * spec.heartbeat * 1000))
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.attached = Attached(self.socket, name, spec.name, wake)
        self.peers = Peers()
        self._monitor = monitors.monitor(self.socket, EVENTS)
        self._monitor.notify = self._has_news
        self.news = False
        """Whether the monitor has something to tell, which the descriptor that all have tells no more."""
        self._connections = Connections(handshake.timeout())
        self._most_bytes = spec.max_message + MARGIN
        self._outboxes: dict[bytes, Outbox[Message]] = {}
        """What is owed to peers that take no more now, by the first address."""
        self.unread: Counter[Envelope] = Counter()
        self._send = sockets.sender(self.socket)
        self._recv = sockets.receiver(self.socket)

    def _has_news(self) -> None:
        self.news = True

    def connection_broke(self, now: float) -> bool:
        """Take in what has happened to connections; whether one has ended that may have been a peer's."""
        self.news = broke = False
        for event in self._monitor.take():
            if event.kind == zmq.EVENT_DISCONNECTED:
                self.peers.ended(event.value)
            self.attached.happened(event, now)
            broke |= self._connections.happened(event.kind, event.value, now)
        return broke

    def configure(self, spec: HubSpec) -> None:
        set_options(self.socket, spec)
        self.socket.set(zmq.TCP_MAXRT, round(LOST_AFTER * spec.heartbeat * 1000))
        # The connections that stand keep what they could send.
        self._most_bytes = max(self._most_bytes, spec.max_message + MARGIN)

    def close(self, linger_ms: int) -> None:
        self._monitor.close()
        self.socket.close(linger_ms)
        self.attached.end()

    # In

    def receive(self, most: int, deliver: Deliver, refuse: Refuse, now: float) -> int:
        """Deliver what has arrived, until there were `most` events; how many there were.

        deliver: gives the events that a message held. refuse: gets whose message was too large, of which
        the rest is thrown away.
        """
        recv, most_bytes = self._recv, self._most_bytes
        peers, watched = self.peers.known, self.peers.watched
        count = 0
        while count < most:
            try:
                frames = [recv(NOBLOCK)]
            except zmq.Again:
                return count
            # Each frame tells whether more follow: to count them blindly would let a peer write
            # frames that pass for somebody else's address.
            frame: Any = recv(NOBLOCK, False)
            if frames[0] not in peers:
                self.peers.meet(frames[0], frame)
            elif watched and frames[0] in watched:
                watched[frames[0]].came += 1
            size = len(frame)
            frames.append(frame.bytes if size <= most_bytes else b"")
            while frame.more:
                frame = recv(NOBLOCK, False)
                size += len(frame)
                if len(frames) <= MAX_FRAMES and size <= most_bytes:
                    frames.append(frame.bytes)
            if len(frames) > MAX_FRAMES or size > most_bytes:
                refuse(self.side, frames[0])
                count += 1
            else:
                count += deliver(self.side, frames, now)
        return count

    # Out

    def send(self, envelope: Envelope, frames: Sequence[bytes]) -> bool:
        """Send, or keep until the peer reads; False where it is gone, or has not read for too long."""
        outbox = self._outboxes.get(envelope[0]) if self._outboxes else None
        if outbox is None:
            sent = self._try_send(envelope, frames)
            if sent is not LATER:
                return sent is DONE
            outbox = self._outboxes[envelope[0]] = Outbox()
        if not outbox.full:
            outbox.append((envelope, frames), sum(map(len, frames)))
            return True
        # It asks and does not read: nothing that it is owed can be kept for ever.
        self._give_up(envelope[0])
        self.unread[envelope] += 1
        return False

    def _give_up(self, peer: bytes) -> None:
        outbox = self._outboxes.pop(peer)
        while outbox:
            self.unread[outbox.first[0]] += 1
            outbox.popleft()

    def _try_send(self, envelope: Envelope, frames: Sequence[bytes]) -> Sent:
        send = self._send
        try:
            for frame in envelope:
                send(frame, MORE)
        except zmq.Again:
            return LATER
        except zmq.ZMQError as exc:
            if exc.errno != zmq.EHOSTUNREACH:
                raise
            return GONE
        # After the first frame nothing can fail.
        if len(frames) > 1:
            for frame in frames[:-1]:
                send(frame, MORE)
        send(frames[-1], NOBLOCK)
        return DONE

    @property
    def owes(self) -> bool:
        """Whether something waits for its peer."""
        return bool(self._outboxes)

    def crowded(self, envelope: Envelope) -> bool:
        """Whether this peer has to read before it is given more."""
        return envelope[0] in self._outboxes

    def retry(self) -> None:
        """Send what waits, as far as the peers take it."""
        for peer, outbox in list(self._outboxes.items()):
            sent = DONE
            while outbox and sent is DONE:
                sent = self._try_send(*outbox.first)
                if sent is DONE:
                    outbox.popleft()
            if sent is GONE:
                self._give_up(peer)
            elif sent is DONE:
                del self._outboxes[peer]
