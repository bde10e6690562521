"""The connections of one socket, by what its monitor tells: whether one has ended that a peer has used.

Knows nothing of what a peer is, and no clock. Only the thread of the socket may use it.
"""

from __future__ import annotations

from typing import Final

import zmq

from mesh.transport import dialer

EVENTS: Final = zmq.EVENT_ACCEPTED | dialer.NAMED
"""What the monitor is to tell."""
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
