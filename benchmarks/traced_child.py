"""One side of `python -m benchmarks.traced`: a client and a server that call, or a sink that counts records.

`sink` prints its endpoint, and then for each line that it reads how many records have come so far. `calls`
makes as many calls as each line says, and prints their time and the processor's, in seconds.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import gevent
import gevent.fileobject

import mesh
from mesh.core.trace_batch import unpack

IN_FLIGHT = 100


class Sink:
    def __init__(self) -> None:
        self.count = 0

    def records(self, batch: bytes) -> dict[str, None]:
        self.count += len(unpack(batch).records)
        return {}

    def question(self, process: bytes, about: Any) -> None:
        gevent.sleep(3.0)


class Echo:
    def echo(self, value: Any) -> Any:
        return value


def _lines() -> Any:
    return gevent.fileobject.FileObject(sys.stdin.buffer, "rb", close=False)


def sink() -> None:
    taker = Sink()
    with mesh.Server(taker, name="collector") as server:
        print(server.bind("tcp://127.0.0.1:*"), flush=True)
        for _ in _lines():
            print(taker.count, flush=True)


def calls() -> None:
    server = mesh.Server(Echo(), name="echo")
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    client = mesh.connect(endpoint)

    def some(number: int) -> None:
        for _ in range(number):
            client.echo(1)

    for line in _lines():
        number = int(line) // IN_FLIGHT
        began, used = time.perf_counter(), time.process_time()
        gevent.joinall([gevent.spawn(some, number) for _ in range(IN_FLIGHT)])
        print(time.perf_counter() - began, time.process_time() - used, flush=True)


if __name__ == "__main__":
    {"sink": sink, "calls": calls}[sys.argv[1]]()
