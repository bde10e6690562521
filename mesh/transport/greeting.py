"""What answers at an endpoint that has broken off a handshake, by its own greeting.

libzmq tells no more than that the connection ended. So a connection of our own greets as ZeroMQ does, and
what comes back says whether that is a program of another kind (a server of HTTP), an old ZeroMQ, one that
wants a key, or another kind of socket. (ZMTP 3.1: rfc.zeromq.org/spec/37.)
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, socket  # not what a program has patched
from contextlib import closing
from time import monotonic
from typing import Any, Final

import zmq

ANOTHER_MECHANISM: Final = "it refused us: it wants a key (CURVE) or another way to authenticate"
_MECHANISM: Final = slice(12, 32)
_VERSION: Final = 12
"""Bytes of a greeting up to and with its version,"""
_LENGTH: Final = 64
"""and of all of it."""
_MOST: Final = 4_096
"""Bytes of an answer that are looked at."""
_GREETING: Final = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_SHOWN: Final = 60
_PUB: Final = (b"PUB", b"XPUB")
_SUB: Final = (b"SUB", b"XSUB")
_MEETS: Final[dict[int, tuple[bytes, ...]]] = {
    zmq.PUSH: (b"PULL",),
    zmq.PULL: (b"PUSH",),
    zmq.PUB: _SUB,
    zmq.XPUB: _SUB,
    zmq.SUB: _PUB,
    zmq.XSUB: _PUB,
    zmq.ROUTER: (b"REQ", b"DEALER", b"ROUTER"),
    zmq.DEALER: (b"REP", b"DEALER", b"ROUTER"),
}
"""The types of sockets at the far end that each of ours speaks with."""


def ask(address: str, seconds: float) -> bytes | None:
    """The first bytes that come from a ZeroMQ address of TCP, with numbers, or ipc; b"" where none do.

    None where it takes the connection, and nothing has come when the time is over. Blocks its native thread
    for as many seconds at the most, once for the connection and once for the answer.
    """
    heard = b""
    try:
        with closing(_connected(address, seconds)) as connection:
            deadline = monotonic() + seconds
            # One that wants a key says so in return for the version, and goes at the mechanism.
            connection.send(_GREETING[:_VERSION])
            unsent = _GREETING[_VERSION:]
            while not _says_enough(heard) and (left := deadline - monotonic()) > 0:
                connection.settimeout(left)
                more = connection.recv(_MOST - len(heard))
                if not more:
                    break
                heard += more
                if unsent and len(heard) >= _LENGTH:
                    connection.send(unsent)
                    unsent = b""
    except TimeoutError:
        return heard or None
    except (OSError, UnicodeError, ValueError):
        pass  # what has come says all that there is to know
    return heard


def _connected(address: str, seconds: float) -> socket:
    transport, _, rest = address.partition("://")
    at: Any
    if transport == "ipc":
        family, at = AF_UNIX, "\0" + rest[1:] if rest.startswith("@") else rest
    else:
        host, _, port = rest.rpartition(":")
        family = AF_INET6 if host.startswith("[") else AF_INET
        at = host.strip("[]"), int(port)
    connection = socket(family, SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(at)
    except BaseException:
        connection.close()
        raise
    return connection


def _says_enough(heard: bytes) -> bool:
    if not heard:
        return False
    if not _greets(heard) or len(heard) >= _MOST:
        return True
    if len(heard) < _LENGTH:
        return len(heard) > 10 and heard[10] < 3
    # The first command follows the greeting, and names the kind of socket.
    null = heard[_MECHANISM].rstrip(b"\0") == b"NULL"
    return not null or (len(heard) > _LENGTH + 1 and len(heard) >= _end(heard))


def _greets(heard: bytes) -> bool:
    """Whether this may be how a ZeroMQ of version 3 or later begins, or begins to begin."""
    return heard[0] == 0xFF and (len(heard) < 10 or bool(heard[9] & 1))


def _end(heard: bytes) -> int:
    """Where the first command ends; a short one is at most 255 bytes long."""
    return _LENGTH + 2 + heard[_LENGTH + 1]


def describe(heard: bytes, kind: int) -> str:
    """What such an answer says of who gave it; "" where nothing is wrong with it, as far as it goes.

    kind: that of the socket which was refused, zmq.PUSH or another.
    """
    if not heard:
        return ""
    if not _greets(heard):
        return f"it is no ZeroMQ program, or one older than ZeroMQ 4.0: it answers {_shown(heard)}"
    if len(heard) > 10 and heard[10] < 3:
        return "it is a ZeroMQ older than 4.0: it speaks no ZMTP 3.0, which is needed"
    if len(heard) < _LENGTH:
        return ""
    mechanism = heard[_MECHANISM].rstrip(b"\0")
    if mechanism != b"NULL":
        known = mechanism in (b"CURVE", b"PLAIN", b"GSSAPI")
        return ANOTHER_MECHANISM if known else f"it is no ZeroMQ program: it answers {_shown(heard)}"
    other = _socket_type(heard[_LENGTH + 2 : _end(heard)]) if len(heard) > _LENGTH + 1 else b""
    if not other or other in _MEETS.get(kind, (other,)):
        return ""
    wanted = " or ".join(one.decode() for one in _MEETS[kind])
    return f"it is another kind of ZeroMQ socket: {_shown(other)}, and only {wanted} will do"


def _socket_type(command: bytes) -> bytes:
    """Of a command READY, which holds names and values: their lengths, in one byte and in four, go before."""
    rest = command.removeprefix(b"\x05READY")
    while rest and rest is not command:
        name, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        end = 4 + int.from_bytes(rest[:4], "big")
        if name.lower() == b"socket-type":
            return rest[4:end]
        rest = rest[end:]
    return b""


def _shown(heard: bytes) -> str:
    """A stranger's bytes, as they may stand in a log."""
    line = heard.strip().partition(b"\n")[0].strip()[:_SHOWN]
    text = line.decode("ascii", "replace")
    return repr(text) if text and text.isprintable() and text.isascii() else repr(heard[:16])
