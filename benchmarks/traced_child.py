"""One side of `python -m benchmarks.traced`: a client, a server, a hub, or a sink that counts records.

`sink` and `serve` print their endpoint, `hub` its two; `work` serves through one. For each line that it reads
a sink prints how many records have come so far, a server or a hub the seconds of the processor that it has
used; `call` makes as many calls of the endpoint given as a line says, and prints their time and the
processor's, in seconds.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import gevent
import gevent.fileobject
import msgpack

import mesh
from hubs.hub_types import make_hub
from hubs.spec import HubSpec, Side
from mesh.core.record_rows import ROW

IN_FLIGHT = 100
ANY = "tcp://127.0.0.1:*"
ROWS = 6
"""Which part of a batch the records are; a sink looks at no other, so that it costs the others little."""


class Sink:
    """count: records so far."""

    def __init__(self) -> None:
        self.count = 0

    def records(self, batch: bytes) -> dict[str, None]:
        self.count += len(msgpack.unpackb(batch, strict_map_key=False)[ROWS]) // ROW.size
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
        print(server.bind(ANY), flush=True)
        for _ in _lines():
            print(taker.count, flush=True)


def serve() -> None:
    with mesh.Server(Echo(), name="echo") as server:
        print(server.bind(ANY), flush=True)
        for _ in _lines():
            print(time.process_time(), flush=True)


def hub() -> None:
    logging.disable()  # of the worker that is ended before it
    endpoints = make_hub(HubSpec("echo", "queue", Side((ANY,)), Side((ANY,)))).start()
    print(endpoints.in_[0], endpoints.out[0], flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


def work() -> None:
    server = mesh.Server(Echo(), name="echo")
    server.register("echo", sys.argv[2])
    server.run()


def call() -> None:
    client = mesh.connect(sys.argv[2])

    def some(number: int) -> None:
        for _ in range(number):
            client.echo(1)

    for line in _lines():
        number = int(line) // IN_FLIGHT
        began, used = time.perf_counter(), time.process_time()
        gevent.joinall([gevent.spawn(some, number) for _ in range(IN_FLIGHT)])
        print(time.perf_counter() - began, time.process_time() - used, flush=True)


if __name__ == "__main__":
    {"sink": sink, "serve": serve, "hub": hub, "work": work, "call": call}[sys.argv[1]]()
