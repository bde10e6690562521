"""Servers that are no ZeroMQ programs: they answer whoever comes with bytes of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.helpers.processes import eventually

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Stranger:
    """Answers each connection with `says`, and ends it then where it `closes`.

    heard: all that it has been told, by all of them.
    """

    def __init__(self, listener: socket.socket, says: bytes, closes: bool) -> None:
        self.heard = b""
        self.connections = 0
        self._listener = listener
        self._says = says
        self._closes = closes
        self._kept: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                one = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._kept.append(one)
            self._threads.append(threading.Thread(target=self._listen, args=(one,), daemon=True))
            self._threads[-1].start()

    def _listen(self, one: socket.socket) -> None:
        with suppress(OSError):
            one.sendall(self._says)
            if self._closes:
                one.shutdown(socket.SHUT_RDWR)
            while more := one.recv(65_536):
                self.heard += more

    def close(self) -> None:
        for one in [self._listener, *self._kept]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5.0)


@contextmanager
def stranger(
    port: int = 0, says: bytes = HTTP, host: str = "127.0.0.1", *, closes: bool = False
) -> Iterator[tuple[Stranger, str]]:
    """One of them, and its endpoint. It waits for the port."""
    with ExitStack() as stack:
        listener = eventually(lambda: _listener(host, port), what=f"room at {host}:{port}")
        one = Stranger(stack.enter_context(listener), says, closes)
        stack.callback(one.close)
        yield one, f"tcp://{host}:{listener.getsockname()[1]}"


def _listener(host: str, port: int) -> socket.socket | None:
    try:
        return socket.create_server((host, port))
    except OSError:
        return None
