"""The ROUTER socket of a server: messages in and out, and what waits for peers that do not read.

Runs under the lock of its endpoint, in its loop or from the watchdog, and wakes nobody. What an
event means is the session's matter.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any, Final

import zmq

from mesh.core import majordomo as mdp
from mesh.core.batch import Bundle, holds_events
from mesh.core.channel import NEVER
from mesh.core.majordomo import LONE
from mesh.core.outbox import Outbox
from mesh.core.server_session import Peer, ServerSession
from mesh.transport import process, sockets
from mesh.transport.peers import Peers
from mesh.transport.sockets import MORE, NOBLOCK

MAX_FRAMES: Final = 18
"""Frames of a message, the envelope of a call through many devices among them."""
RETRY: Final = 0.01
LARGE: Final = 65_536
"""Bytes."""


class Router:
    """max_message: bytes. peers: which connection each of them has. retry_at: when `flush` is wanted.
    batches: whether any peer has sent several events in one frame.
    """

    def __init__(self, session: ServerSession, max_message: int) -> None:
        self._session = session
        # What waits for each peer, and whether it is one event, which goes after an empty frame.
        self._outboxes: dict[Peer, Outbox[tuple[bytes, bool]]] = {}
        # What is to go to each peer in one frame, with `release`.
        self._bundles: dict[Peer, Bundle] = {}
        self.batches = False
        self.peers = Peers()
        self.retry_at = NEVER
        self.socket = socket = sockets.open_socket(zmq.ROUTER, max_message)
        socket.set(zmq.ROUTER_MANDATORY, 1)
        self.monitor = process.monitors().monitor(socket, zmq.EVENT_DISCONNECTED)
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self.readable = sockets.readable(socket)

    def close(self, linger_ms: int) -> None:
        self.release()
        self.monitor.close()
        self.socket.close(linger_ms)

    def connection_broke(self) -> bool:
        """Take in which connections have ended since the last time; whether there were any."""
        events = self.monitor.take()
        for event in events:
            self.peers.ended(event.value)
        return bool(events)

    # Out

    def send(self, peer: Peer, payload: bytes) -> None:
        """Send an event, or keep it until the peer reads."""
        if self._bundles:
            self._settle(peer)
        self._send_or_keep(peer, payload, True)

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
            self._send_or_keep(peer, bundle.frames()[-1], len(bundle.events) == 1)

    def _send_or_keep(self, peer: Peer, payload: bytes, lone: bool) -> None:
        if self._outboxes and peer in self._outboxes and not self._flush(peer):
            self._keep(peer, payload, lone)
        elif not self._try_send(peer, payload, lone):
            self._outboxes[peer] = Outbox()
            self._outboxes[peer].append((payload, lone), len(payload))
            self.retry_at = monotonic() + RETRY

    def _send_frames(self, peer: bytes, frames: list[bytes]) -> None:
        """To whoever is no peer of calls; nothing is kept for one that does not read, or is gone."""
        with suppress(zmq.ZMQError):
            self.socket.send_multipart([peer, *frames], NOBLOCK)

    def _keep(self, peer: Peer, payload: bytes, lone: bool) -> None:
        outbox = self._outboxes.get(peer)
        if outbox is None:
            return
        if outbox.full:
            # It asks and does not read: nothing that it is owed can be kept for ever.
            del self._outboxes[peer]
            self._session.does_not_read(peer, len(outbox) + 1)
            return
        outbox.append((payload, lone), len(payload))

    def _try_send(self, peer: Peer, payload: bytes, lone: bool) -> bool:
        """False where the peer takes no more now; one that is gone takes all. lone: it is one event."""
        send = self._send
        try:
            if type(peer) is bytes:
                send(peer, MORE)
            else:
                for frame in peer:
                    send(frame, MORE)
            if lone:
                send(b"", MORE)
            send(payload, NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as exc:
            if exc.errno != zmq.EHOSTUNREACH:
                raise
            self._outboxes.pop(peer, None)
            self._session.lost([peer])
        return True

    def _flush(self, peer: Peer) -> bool:
        outbox = self._outboxes.get(peer)
        while outbox:
            if not self._try_send(peer, *outbox.first):
                return False
            outbox.popleft()
        self._outboxes.pop(peer, None)
        return True

    def flush(self, now: float) -> None:
        """Send what waits, as far as the peers take it, if it is time to."""
        if now < self.retry_at:
            return
        for peer in list(self._outboxes):
            self._flush(peer)
        self.retry_at = now + RETRY if self._outboxes else NEVER

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


def _address(frame: Any) -> str:
    """Where a message came from, as far as libzmq tells: an IP address, or a process of this machine."""
    try:
        address = str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""
    # Of a peer at an ipc endpoint it gives user, group and process.
    return f"process {address.rpartition(':')[2]}" if address.startswith("localhost:") else address
