"""`python -m benchmarks.memory`: does a mesh client or server grow with use?

One client makes many calls, then many clients of another process come and go, all against one
server. Resident memory and open files are read before and after, each time after a warm-up of a
twentieth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import usage
from benchmarks.harness import BenchmarkError, Child, child
from benchmarks.peers import PEERS
from benchmarks.usage import MIB

LIMIT_MIB = 10.0
LIMIT_FILES = 5
SETTLE_SECONDS = 5.0
# No call or client takes longer than this on any machine worth measuring on.
SLOWEST = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    rss: int
    files: int

    @classmethod
    def of(cls, process: Child) -> Usage:
        return cls(usage.rss(process.pid), usage.open_files(process.pid))


@dataclass(frozen=True, slots=True)
class Growth:
    """What one process used before and after."""

    label: str
    before: Usage
    after: Usage

    @property
    def mib(self) -> float:
        return (self.after.rss - self.before.rss) / MIB

    @property
    def files(self) -> int:
        return self.after.files - self.before.files

    @property
    def within(self) -> bool:
        return self.mib <= LIMIT_MIB and self.files <= LIMIT_FILES


def measure(calls: int, clients: int) -> Iterator[Growth]:
    """Both parts against one server, each as soon as it is known, and the server's growth over both."""
    with child("benchmarks.child", "serve", "mesh") as server:
        (endpoint,) = server.hear(30.0)["endpoints"]
        called = _part("calls", calls, f"{calls:,} calls by one client", server, endpoint)
        yield from called
        came = _part("clients", clients, f"{clients:,} clients come and gone", server, endpoint)
        yield from came
        yield Growth("server, over both", called[1].before, came[1].after)


def _part(role: str, count: int, label: str, server: Child, endpoint: str) -> tuple[Growth, Growth]:
    print(f"{label} ...", file=sys.stderr)
    with child("benchmarks.memory_child", role) as caller:
        caller.tell(endpoint=endpoint)
        _do(caller, max(1, count // 20))
        before = Usage.of(caller), Usage.of(server)
        _do(caller, count)
        for process, usage_before in zip((caller, server), before, strict=True):
            _settle(process, usage_before.files)
        after = Usage.of(caller), Usage.of(server)
    return Growth(f"{label}: client", before[0], after[0]), Growth(f"{label}: server", before[1], after[1])


def _do(caller: Child, count: int) -> None:
    caller.tell(count=count)
    caller.hear(30.0 + count * SLOWEST)


def _settle(process: Child, files: int) -> None:
    """Give it a moment: a server notices later that clients have gone, and a client's sockets are closed by
    libzmq's own thread.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while usage.open_files(process.pid) > files and time.monotonic() < end:
        time.sleep(0.05)


def as_text(growths: Sequence[Growth]) -> str:
    return "\n".join(_lines(growths, "{:<44} {:>12} {:>12} {:>8}   {:<12} {}".format))


def as_markdown(growths: Sequence[Growth]) -> str:
    """The section for the documentation."""
    row = "| {} | {} | {} | {} | {} | {} |".format
    heading, *rest = _lines(growths, row)
    return "\n".join(["## Memory", "", heading, "|---|--:|--:|--:|--:|---|", *rest])


def _lines(growths: Sequence[Growth], line: Callable[..., str]) -> Iterator[str]:
    yield line("", "MiB before", "MiB after", "growth", "open files", f"at most {LIMIT_MIB:g} MiB")
    for one in growths:
        yield line(
            one.label,
            f"{one.before.rss / MIB:.1f}",
            f"{one.after.rss / MIB:.1f}",
            f"{one.mib:+.1f}",
            f"{one.before.files} to {one.after.files}",
            "within" if one.within else "OVER",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limits. 1: something grew, or could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description="does mesh grow with use?"
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    missing = PEERS["mesh"].missing()
    if missing:
        print(missing, file=sys.stderr)
        return 1
    growths: list[Growth] = []
    failure = None
    try:
        growths.extend(measure(options.calls, options.clients))
    except BenchmarkError as error:
        failure = error
    print(as_text(growths))
    if failure:
        print(f"the rest could not be measured: {failure}", file=sys.stderr)
        return 1
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(growths) + "\n")
    return 0 if all(one.within for one in growths) else 1


if __name__ == "__main__":
    sys.exit(main())
