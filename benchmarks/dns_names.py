"""`python -m benchmarks.dns_names`: what a name in DNS costs a client.

Two figures: what each call pays for a name that is known, and the longest time for which the loop of a
program stood still while a name of 1,000 records was looked up, beside what it stands still without that.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from unittest.mock import patch

import gevent

import mesh
from benchmarks.harness import START_SECONDS, BenchmarkError, child

RECORDS = 1_000
CACHED_LIMIT = 20e-6
GAP_LIMIT = 0.02
LOOKS = 2_000
SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """cached: seconds that a call pays for a known name. gap, idle: the longest seconds for which the loop
    did not turn, while the name was looked up again and again, and before.
    """

    cached: float
    gap: float
    idle: float

    @property
    def within(self) -> bool:
        return self.cached < CACHED_LIMIT and self.gap < GAP_LIMIT


def measure(records: int, seconds: float) -> Cost:
    with child("benchmarks.child", "serve", "mesh") as server:
        (endpoint,) = server.hear(START_SECONDS)["endpoints"]
        port = endpoint.rpartition(":")[2]
        with child("benchmarks.dns_server", str(records), port) as name_server:
            idle = _longest_gap(seconds / 5)
            where = {"MESH_DOMAIN": "mesh.test", "MESH_DNS": name_server.hear(START_SECONDS)["address"]}
            with (
                patch.dict(os.environ, where),
                NamedTemporaryFile(suffix=".yml") as no_names,
                connect(no_names.name) as client,
            ):
                gap = _longest_gap(seconds)
                try:
                    client.echo(1)
                except mesh.MeshError as error:
                    raise BenchmarkError(str(error)) from None
                return Cost(_cached(client), gap, idle)


def connect(services: str) -> mesh.Client:
    return mesh.connect("users", services=services, timeout=START_SECONDS)


def _longest_gap(seconds: float) -> float:
    """Seconds for which a loop that has nothing to do but to sleep for a millisecond has slept too long."""
    longest, now = 0.0, time.perf_counter()
    end = now + seconds
    while now < end:
        before = now
        gevent.sleep(0.001)
        now = time.perf_counter()
        longest = max(longest, now - before - 0.001)
    return longest


def _cached(client: mesh.Client) -> float:
    """Seconds of one look at a name that is known, as each call does it; of the quickest of several times."""
    source = client._target.connections._source
    assert source is not None
    times = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(LOOKS):
            source.refresh(time.monotonic())
        times.append((time.perf_counter() - began) / LOOKS)
    return min(times)


def as_lines(cost: Cost, records: int) -> list[str]:
    within = [
        "within" if cost.cached < CACHED_LIMIT else "OVER",
        "within" if cost.gap < GAP_LIMIT else "OVER",
    ]
    return [
        f"a name that is known costs a call {1e6 * cost.cached:.1f} µs, below {1e6 * CACHED_LIMIT:g} wanted: "
        f"{within[0]}",
        f"while a name of {records:,} records is looked up every second, the loop stands still for "
        f"{1000 * cost.gap:.1f} ms at most (without that {1000 * cost.idle:.1f}), below {1000 * GAP_LIMIT:g} "
        f"wanted: {within[1]}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limits. 1: over one, or it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dns_names", description="what does a name in DNS cost a client?"
    )
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    try:
        cost = measure(options.records, options.seconds)
    except BenchmarkError as error:
        print(f"could not be measured: {error}", file=sys.stderr)
        return 1
    lines = as_lines(cost, options.records)
    print("\n".join(lines))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text("## Names in DNS\n\n" + "".join(f"- {line}\n" for line in lines))
    return 0 if cost.within else 1


if __name__ == "__main__":
    sys.exit(main())
