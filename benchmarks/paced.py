"""`python -m benchmarks.paced`: how long calls take while a client and its server are half busy.

100 callers make their calls at steady intervals, as many a second as half of what they reach when each calls
as soon as it is answered. That is found out first, for each peer and round, or given by --rate, which is for
comparing two versions of one peer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import PATIENCE_SECONDS, START_SECONDS, BenchmarkError, child
from benchmarks.peers import PEERS
from benchmarks.summary import Spread
from benchmarks.workloads import CALLERS

PACED = ("mesh", "mesh.aio", "mesh.uvloop")
ROUNDS = 5
SECONDS = 1.0
HEADINGS = ("peer", "calls/s", "p50 µs", "range", "p99 µs", "range")


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one round. rate: calls a second, as they were made. p50, p99: seconds of a call."""

    rate: float
    p50: float
    p99: float


def measure(peers: Sequence[str], rounds: int, seconds: float, rate: float) -> dict[str, list[Latency]]:
    """rate: calls a second, 0 for half of what a peer reaches. They take turns. Raises BenchmarkError."""
    taken: dict[str, list[Latency]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            taken[peer].append(_measure_once(peer, seconds, rate))
    return taken


def _measure_once(peer: str, seconds: float, rate: float) -> Latency:
    with (
        child("benchmarks.child", "serve", peer) as server,
        child("benchmarks.paced_child", peer, str(seconds), str(rate)) as client,
    ):
        client.tell(**server.hear(START_SECONDS))
        return Latency(**client.hear(2 * seconds + PATIENCE_SECONDS))


def _cells(peer: str, rounds: Sequence[Latency]) -> tuple[str, ...]:
    cells = [peer, f"{Spread.of([one.rate for one in rounds]).median:,.0f}"]
    for of in (lambda one: one.p50, lambda one: one.p99):
        spread = Spread.of([1e6 * of(one) for one in rounds])
        cells += [f"{spread.median:,.0f}", f"{spread.low:,.0f} to {spread.high:,.0f}"]
    return tuple(cells)


def as_text(taken: Mapping[str, Sequence[Latency]]) -> str:
    table = [HEADINGS, *(_cells(peer, rounds) for peer, rounds in taken.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in table)


def as_markdown(taken: Mapping[str, Sequence[Latency]]) -> str:
    """The section for the documentation."""
    lines = [HEADINGS, ("---", *["--:"] * (len(HEADINGS) - 1))]
    lines += [_cells(peer, rounds) for peer, rounds in taken.items()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"## {CALLERS} paced callers at half load, echo of 100 bytes\n\n{table}\n\n"
        f"Each caller calls at steady intervals, all together half as often as {CALLERS} that never pause. "
        "A call counts from its beginning to its answer."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0: measured. 1: it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paced", description="how long do calls take at half load?"
    )
    parser.add_argument("--only", nargs="+", choices=PACED, default=PACED, metavar="PEER")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one measurement")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="calls a second, in place of half of what each reaches"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    missing = [text for peer in options.only if (text := PEERS[peer].missing())]
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 1
    try:
        taken = measure(options.only, options.rounds, options.seconds, options.rate)
    except BenchmarkError as error:
        print(f"could not be measured: {error}", file=sys.stderr)
        return 1
    print(as_text(taken))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(taken) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
