"""One ROUTER socket of a broker: messages in, its endpoints, connections that break.

Knows nothing of what the messages say. Only the thread of the broker may use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import zmq

from hubs.connections import EVENTS, Connections
from hubs.sockets import Attached, open_socket, set_options
from hubs.spec import HubSpec
from hubs.switching.model import Address
from mesh.core.registration import LOST_AFTER
from mesh.transport import handshake, sockets
from mesh.transport.context import Context
from mesh.transport.monitors import Monitors
from mesh.transport.peers import Peers
from mesh.transport.router_sender import RouterSender
from mesh.transport.sockets import NOBLOCK

MAX_FRAMES: Final = 1_000
MARGIN: Final = 4_096
"""Bytes of a message for its addresses and what its protocol adds to the event."""

Deliver = Callable[[int, list[bytes], float], int]
Refuse = Callable[[int, bytes], None]


class RouterSocket:
    """side: the number that its messages are delivered with. gone, unread: as RouterSender has them, with an
    address in place of an envelope. wake: has the thread of the broker take a turn, from any other.
    """

    def __init__(
        self,
        context: Context,
        monitors: Monitors,
        spec: HubSpec,
        side: int,
        name: str,
        gone: Callable[[Address], object],
        unread: Callable[[Address, int], object],
        wake: Callable[[], object],
    ) -> None:
        self.side = side
        self.socket = open_socket(context, zmq.ROUTER, spec)
        self.socket.set(zmq.TCP_MAXRT, round(LOST_AFTER * spec.heartbeat * 1000))
        self.sender = RouterSender(
            self.socket,
            lambda envelope: gone((side, envelope)),
            lambda envelope, number: unread((side, envelope), number),
        )
        self.attached = Attached(self.socket, name, spec.name, wake)
        self.peers = Peers()
        self._monitor = monitors.monitor(self.socket, EVENTS)
        self._monitor.notify = self._has_news
        self.news = False
        """Whether the monitor has something to tell, which the descriptor that all have tells no more."""
        self._connections = Connections(handshake.timeout())
        self._most_bytes = spec.max_message + MARGIN
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
