"""A service in a process of its own, until it is killed."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import gevent

import mesh
from tests.helpers.computing import compute_a_moment


class Service:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: Any) -> Any:
        return value

    def note(self, value: Any) -> int:
        self.seen.append(value)
        return os.getpid()

    def events(self) -> list[Any]:
        return self.seen

    def slow(self, seconds: float) -> int:
        gevent.sleep(seconds)
        return os.getpid()

    def nap(self, seconds: float) -> float:
        """How long a wait of so many seconds takes."""
        began = time.monotonic()
        gevent.sleep(seconds)
        return time.monotonic() - began

    def hold(self, value: Any) -> int:
        """Note the value, then never answer."""
        self.seen.append(value)
        gevent.sleep(60.0)
        return os.getpid()

    def compute(self, seconds: float) -> float:
        """Keep the loop from turning, without giving way."""
        if seconds > 1:
            print("computing", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return seconds

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    def ticks(self, pause: float) -> Iterator[int]:
        """Without end; notes when it is closed."""
        number = 0
        try:
            while True:
                yield number
                number += 1
                gevent.sleep(pause)
        finally:
            self.seen.append("closed")

    def plain_ticks(self) -> Iterator[int]:
        return self.ticks(0.01)

    def blob(self, size: int) -> bytes:
        return b"x" * size

    def blobs(self, size: int) -> Iterator[bytes]:
        while True:
            yield b"x" * size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bind", default="tcp://127.0.0.1:*")
    parser.add_argument("--heartbeat", type=float, default=5.0)
    parser.add_argument("--pool-size", type=int)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--queue", type=int, default=1_000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    from mesh.core.server_session import Limits

    server = mesh.Server(
        Service(),
        pool_size=options.pool_size,
        heartbeat=options.heartbeat,
        threads=options.threads,
        limits=Limits(queue=options.queue),
    )
    print("serving", server.bind(options.bind), flush=True)
    server.run()


if __name__ == "__main__":
    main()
