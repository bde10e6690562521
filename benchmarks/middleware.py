"""`python -m benchmarks.middleware`: what three middleware functions around each call cost.

A client calls a server of its own process, so that the processor's time of a call is that of both ends. They
take turns with none, with three at the client and with three at the server; each does nothing but go on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent

import mesh

CHAIN = 3
LIMIT_US = 3.0
CALLS = 10_000
IN_FLIGHT = 100
"""Calls at once: one that is alone is looked for while the loop would sleep, which takes more than a call."""
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of the processor's time for a call, in each round: with none, and with CHAIN at an end."""

    none: Sequence[float]
    client: Sequence[float]
    server: Sequence[float]

    def more(self, with_them: Sequence[float]) -> float:
        """What the chain costs, as the median of the rounds' differences."""
        return statistics.median(some - none for none, some in zip(self.none, with_them, strict=True))

    @property
    def within(self) -> bool:
        return max(self.more(self.client), self.more(self.server)) < LIMIT_US


def go_on(call: Any, proceed: Any) -> Any:
    return proceed(call)


def echo(value: Any) -> Any:
    return value


def measure(calls: int, rounds: int) -> Cost:
    chain = [go_on] * CHAIN
    with ExitStack() as stack:
        endpoints = []
        for middleware in ([], chain):
            server = mesh.Server({"echo": echo}, middleware=middleware)
            endpoints.append(server.bind("tcp://127.0.0.1:*"))
            server.start()
            stack.callback(server.stop, 1.0)
        plain, surrounded = endpoints
        clients = [
            stack.enter_context(mesh.connect(plain)),
            stack.enter_context(mesh.connect(plain, middleware=chain)),
            stack.enter_context(mesh.connect(surrounded)),
        ]
        for client in clients:
            _time(client, calls // 10 or 1)
        times = [[_time(client, calls) for client in clients] for _ in range(rounds)]
    none, client_s, server_s = zip(*times, strict=True)
    return Cost(none, client_s, server_s)


def _time(client: mesh.Client, calls: int) -> float:
    """Microseconds of the processor's time for a call, of all threads."""
    echo, each = client.echo, calls // IN_FLIGHT or 1

    def call() -> None:
        for number in range(each):
            echo(number)

    began = time.process_time()
    gevent.joinall([gevent.spawn(call) for _ in range(IN_FLIGHT)], raise_error=True)
    return 1e6 * (time.process_time() - began) / (each * IN_FLIGHT)


def as_text(cost: Cost) -> str:
    within = "within" if cost.within else "OVER"
    return (
        f"a call takes {statistics.median(cost.none):.0f} µs of the processor at both ends together; "
        f"{CHAIN} functions around it {cost.more(cost.client):+.1f} µs at the client, "
        f"{cost.more(cost.server):+.1f} µs at the server, below {LIMIT_US:g} each wanted: {within}"
    )


def as_markdown(cost: Cost) -> str:
    """The section for the documentation."""
    return f"## Middleware\n\n- {as_text(cost)}"


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limit. 1: over it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.middleware", description="what does middleware around a call cost?"
    )
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    cost = measure(options.calls, options.rounds)
    print(as_text(cost))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(cost) + "\n")
    return 0 if cost.within else 1


if __name__ == "__main__":
    sys.exit(main())
