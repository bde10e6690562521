"""A link that is slow, and may stand still: between whoever connects to it and a real endpoint.

It keeps next to nothing, as a long wire would: what has not passed waits at its sender.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

RATE: Final = 1_000_000
CHUNK: Final = 16_384
BUFFER: Final = 65_536


class SlowLink:
    """A context manager. to: an endpoint of TCP. rate: bytes a second, in each direction of each connection.

    endpoint: where it is connected to in place of the other.
    """

    def __init__(self, to: str, rate: int = RATE) -> None:
        host, _, port = to.removeprefix("tcp://").rpartition(":")
        self._to = host, int(port)
        self._rate = rate
        self._moving = threading.Event()
        self._moving.set()
        self._sockets: list[socket.socket] = []
        self._listener = _small(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stand_still(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._moving.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = _small(socket.socket())
                far.connect(self._to)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            free_at = 0.0
            while data := one.recv(CHUNK):
                self._moving.wait()
                other.sendall(data)
                self.passed += len(data)
                # By the clock, not by single naps: a busy machine is to make it no slower.
                free_at = max(free_at, time.monotonic() - 0.1) + len(data) / self._rate
                time.sleep(max(0.0, free_at - time.monotonic()))
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._moving.set()
        # close() alone leaves a thread in accept() or recv() where it is.
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _small(one: socket.socket) -> socket.socket:
    """Before it is connected, or listens: a window that is open once is not taken back."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return one
