"""What a socket's monitor tells of its connections: whether one has ended that a peer has used.

Knows nothing of what a peer is. Only the thread of the socket may use it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import monotonic
from typing import Final

import zmq

from hubs.sockets import Socket
from mesh.transport import dialer, handshake
from mesh.transport.context import Context
from mesh.transport.monitors import ConnectionEvent

_EVENTS: Final = zmq.EVENT_ACCEPTED | dialer.KINDS
_BEGUN: Final = (zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED)


class Connections:
    """The connections of one socket, by the events of its monitor.

    handshake: seconds that libzmq leaves a connection for it.
    """

    def __init__(self, handshake: float) -> None:
        self._handshake = handshake
        self._handshakes = 0
        # Descriptor -> when it began, and how many handshakes there had been by then.
        self._open: dict[int, tuple[float, int]] = {}

    def happened(self, event: int, descriptor: int, now: float) -> bool:
        """Whether a connection has ended that may have been a peer's; not that of a port scanner."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._handshakes += 1  # whose is not told
        elif event in _BEGUN:
            self._open[descriptor] = now, self._handshakes
        elif event == zmq.EVENT_DISCONNECTED:
            begun, handshakes = self._open.pop(descriptor, (0.0, -1))
            # That of a peer from before ZMTP 3 is never told, but without one nobody stays.
            return handshakes != self._handshakes or now - begun >= self._handshake
        return False


class Monitor:
    """fd: the descriptor that tells when there is something to look at. happened: called with each event."""

    def __init__(
        self, context: Context, socket: Socket, happened: Callable[[ConnectionEvent, float], None]
    ) -> None:
        address = f"inproc://monitor.{id(self):x}"
        socket.monitor(address, _EVENTS)
        self._connections = Connections(handshake.timeout())
        self._watched = socket
        self._happened = happened
        self._events: Socket = context.socket(zmq.PAIR)
        # Without a bound: a full one would stop libzmq's only thread.
        self._events.set(zmq.RCVHWM, 0)
        self._events.connect(address)
        self.fd = int(self._events.get(zmq.FD))
        # It tells of nothing before somebody has once found the monitor empty.
        self.broke()

    def broke(self) -> bool:
        """Whether a peer's connection may have ended since the last look."""
        broke, now = False, monotonic()
        while True:
            try:
                told, address = self._events.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return broke
            event, value = struct.unpack("=Hi", told)
            self._happened(ConnectionEvent(event, value, address.decode()), now)
            broke |= self._connections.happened(event, value, now)

    def close(self) -> None:
        self._watched.disable_monitor()
        self._events.close(0)
