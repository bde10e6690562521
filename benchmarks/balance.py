"""The experiment by which Linkerd compared its rules of balancing, for real: servers and a client that calls.

Eleven servers, each a process of its own, take 1,000 calls a second together. After a while one of them slows
down to 2 seconds for half a minute. The client gives a call up after a second; what counts is the share of
calls that have their answer. https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/

    python -m benchmarks.balance                      a table
    python -m benchmarks.balance --write-docs         and the table and plot of docs/balancing.md
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import child
from benchmarks.plot import Line, draw

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "balancing.md"
PLOT = ROOT / "docs" / "balancing.svg"
RULES = ("peak_ewma", "least_loaded", "round_robin")
SERVERS = 11
RATE = 1_000.0
USUAL = 0.02
"""Seconds that a call takes on average, by an exponential distribution."""
SLOW = 2.0
TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the first call on: when one server slows down, when it is well again, and the end."""

    slowed: float = 10.0
    healed: float = 40.0
    end: float = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the calls by one rule: for each when it was made, what it took, and whether it was
    answered.
    """

    rule: str
    calls: list[tuple[float, float, bool]]

    @property
    def success(self) -> float:
        """Percent."""
        return 100 * sum(good for _, _, good in self.calls) / len(self.calls)

    def percentile(self, share: float, begin: float = 0.0, end: float = 1e9) -> float:
        """Seconds within which this share of the calls of a while had ended."""
        took = sorted(took for made, took, _ in self.calls if begin <= made < end)
        return took[min(int(share * len(took)), len(took) - 1)] if took else 0.0


class Server:
    """What each process serves."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def work(self) -> None:
        import gevent

        gevent.sleep(random.expovariate(1 / USUAL) if self.seconds is None else self.seconds)

    def slow(self, seconds: float | None) -> None:
        """Have each call take so long; None for the usual."""
        self.seconds = seconds


def serve() -> None:
    """Serve until the parent goes; says where on the first line."""
    import mesh

    server = mesh.Server(Server())
    print(json.dumps(server.bind("tcp://127.0.0.1:*")), flush=True)
    server.run()


def call(rule: str, endpoints: list[str], times: Times) -> Run:
    """Call as the experiment has it; in the process of the client."""
    import gevent

    import mesh

    calls: list[tuple[float, float, bool]] = []
    chance = random.Random(1)
    client = mesh.connect(endpoints, balance=rule, timeout=TIMEOUT)
    ruler = mesh.connect(endpoints[0])
    for _ in range(50 * SERVERS):
        client.work()
    start = time.monotonic()

    def one() -> None:
        made, good = time.monotonic(), True
        try:
            client.work()
        except mesh.MeshError:
            good = False
        calls.append((made - start, time.monotonic() - made, good))

    gevent.spawn_later(times.slowed, ruler.slow, SLOW)
    gevent.spawn_later(times.healed, ruler.slow, None)
    due = 0.0
    while due < times.end:
        gevent.sleep(max(start + due - time.monotonic(), 0.0))
        gevent.spawn(one)
        due += chance.expovariate(RATE)
    gevent.sleep(TIMEOUT + 0.5)
    return Run(rule, calls)


@contextmanager
def servers() -> Iterator[list[str]]:
    """Their endpoints."""
    command = [sys.executable, "-m", "benchmarks.balance", "--serve"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(SERVERS)]
    try:
        yield [json.loads(one.stdout.readline()) for one in running if one.stdout is not None]
    finally:
        for one in running:
            one.kill()
            one.wait()


def measure(rule: str, times: Times) -> Run:
    """One run, with servers and a client of its own."""
    with servers() as endpoints, child("benchmarks.balance", "--client", rule) as client:
        client.tell(endpoints=endpoints, slowed=times.slowed, healed=times.healed, end=times.end)
        return Run(rule, [(*one,) for one in client.hear(times.end + 60.0)["calls"]])  # type: ignore[misc]  # a tuple of what JSON has


def table(runs: list[Run], times: Times) -> str:
    """In Markdown."""
    lines = [
        "| rule | answered | p50 | p99 | p99.9 | p99 while one is slow |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for run in runs:
        of_all = [f"{1_000 * run.percentile(share):,.0f} ms" for share in (0.5, 0.99, 0.999)]
        slowed = f"{1_000 * run.percentile(0.99, times.slowed, times.healed):,.0f} ms"
        lines.append(f"| `{run.rule}` | {run.success:.2f} % | {' | '.join(of_all)} | {slowed} |")
    return "\n".join(lines)


def plot(runs: list[Run], times: Times) -> str:
    """The p99 of each second, by rule, as SVG."""
    seconds = range(int(times.end))
    lines = [
        Line(run.rule, [(at + 0.5, 1_000 * run.percentile(0.99, at, at + 1.0)) for at in seconds])
        for run in runs
    ]
    return draw(
        lines,
        title="99th percentile of the calls of each second, in milliseconds",
        shade=(times.slowed, times.healed, "one of eleven servers takes 2 s"),
    )


def write_docs(text: str) -> None:
    """Put the table into the page, between its marks."""
    page = PAGE.read_text()
    begin, end = "<!-- measured -->\n", "<!-- /measured -->"
    head, _, rest = page.partition(begin)
    PAGE.write_text(f"{head}{begin}{text}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balance")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", metavar="RULE", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run (60)")
    parser.add_argument("--write-docs", action="store_true", help="write docs/balancing.md and its plot")
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    if given.client:
        told = json.loads(sys.stdin.readline())
        endpoints = told.pop("endpoints")
        print(json.dumps({"calls": call(given.client, endpoints, Times(**told)).calls}), flush=True)
        return
    times = Times(given.seconds / 6, given.seconds * 4 / 6, given.seconds)
    runs = [measure(rule, times) for rule in RULES]
    text = table(runs, times)
    print(text)
    if given.write_docs:
        write_docs(text)
        PLOT.write_text(plot(runs, times))


if __name__ == "__main__":
    main()
