"""`python -m benchmarks.balanced`: what it costs a call that its client has three servers in place of one.

The servers are processes of their own, and the processor's time of the client counts. It takes turns with one
endpoint and with three. A lone caller looks for its answer while it waits, so that its time is what a call
takes. The calls and answers of many callers share frames, the fewer the more servers there are, and each has
a socket to be read: with many callers that is most of the difference, and little of it is the choice.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import gevent

import mesh
from benchmarks.harness import START_SECONDS, child

SERVERS = 3
LEAST = 0.95
CALLS = 10_000
CALLERS = (1, 100)
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of the processor's time for a call, in each round, with one server and with three."""

    callers: int
    one: Sequence[float]
    several: Sequence[float]

    @property
    def ratio(self) -> float:
        """Calls of a second with three by those with one, as the median of the rounds."""
        return statistics.median(one / some for one, some in zip(self.one, self.several, strict=True))


def serve() -> None:
    """Until the parent ends this process."""
    server = mesh.Server({"echo": lambda value: value})
    print(json.dumps({"endpoint": server.bind("tcp://127.0.0.1:*")}), flush=True)
    server.run()


def measure(calls: int, rounds: int) -> list[Cost]:
    with ExitStack() as stack:
        servers = [stack.enter_context(child("benchmarks.balanced", "--serve")) for _ in range(SERVERS)]
        endpoints = [server.hear(START_SECONDS)["endpoint"] for server in servers]
        one = stack.enter_context(mesh.connect(endpoints[0]))
        several = stack.enter_context(mesh.connect(endpoints))
        costs = []
        for callers in CALLERS:
            for client in (one, several):
                _time(client, calls // 10 or 1, callers)
            times = [[_time(client, calls, callers) for client in (one, several)] for _ in range(rounds)]
            costs.append(Cost(callers, *zip(*times, strict=True)))
    return costs


def _time(client: mesh.Client, calls: int, callers: int) -> float:
    """Microseconds of the processor's time for a call, of all threads of this process."""
    echo, each = client.echo, calls // callers or 1

    def call() -> None:
        for number in range(each):
            echo(number)

    began = time.process_time()
    gevent.joinall([gevent.spawn(call) for _ in range(callers)], raise_error=True)
    return 1e6 * (time.process_time() - began) / (each * callers)


def within(costs: Sequence[Cost]) -> bool:
    """Whether a lone call costs no more than is wanted."""
    return costs[0].ratio >= LEAST


def as_text(costs: Sequence[Cost]) -> str:
    told = ", ".join(f"{cost.ratio:.2f} with {cost.callers} at once" for cost in costs)
    verdict = "within" if within(costs) else "BELOW"
    return (
        f"calls to {SERVERS} servers for each to one, by the client's processor: {told}; "
        f"for a lone caller at least {LEAST} wanted: {verdict}"
    )


def as_markdown(costs: Sequence[Cost]) -> str:
    """The section for the documentation."""
    return f"## Balancing\n\n- {as_text(costs)}"


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limit. 1: below it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.balanced", description="what do several servers cost a call?"
    )
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        serve()
        return 0
    costs = measure(options.calls, options.rounds)
    print(as_text(costs))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(costs) + "\n")
    return 0 if within(costs) else 1


if __name__ == "__main__":
    sys.exit(main())
