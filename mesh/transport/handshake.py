"""What is asked of the handshake of a new connection, the same for every socket of a process.

It may take so long. Until it has ended nothing can be sent, and what the other end has sent so far is kept.
libzmq's own limit is 30 seconds, which is too long for both: a proxy that takes connections for a server that
is gone holds clients for that time, and strangers fill the memory with half handshakes.

And there has to be one. ZMTP has had a handshake since version 3.0 (ZeroMQ 4.0). Whatever answers with other
bytes, as a server of HTTP does, libzmq takes for a ZeroMQ from before that: the connection stands then, and
what is sent goes there and is lost. libzmq has one way to refuse that (zmtp_engine.cpp, `zap_enabled`): a
socket that has a domain for ZAP, ZeroMQ's authentication, wants a handshake. Nobody authenticates anything
here, as no ZAP handler is in our contexts, so the domain has no other effect, and costs no message anything.
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
_DOMAIN: Final = b"mesh"


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


def require(socket: zmq.Socket[bytes]) -> None:
    """Have this socket end connections whose handshake takes longer, or that have none. Raises ConfigError.

    The far end of a ROUTER may still be an older ZeroMQ: it sends to nobody who has not asked for it.
    """
    socket.set(zmq.HANDSHAKE_IVL, round(timeout() * 1000))
    if socket.get(zmq.TYPE) != zmq.ROUTER:
        socket.set(zmq.ZAP_DOMAIN, _DOMAIN)
