"""zerorpc for Python, unchanged and with its default settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import zerorpc
import zmq

from benchmarks.peers.loops import crowd, repeat


class Service:
    def echo(self, value: bytes) -> bytes:
        return value

    @zerorpc.stream  # type: ignore[untyped-decorator]  # zerorpc has no types
    def numbers(self, count: int) -> Iterator[int]:
        yield from range(count)


def serve(ready: Callable[[str], None]) -> None:
    server = zerorpc.Server(Service())
    server.bind("tcp://127.0.0.1:*")
    # Its bind() does not tell which port it got.
    ready(server._events._socket.getsockopt(zmq.LAST_ENDPOINT).decode())
    server.run()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._remote = zerorpc.Client(endpoint)

    def sequential(self, payload: bytes, seconds: float) -> int:
        return repeat(self._remote.echo, payload, seconds)

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        return crowd(self._remote.echo, payload, callers, seconds)

    def stream(self, items: int) -> int:
        return sum(1 for _ in self._remote.numbers(items))

    def close(self) -> None:
        self._remote.close()
