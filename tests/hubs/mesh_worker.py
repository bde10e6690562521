"""A worker made with `mesh.Server`.

Arguments: service, seconds of heartbeat, calls at once (0 for any number), the out sides of its hubs.

SIGTERM drains it, as that of `mesh serve` does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator

import gevent

import mesh
from tests.helpers.computing import compute_a_moment


class Service:
    def __init__(self) -> None:
        self._begun: list[str] = []

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: object) -> object:
        return value

    def count(self, most: int) -> Iterator[int]:
        yield from range(most)

    def nap(self, seconds: float, name: str = "") -> int:
        """Sleep, so that others run, and tell who did."""
        self._begun.append(name)
        gevent.sleep(seconds)
        return os.getpid()

    def begun(self) -> tuple[int, list[str]]:
        """This worker, and the names of all its naps so far."""
        return os.getpid(), self._begun

    def burn(self, seconds: float) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return os.getpid()

    def wait_for(self, path: str) -> str:
        """Block the loop until there is such a file."""
        while not os.path.exists(path):
            time.sleep(0.001)
        return path

    def wait_between(self, path: str) -> Iterator[str]:
        """As wait_for, after the first item."""
        yield "first"
        yield self.wait_for(path)

    def seize(self, seconds: float, path: str) -> str:
        """Keep the interpreter for that long, which stops all its threads, then make the file."""
        ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))
        with open(path, "w"):
            return path


def main(service: str, heartbeat: str, pool_size: str, *hubs: str) -> None:
    server = mesh.Server(Service(), name=service, pool_size=int(pool_size) or None)
    server.register(service, hubs, heartbeat=float(heartbeat))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    print("ready", flush=True)
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
