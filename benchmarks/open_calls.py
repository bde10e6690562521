"""`python -m benchmarks.open_calls`: how long `mesh ps` takes where many processes have many open calls.

Each server is a process; one more makes all the calls, none of which comes to an end. The time is that of the
command, from its start to its end, with its table going to a file.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.harness import ROOT, BenchmarkError

PROCESSES = 100
CALLS = 100
ROUNDS = 5
LIMIT = 1.5
"""Seconds that it may take."""
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Listed:
    """What the rounds took, in seconds of the clock and of the command's processor. lines: that it wrote."""

    processes: int
    calls: int
    seconds: Sequence[float]
    cpu: Sequence[float]
    lines: int


def serve(number: int) -> None:
    """So many processes with a server each, forked before anything begins; prints their endpoints."""
    for _ in range(number):
        if os.fork() == 0:
            _one_server()
    signal.pause()


def _one_server() -> None:
    import gevent

    import mesh

    class Held:
        def hold(self, number: int) -> None:
            gevent.sleep(1e6)

    server = mesh.Server(Held(), name="held", pool_size=10_000)
    sys.stdout.write(f"{server.bind('tcp://127.0.0.1:*')}\n")
    sys.stdout.flush()
    server.run()


def call(endpoints: Sequence[str], number: int) -> None:
    """So many calls of each, for good."""
    import gevent

    import mesh

    for endpoint in endpoints:
        client = mesh.connect(endpoint, timeout=1e6)
        for at in range(number):
            gevent.spawn(client.hold, at)
    gevent.sleep(1e6)


def measure(processes: int, calls: int, rounds: int) -> Listed:
    """Raises BenchmarkError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        said = stack.enter_context((folder / "endpoints").open("w+"))
        _role(stack, said, "serve", processes)
        endpoints = _endpoints(said, processes)
        registry = "".join(f"held-{at}: {endpoint}\n" for at, endpoint in enumerate(endpoints))
        (folder / "services.yml").write_text(registry)
        _role(stack, said, "call", calls, *endpoints)
        deadline = time.monotonic() + START_SECONDS
        while _listed(folder)[2] < processes * calls:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{processes * calls} calls were not open in {START_SECONDS:g} s")
        taken = [_listed(folder) for _ in range(rounds)]
        seconds, cpu, lines = zip(*taken, strict=True)
        return Listed(processes, calls, seconds, cpu, min(lines))


def _role(stack: ExitStack, said: IO[str], *role: object) -> None:
    """A group of processes, which is killed at the end."""
    command = [sys.executable, "-m", "benchmarks.open_calls", *map(str, role)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=said, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)


def _endpoints(said: IO[str], number: int) -> list[str]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        said.seek(0)
        found = re.findall(r"^tcp://\S+$", said.read(), re.MULTILINE)
        if len(found) == number:
            return found
        time.sleep(0.1)
    raise BenchmarkError(f"{number} servers did not begin in {START_SECONDS:g} s")


def _listed(folder: Path) -> tuple[float, float, int]:
    """One `mesh ps`: its seconds, those of its processor, and the lines that it wrote."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "mesh.cli.main", "ps"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, done.stdout.count(b"\n")


def report(one: Listed) -> list[str]:
    seconds, cpu = statistics.median(one.seconds), statistics.median(one.cpu)
    return [
        "| processes | open calls | `mesh ps`, median | wanted | its processor's time |",
        "|--:|--:|--:|--:|--:|",
        f"| {one.processes} | {one.lines:,} | {seconds:.2f} s | {LIMIT} s | {cpu:.2f} s |",
    ]


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["serve"]:
        serve(int(arguments[1]))
    if arguments[:1] == ["call"]:
        call(arguments[2:], int(arguments[1]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_calls", description=__doc__)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args(arguments)
    lines = report(measure(options.processes, options.calls, options.rounds))
    print("\n".join(lines))
    if options.write:
        options.write.write_text("\n".join(["## Open calls: how soon they are listed", "", *lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
