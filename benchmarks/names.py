"""`python -m benchmarks.names`: what a services.yml of 20,000 names costs a `mesh call`.

The same call is made by a name that stands alone in its file and by one that follows on 20,000 others,
in turns, each time by a process of its own, as a shell does.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import BenchmarkError, child
from benchmarks.peers import PEERS

NAMES = 20_000
LIMIT_SECONDS = 0.5
ROUNDS = 7
SLOWEST = 60.0
"""Seconds that one call may take."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of each call with one name, and with NAMES more in the file."""

    one: Sequence[float]
    many: Sequence[float]

    @property
    def seconds(self) -> float:
        """What the names cost, as the median of the rounds' differences."""
        return statistics.median(many - one for one, many in zip(self.one, self.many, strict=True))

    @property
    def within(self) -> bool:
        return self.seconds < LIMIT_SECONDS


def measure(names: int, rounds: int) -> Cost:
    with child("benchmarks.child", "serve", "mesh") as server, tempfile.TemporaryDirectory() as folder:
        (endpoint,) = server.hear(30.0)["endpoints"]
        own = f"users: {endpoint}\n"
        others = "".join(f"name{number}: tcp://10.0.0.5:4242\n" for number in range(names))
        files = Path(folder, "one.yml"), Path(folder, "many.yml")
        for file, text in zip(files, (own, others + own), strict=True):
            file.write_text(text)
        for file in files:
            _call(file)
        times = [(_call(files[0]), _call(files[1])) for _ in range(rounds)]
    return Cost([one for one, _ in times], [many for _, many in times])


def _call(file: Path) -> float:
    """Seconds that the command takes, from its start to its end."""
    command = [sys.executable, "-m", "mesh.cli.main", "call", "--services", str(file), "users", "echo", "1"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=SLOWEST)
    took = time.perf_counter() - began
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return took


def as_text(cost: Cost, names: int) -> str:
    one, many = statistics.median(cost.one), statistics.median(cost.many)
    within = "within" if cost.within else "OVER"
    return (
        f"mesh call with one name {one:.2f} s, with {names:,} others {many:.2f} s: "
        f"{cost.seconds:.2f} s more, below {LIMIT_SECONDS:g} wanted: {within}"
    )


def as_markdown(cost: Cost, names: int) -> str:
    """The section for the documentation."""
    return f"## Names\n\n- {as_text(cost, names)}"


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limit. 1: over it, or it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.names", description="what do names in a services.yml cost a call?"
    )
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    if missing := PEERS["mesh"].missing():
        print(missing, file=sys.stderr)
        return 1
    try:
        cost = measure(options.names, options.rounds)
    except BenchmarkError as error:
        print(f"could not be measured: {error}", file=sys.stderr)
        return 1
    print(as_text(cost, options.names))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(cost, options.names) + "\n")
    return 0 if cost.within else 1


if __name__ == "__main__":
    sys.exit(main())
