"""How the sockets of mesh are set up, and the quickest way to send and receive on them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import zmq
from zmq import backend

from mesh.errors import ConfigError
from mesh.transport import handshake, host_lookup, ipc, process
from mesh.transport.ipc import Access
from mesh.transport.listener import Listener

NOBLOCK: Final = int(zmq.NOBLOCK)
MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)

SILENT_MS: Final = 6_000
"""Milliseconds after which TCP gives up a host or network that says nothing, or takes nothing: also one whose
window stays shut for so long, which a program that reads has open again at once."""
BACKLOG: Final = 4_096
"""Connections that may wait to be accepted; after a restart all peers come at once."""
RECONNECT_MS: Final = 50
RECONNECT_MAX_MS: Final = 1_000

Socket = zmq.Socket[bytes]
Send = Callable[..., None]


def open_socket(kind: int, max_message: int) -> Listener:
    """A plain socket with the options that every socket of mesh has."""
    socket = process.context().socket(kind)
    prepare(socket)
    # Not ZMTP's heartbeats: when theirs falls due on a connection that ended while its messages
    # waited to be read, libzmq 4.3.5 aborts the process (stream_engine_base.cpp, `!_io_error`).
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, 2)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, 2)
    socket.set(zmq.TCP_KEEPALIVE_CNT, 2)
    socket.set(zmq.TCP_MAXRT, SILENT_MS)
    # A margin, so that a message over the limit gets an answer and only a far larger one
    # costs its sender the connection.
    socket.set(zmq.MAXMSGSIZE, max_message + max_message // 4 + 65_536)
    return socket


def prepare(socket: Socket) -> None:
    """Set the options that also the sockets of hubs have, which have contexts of their own."""
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.BACKLOG, BACKLOG)
    handshake.require(socket)
    socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)


def sender(socket: Socket) -> Send:
    """`socket.send` of a plain socket, past the wrapper that costs half of it."""
    return partial(backend.Socket.send, socket)


def receiver(socket: Socket) -> Callable[..., Any]:
    return partial(backend.Socket.recv, socket)


def readable(socket: Socket) -> Callable[[], Any]:
    """A function that tells whether a message can be received now.

    It makes libzmq look at what has happened meanwhile, which the descriptor alone does not
    tell after a send.
    """
    return partial(backend.zmq_poll, [(socket, zmq.POLLIN)], 0)


def descriptor(socket: Socket) -> int:
    """The file descriptor that tells of changes; it is edge-triggered."""
    return int(socket.get(zmq.FD))


def bind(socket: Listener, endpoint: str, access: Access | None = None) -> str:
    """Bind, and give the real endpoint. Raises ConfigError that says what is wrong.

    access: who may connect to the path of an ipc endpoint.
    """
    with explained("bind", endpoint):
        if problem := ipc.bind_problem(endpoint):
            raise ConfigError(problem)
        if ipc.is_used(endpoint):
            raise OSError(errno.EADDRINUSE, "in use")
        return socket.listen(host_lookup.to_bind(endpoint), access)


def connect(socket: Socket, endpoint: str) -> None:
    """Connect to an endpoint whose host is a number: libzmq would look a name up in its only thread."""
    # As it is set, libzmq takes the one for the other.
    socket.set(zmq.IPV6, int("[" in endpoint))
    socket.connect(endpoint)


@contextmanager
def explained(how: str, endpoint: str) -> Iterator[None]:
    """Raise ConfigError that says what is wrong with an endpoint. how: "bind" or "connect"."""
    try:
        yield
    except (OSError, zmq.ZMQError, ConfigError, TypeError, ValueError) as exc:
        raise ConfigError(f"can't {how} to {endpoint!r}: {_reason(exc)}") from None


_HINTS: Final = {
    errno.EADDRINUSE: "the address is in use already; stop the other program or take another port or path",
    errno.EADDRNOTAVAIL: "no network interface has that address",
    errno.EPROTONOSUPPORT: "no such transport; an endpoint looks like tcp://host:port or ipc:///path",
    errno.EINVAL: "that is no endpoint; one looks like tcp://host:port or ipc:///path",
    errno.ENODEV: "no such host or network interface",
    errno.EACCES: "permission denied",
    errno.ENOENT: "no such directory",
}


def _reason(exc: Exception) -> str:
    return _HINTS.get(getattr(exc, "errno", 0) or 0, str(exc))
