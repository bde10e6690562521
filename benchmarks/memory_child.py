"""The calling process of the memory run: `calls` or `clients`, as many and as often as it is told."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable

import gevent

import mesh
from benchmarks.child import say
from benchmarks.workloads import CALLERS, SMALL


def one_client(endpoint: str) -> Callable[[int], None]:
    """Many calls by one client, of greenlets that share it."""
    remote = mesh.connect(endpoint)

    def call(count: int) -> None:
        for _ in range(count):
            remote.echo(SMALL)

    def run(count: int) -> None:
        each, rest = divmod(count, CALLERS)
        shares = [each + (number < rest) for number in range(CALLERS)]
        gevent.joinall([gevent.spawn(call, share) for share in shares], raise_error=True)

    return run


def many_clients(endpoint: str) -> Callable[[int], None]:
    """One client after the other, each of which connects, calls once and closes."""

    def run(count: int) -> None:
        for _ in range(count):
            with mesh.connect(endpoint) as remote:
                remote.echo(SMALL)

    return run


def main(role: str) -> None:
    endpoint = json.loads(sys.stdin.readline())["endpoint"]
    run = {"calls": one_client, "clients": many_clients}[role](endpoint)
    for line in sys.stdin:
        run(json.loads(line)["count"])
        gc.collect()
        say(done=True)


if __name__ == "__main__":
    main(sys.argv[1])
