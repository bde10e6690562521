"""`python -m benchmarks.traced`: what recording costs a call, at 100 %, at 1 % and not at all.

Three pairs of a client and a server, each a process, take turns with 100 calls in flight; they differ in
MESH_TRACE alone. A sink counts the records that come. The processor's time of an end is that of its process,
with the thread that sends. Then the same with a queue hub between them, whose time is told in the server's
place.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

CALLS = 10_000
ROUNDS = 9
MODES: Mapping[str, str | None] = {"off": None, "1 %": "0.01", "100 %": "1"}
LIMITS_US = {"off": 0.1, "1 %": 0.3, "100 %": 2.0}
"""Microseconds of one end beyond those without."""
HUB_LIMITS_US = {"off": 0.0, "1 %": 0.1, "100 %": 1.0}
"""The same of a hub."""
LEAST_RATE = {"off": 1.0, "1 %": 0.98, "100 %": 0.85}


@dataclass(frozen=True, slots=True)
class Cost:
    """By mode, in each round: calls a second, and microseconds of the processor's time for a call, of the
    client and of the server, or the hub. came: records.
    """

    rates: Mapping[str, Sequence[float]]
    client: Mapping[str, Sequence[float]]
    server: Mapping[str, Sequence[float]]
    came: int

    def more(self, cpu: Mapping[str, Sequence[float]], mode: str) -> float:
        """Microseconds that an end takes more than without, the median of the rounds' differences."""
        pairs = zip(cpu["off"], cpu[mode], strict=True)
        return statistics.median(some - none for none, some in pairs)

    def share(self, mode: str) -> float:
        """Of the calls a second without, the median of the rounds' ratios."""
        pairs = zip(self.rates["off"], self.rates[mode], strict=True)
        return statistics.median(some / none for none, some in pairs)


class _Child:
    def __init__(self, stack: ExitStack, *role: str, **more: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MESH_TRACE")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.traced_child", *role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, **more},
        )
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self, line: object) -> list[float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return [float(number) for number in self.read().split()]


def measure(calls: int, rounds: int, hub: bool = False) -> Cost:
    """hub: whether one is in between, whose time is told."""
    with ExitStack() as stack:
        sink = _Child(stack, "sink")
        endpoint = sink.read().strip()
        clients, servers = {}, {}
        for mode, rate in MODES.items():
            more = {} if rate is None else {"MESH_TRACE": endpoint, "MESH_TRACE_RATE": rate}
            servers[mode] = _Child(stack, "hub" if hub else "serve", **more)
            in_, *out = servers[mode].read().split()
            if hub:
                _Child(stack, "work", *out, **more)
            clients[mode] = _Child(stack, "call", in_, **more)
            clients[mode].ask(calls)
        rates, client, server = ({mode: list[float]() for mode in MODES} for _ in range(3))
        for number in range(rounds):
            modes = list(MODES)
            for mode in modes[number % 3 :] + modes[: number % 3]:
                [before] = servers[mode].ask("")
                seconds, used = clients[mode].ask(calls)
                [after] = servers[mode].ask("")
                rates[mode].append(calls / seconds)
                client[mode].append(used / calls * 1e6)
                server[mode].append((after - before) / calls * 1e6)
        return Cost(rates, client, server, _settled(sink))


def _settled(sink: _Child) -> int:
    """How many records have come when no more do: those of the last second may be under way."""
    count = -1
    while count != (count := int(sink.ask("")[0])):
        time.sleep(1.0)
    return count


def report(cost: Cost) -> list[str]:
    lines = [
        "| recorded | calls/s | of those without | wanted | CPU, client, server | more | allowed |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for mode in MODES:
        rate, client, server = (
            statistics.median(figures[mode]) for figures in (cost.rates, cost.client, cost.server)
        )
        more = f"{cost.more(cost.client, mode):.2f}, {cost.more(cost.server, mode):.2f} µs"
        lines.append(
            f"| {mode} | {rate:,.0f} | {cost.share(mode):.2f} | {LEAST_RATE[mode]} | "
            f"{client:.1f}, {server:.1f} µs | {more} | {LIMITS_US[mode]} µs |"
        )
    return [*lines, "", f"{cost.came:,} records came to the sink."]


def report_of_hub(cost: Cost) -> list[str]:
    lines = ["| recorded | calls/s | CPU of the hub | more | allowed |", "|---|--:|--:|--:|--:|"]
    for mode in MODES:
        rate, used = (statistics.median(figures[mode]) for figures in (cost.rates, cost.server))
        more = cost.more(cost.server, mode)
        lines.append(f"| {mode} | {rate:,.0f} | {used:.1f} µs | {more:.2f} µs | {HUB_LIMITS_US[mode]} µs |")
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traced", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args(arguments)
    lines = report(measure(options.calls, options.rounds))
    of_hub = report_of_hub(measure(options.calls, options.rounds, hub=True))
    lines += ["", "The same calls through a queue hub:", "", *of_hub]
    print("\n".join(lines))
    if options.write:
        options.write.write_text("\n".join(["## Tracing: what a call pays", "", *lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
