"""The ROUTER socket of a server: messages in and out, and what waits for peers that do not read.

Runs under the lock of its endpoint, in its loop or from the watchdog, and wakes nobody. What an
event means is the session's matter.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import Any, Final

import zmq

from mesh.core import majordomo as mdp
from mesh.core.batch import Bundle, holds_events
from mesh.core.majordomo import LONE
from mesh.core.server_session import Peer, ServerSession
from mesh.transport import process, sockets
from mesh.transport.dialer import NAMED
from mesh.transport.dialers import Dialers
from mesh.transport.peers import Peers
from mesh.transport.router_sender import RouterSender
from mesh.transport.sockets import NOBLOCK

MAX_FRAMES: Final = 18
"""Frames of a message, the envelope of a call through many devices among them."""
LARGE: Final = 65_536
"""Bytes."""

log = logging.getLogger("mesh.server")


class Router:
    """max_message: bytes. peers: which connection each of them has.
    batches: whether any peer has sent several events in one frame.
    """

    def __init__(self, session: ServerSession, max_message: int) -> None:
        self._session = session
        # What is to go to each peer in one frame, with `release`.
        self._bundles: dict[Peer, Bundle] = {}
        self.batches = False
        self.peers = Peers()
        self.socket = socket = sockets.open_socket(zmq.ROUTER, max_message)
        self._sender = RouterSender(socket, self._gone, session.does_not_read)
        self.monitor = process.monitors().monitor(socket, zmq.EVENT_DISCONNECTED)
        self.dialers = Dialers(socket, partial(_unreachable, session), self._found)
        """The endpoints that it connects to; `connect` adds one."""
        self._recv = sockets.receiver(socket)
        self.readable = sockets.readable(socket)

    def close(self, linger_ms: int) -> None:
        self.release()
        self.dialers.close()
        self.monitor.close()
        self.socket.close(linger_ms)

    def connect(self, endpoint: str, now: float) -> bool:
        """Connect to one more endpoint; whether `monitor` is another one from now on.

        What is told of connections that are dialled is not wanted of those that come. Raises as Dialers.add.
        """
        begins = not self.dialers
        if begins:
            self.monitor.close()
            self.monitor = process.monitors().monitor(self.socket, NAMED)
        self.dialers.add(endpoint, now)
        return begins

    def _found(self) -> None:
        """From a native thread: whoever watches the monitor is to look here."""
        self.monitor.notify()

    def take_changes(self, now: float) -> bool:
        """Take in what has happened to connections since the last time; whether any has ended."""
        broke = False
        for event in self.monitor.take():
            self.dialers.happened(event, now)
            if event.kind == zmq.EVENT_DISCONNECTED:
                self.peers.ended(event.value)
                broke = True
        self.dialers.settle(now)
        return broke

    # Out

    def send(self, peer: Peer, payload: bytes) -> None:
        """Send an event, or keep it until the peer reads."""
        if self._bundles:
            self._settle(peer)
        self._sender.send(peer, (b"", payload))

    def _gone(self, peer: Peer) -> None:
        self._session.lost([peer])

    def hold(self, peer: Peer, payload: bytes) -> None:
        """Send an event with others that go to this peer before `release`."""
        if len(payload) >= LONE:
            self.send(peer, payload)
            return
        bundle = self._bundles.get(peer)
        if bundle is None:
            bundle = self._bundles[peer] = Bundle()
        if not bundle.add(payload):
            self._settle(peer)
            self.hold(peer, payload)

    def release(self) -> None:
        """Send the events that wait for others."""
        while self._bundles:
            self._settle(next(iter(self._bundles)))

    def _settle(self, peer: Peer) -> None:
        """Send the events that wait for others on their way to this peer."""
        bundle = self._bundles.pop(peer, None)
        if bundle is not None:
            self._sender.send(peer, bundle.frames())

    def flush(self, now: float) -> None:
        """Send what waits, as far as the peers take it, if it is time to."""
        self._sender.flush(now)

    @property
    def owes(self) -> bool:
        """Whether anything waits for a peer that does not read."""
        return self._sender.owes

    @property
    def retry_at(self) -> float:
        """When `flush` is wanted."""
        return self._sender.retry_at

    def _send_frames(self, peer: bytes, frames: list[bytes]) -> None:
        """To whoever is no peer of calls; nothing is kept for one that does not read, or is gone."""
        with suppress(zmq.ZMQError):
            self.socket.send_multipart([peer, *frames], NOBLOCK)

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, until there were `most` events or more; how many there were."""
        if not self.readable():
            return 0
        recv, receive, dropped = self._recv, self._session.receive, self._session.dropped
        peers, watched = self.peers.known, self.peers.watched
        count = 0
        while count < most:
            try:
                peer = recv(NOBLOCK)
            except zmq.Again:
                break
            count += 1
            # Each frame tells whether more follow: to count them blindly would let a peer
            # write frames that pass for somebody else's address.
            second = recv(NOBLOCK, False)
            if peer not in peers:
                self.peers.meet(peer, second)
            elif watched and peer in watched:
                watched[peer].came += 1
            if second.more:
                frame = recv(NOBLOCK, False)
                if frame.more or len(second):
                    self._odd([peer, second.bytes, frame.bytes], frame.more, now)
                else:
                    # A large one is read where libzmq has it: to copy it costs more than to decode it.
                    receive(peer, frame.bytes if len(frame) < LARGE else frame.buffer, now)
            elif holds_events(frame := second.bytes):
                self.batches = True
                number = self._session.receive_batch(peer, frame, now)
                count += number - 1
                if peer in watched:
                    watched[peer].came += number - 1
            else:
                self._odd([peer, frame], False, now)
            if dropped.fresh:
                dropped.came_from(_address(second))
        return count

    def _odd(self, frames: list[bytes], more: bool, now: float) -> None:
        """A message through devices, which has a longer envelope, or one that has no empty frame."""
        while more:
            frame: Any = self._recv(NOBLOCK, False)
            more = frame.more
            if len(frames) <= MAX_FRAMES:
                frames.append(frame.bytes)
        no_hub = f"it is no hub but a server, {self._session.name!r}: register at the out side of a hub"
        if answer := mdp.turn_away(frames[1:], no_hub):
            self._session.dropped.add("malformed", "a worker that would register, as if this were a hub")
            self._session.dropped.fresh = "malformed"
            self._send_frames(frames[0], answer)
            return
        envelope = frames[:-1]
        if len(envelope) > 1 and not envelope[-1]:
            envelope.pop()
        if not frames[-1] or len(frames) > MAX_FRAMES:
            self._session.dropped.add("malformed", f"a message of {len(frames)} frames without an event")
            self._session.dropped.fresh = "malformed"
            return
        peer: Peer = envelope[0] if len(envelope) == 1 else tuple(envelope)
        self._session.receive(peer, frames[-1], now)


def _unreachable(session: ServerSession, endpoint: str, why: str) -> None:
    log.warning("%s: %s: %s; it goes on trying", session.name, endpoint, why)


def _address(frame: Any) -> str:
    """Where a message came from, as far as libzmq tells: an IP address, or a process of this machine."""
    try:
        address = str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""
    # Of a peer at an ipc endpoint it gives user, group and process.
    return f"process {address.rpartition(':')[2]}" if address.startswith("localhost:") else address
