"""How long the handshake of a new connection may take, the same for every socket of a process.

Until it has ended nothing can be sent, and what the other end has sent so far is kept. libzmq's own limit is
30 seconds, which is too long for both: a proxy that takes connections for a server that is gone holds clients
for that time, and strangers fill the memory with half handshakes.
"""

from __future__ import annotations

import os
from typing import Final

import zmq

from mesh.errors import ConfigError

ENV: Final = "MESH_HANDSHAKE"
DEFAULT: Final = 2.0
"""Seconds. A handshake takes some two round trips, and libzmq's own thread gives it, however busy the
program is."""
LEAST: Final = 0.1
MOST: Final = 600.0


def timeout() -> float:
    """Seconds; from the environment, for networks that are slower. Raises ConfigError."""
    given = os.environ.get(ENV, "")
    if not given:
        return DEFAULT
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not LEAST <= seconds <= MOST:
        raise ConfigError(
            f"{ENV} in the environment must be a number of seconds from {LEAST:g} to {MOST:g}, "
            f"not {given!r:.80}"
        )
    return seconds


def bound(socket: zmq.Socket[bytes]) -> None:
    """Have this socket end connections whose handshake takes longer. Raises ConfigError."""
    socket.set(zmq.HANDSHAKE_IVL, round(timeout() * 1000))
