"""The HTTP server of the dashboard: where it listens, and that every wait of it has an end."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from mesh.errors import ConfigError

MOST_CONNECTIONS: Final = 128
PATIENCE: Final = 30.0
"""Seconds that a browser has to send a request, or to read what it is sent."""
_BACKLOG: Final = 64

log = logging.getLogger("mesh.dashboard")


class _Handler(WSGIHandler):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        sock.settimeout(PATIENCE)
        super().__init__(sock, *args, **kwargs)

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        """A browser that reads nothing for so long is no error of ours."""
        if not isinstance(error, TimeoutError):
            super().handle_error(kind, error, trace)
        self.close_connection = True

    def log_error(self, message: str, *args: Any) -> None:
        log.info(message, *args)


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, [HOST]:PORT, or PORT alone on 127.0.0.1. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--bind takes HOST:PORT, as 127.0.0.1:4748, not {text!r}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def listen(host: str, port: int) -> tuple[Any, str]:
    """A socket that listens there, and the address of the page. Raises ConfigError."""
    from gevent import socket as green

    try:
        host.encode("idna")  # what it can't encode gevent tells by a traceback of its own
    except UnicodeError:
        raise ConfigError(f"--bind: {host!r} is no name of a host") from None
    try:
        found = green.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"--bind: {host} has no address ({error.strerror})") from None
    family, kind, number, _, address = found[0]
    listener = green.socket(family, kind, number)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"the dashboard can't listen on {host}:{port}: {_why(error)}") from None
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}/"


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use, by another dashboard perhaps; --bind takes another one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.EACCES:
        return "ports below 1024 are not for everybody; --bind takes another one"
    return os.strerror(error.errno or 0)


class Server:
    """application: what answers. listener: from `listen`."""

    def __init__(self, listener: Any, application: Callable[..., Iterable[bytes]]) -> None:
        self._server = WSGIServer(
            listener,
            application,
            handler_class=_Handler,
            spawn=Pool(MOST_CONNECTIONS),
            log=None,
            error_log=log,
        )

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """End at once: nothing here is worth a wait."""
        self._server.stop(timeout=0.2)
