"""What goes out by a ROUTER socket: sent, or kept until its peer reads, or told of as it comes to nothing.

Servers and hubs have it. Knows nothing of what the messages say. Used by one thread at a time, under the lock
of its owner; nothing here waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.outbox import Outbox
from mesh.transport import sockets
from mesh.transport.sockets import MORE, NOBLOCK, Socket

RETRY: Final = 0.01
"""Seconds after which to try again what a peer did not take: nothing tells when it will."""

Envelope = Any
"""The address of a peer: bytes, or a tuple of several where devices stand between."""
Frames = Sequence[bytes]
Kept = Outbox[tuple[Envelope, Frames]]


class RouterSender:
    """gone: gets the envelope of a peer that has no connection. unread: gets an envelope, and how many
    messages for it were thrown away, as what is kept for that connection has come to its bound.
    """

    def __init__(
        self, socket: Socket, gone: Callable[[Envelope], object], unread: Callable[[Envelope, int], object]
    ) -> None:
        socket.set(zmq.ROUTER_MANDATORY, 1)
        self._send = sockets.sender(socket)
        self._gone = gone
        self._unread = unread
        # The messages with their envelopes, by the first address: that is the connection.
        self._outboxes: dict[bytes, Kept] = {}
        self.retry_at = NEVER
        """When `flush` is wanted."""

    @property
    def owes(self) -> bool:
        """Whether anything waits for its peer."""
        return bool(self._outboxes)

    def crowded(self, envelope: Envelope) -> bool:
        """Whether this peer has to read before it is given more."""
        return _connection(envelope) in self._outboxes

    def send(self, envelope: Envelope, frames: Frames) -> None:
        """Send, or keep it until the peer reads."""
        if self._outboxes:
            connection = _connection(envelope)
            outbox = self._outboxes.get(connection)
            if outbox is not None and not self._flush(connection, outbox):
                self._keep(connection, outbox, envelope, frames)
                return
        if not self._try_send(envelope, frames):
            outbox = self._outboxes[_connection(envelope)] = Outbox()
            outbox.append((envelope, frames), sum(map(len, frames)))
            self.retry_at = min(self.retry_at, monotonic() + RETRY)

    def flush(self, now: float) -> None:
        """Send what waits, as far as the peers take it, if it is time to."""
        if now < self.retry_at:
            return
        for connection, outbox in list(self._outboxes.items()):
            self._flush(connection, outbox)
        self.retry_at = now + RETRY if self._outboxes else NEVER

    def _keep(self, connection: bytes, outbox: Kept, envelope: Envelope, frames: Frames) -> None:
        if not outbox.full:
            outbox.append((envelope, frames), sum(map(len, frames)))
            return
        # It asks and does not read: nothing that it is owed can be kept for ever.
        del self._outboxes[connection]
        thrown_away = Counter(each for each, _ in outbox)
        thrown_away[envelope] += 1
        for each, number in thrown_away.items():
            self._unread(each, number)

    def _flush(self, connection: bytes, outbox: Kept) -> bool:
        """Whether nothing waits for that connection any more."""
        while outbox:
            if not self._try_send(*outbox.first):
                return False
            outbox.popleft()
        self._outboxes.pop(connection, None)
        return True

    def _try_send(self, envelope: Envelope, frames: Frames) -> bool:
        """False where the peer takes no more now; one that is gone takes all."""
        send = self._send
        try:
            if type(envelope) is bytes:
                send(envelope, MORE)
            else:
                for frame in envelope:
                    send(frame, MORE)
        except zmq.Again:
            return False
        except zmq.ZMQError as exc:
            if exc.errno != zmq.EHOSTUNREACH:
                raise
            self._gone(envelope)
            return True
        # Only the first frame can fail.
        if len(frames) > 1:
            for frame in frames[:-1]:
                send(frame, MORE)
        send(frames[-1], NOBLOCK)
        return True


def _connection(envelope: Envelope) -> bytes:
    """The address that libzmq knows it by."""
    first: bytes = envelope if type(envelope) is bytes else envelope[0]
    return first
