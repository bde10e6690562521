"""mesh, through its public names and with its default settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mesh
from benchmarks.peers.loops import crowd, paced, repeat


class Service:
    def echo(self, value: bytes) -> bytes:
        return value

    def numbers(self, count: int) -> Iterator[int]:
        yield from range(count)


def serve(ready: Callable[[str], None], threads: int = 0) -> None:
    server = mesh.Server(Service(), threads=threads)
    ready(server.bind("tcp://127.0.0.1:*"))
    server.run()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._remote = mesh.connect(endpoint)

    def sequential(self, payload: bytes, seconds: float) -> int:
        return repeat(self._remote.echo, payload, seconds)

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        return crowd(self._remote.echo, payload, callers, seconds)

    def paced(self, payload: bytes, callers: int, rate: float, seconds: float) -> list[float]:
        return paced(self._remote.echo, payload, callers, rate, seconds)

    def stream(self, items: int) -> int:
        return sum(1 for _ in self._remote.numbers(items))

    def close(self) -> None:
        self._remote.close()


class InThreads:
    """The same, whose handlers run in native threads."""

    Client = Client

    def serve(self, ready: Callable[[str], None]) -> None:
        serve(ready, threads=8)


in_threads = InThreads()
