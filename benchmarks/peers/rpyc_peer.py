"""RPyC with a threaded server, one connection, and the faster of its two ways wherever it has two.

Many callers are `async_` calls kept in flight by one thread; a stream is read with its own
`buffiter`, which fetches up to 1,000 items a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter

import rpyc
from rpyc.utils.helpers import buffiter
from rpyc.utils.server import ThreadedServer

from benchmarks.peers.loops import repeat


class Service(rpyc.Service):  # type: ignore[misc]  # rpyc has no types
    def exposed_echo(self, value: bytes) -> bytes:
        return value

    def exposed_numbers(self, count: int) -> Iterator[int]:
        yield from range(count)


def serve(ready: Callable[[str], None]) -> None:
    server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
    # start() does it too, but returns only at the end: clients come as soon as the address is known.
    server._listen()
    ready(f"{server.host}:{server.port}")
    server.start()


class Client:
    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.rsplit(":", 1)
        stream = rpyc.SocketStream.connect(host, int(port), nodelay=True)
        self._connection = rpyc.connect_stream(stream)
        self._echo = self._connection.root.echo

    def sequential(self, payload: bytes, seconds: float) -> int:
        return repeat(self._echo, payload, seconds)

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        echo = rpyc.async_(self._echo)
        outstanding = deque(echo(payload) for _ in range(callers))
        answered = 0
        end = perf_counter() + seconds
        while outstanding:
            # One connection is answered in order, so the oldest is the next one to come.
            outstanding.popleft().value  # noqa: B018  (waits, and raises what the remote raised)
            answered += 1
            if perf_counter() < end:
                outstanding.append(echo(payload))
        return answered

    def stream(self, items: int) -> int:
        return sum(1 for _ in buffiter(self._connection.root.numbers(items)))

    def close(self) -> None:
        self._connection.close()
