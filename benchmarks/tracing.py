"""`python -m benchmarks.tracing`: how many records a second a collector takes in and stores, with what
memory, and how long it takes to show a trace.

Several processes send batches of 1,000 records, each as soon as the one before is acknowledged, and send
again what is refused. A trace has ten records of three processes. A store has all when nothing waits to be
written any more; what is lost is told. Redis is one of its own.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

from benchmarks import usage
from benchmarks.harness import ROOT, BenchmarkError
from benchmarks.usage import MIB

STORES = ("sqlite", "redis", "memory")
TARGETS = {"sqlite": 50_000, "redis": 60_000}
MOST_MIB = 200
SENDERS = 2
RECORDS = 1_000_000
SPANS = (10_000, 100_000)
REDIS_PORT = 16_399
START_SECONDS = 30.0
HEADINGS = (
    "store",
    "records/s",
    "written/s",
    "lost",
    "sent again",
    "peak MiB",
    "CPU µs/record",
    "B/record",
)


@dataclass(frozen=True, slots=True)
class Intake:
    """taken: seconds until all was acknowledged; written: until all was in the store. cpu: seconds of the
    collector. peak: bytes that it had resident. size: bytes of the store.
    """

    records: int
    taken: float
    written: float
    lost: int
    again: int
    cpu: float
    peak: int
    size: int


def batches(number: int, seed: int) -> Iterator[bytes]:
    """So many batches of three processes whose calls are in the same traces."""
    import random

    from mesh.core.record_rows import KeptRecords
    from mesh.core.trace_batch import About, pack

    chance = random.Random(seed)
    names = ("web", "orders", "stock")
    identities = [chance.randbytes(16) for _ in names]
    rows = {name: KeptRecords(time.monotonic) for name in names}
    sent = 0
    counts = dict.fromkeys(names, 0)
    while sent < number:
        trace, root = chance.randbytes(16).hex(), chance.randbytes(8).hex()
        call = ("orders", "place", 10.0, 10.001, 10.2, "OK", "tcp://10.0.0.1:4242")
        rows["web"].add(1, trace, root, "", *call)
        rows["orders"].add(2, trace, root, "", *call)
        for method in ("find", "take", "price", "log"):
            span = chance.randbytes(8).hex()
            call = ("stock", method, 10.01, 10.011, 10.02, "OK", "tcp://10.0.0.2:4242")
            rows["orders"].add(1, trace, span, root, *call)
            rows["stock"].add(2, trace, span, "", *call)
        for place, name in enumerate(names):
            if len(rows[name]) >= 996 and sent < number:
                counts[name] += 1
                about = About(name, f"host-{place}", 1, f"boot-{place}", "")
                some = rows[name].take(len(rows[name]))
                yield pack(identities[place], counts[name], time.time(), 20.0, about, some, [], 0)
                sent += 1


def send(endpoint: str, number: int, seed: int, ready: Any, go: Any, told: Any) -> None:
    """One process that sends."""
    import mesh

    made = list(batches(number, seed))
    again = 0
    with mesh.connect(endpoint, timeout=60) as client:
        client.status()
        ready.release()
        go.wait()
        for batch in made:
            while True:
                try:
                    client.records(batch)
                    break
                except mesh.RemoteError as error:
                    if error.name != "Overloaded":
                        raise
                    again += 1
                    time.sleep(0.05)
    told.put(again)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of its own, without persistence; its url."""
    program = shutil.which("redis-server")
    if program is None:
        raise BenchmarkError("redis-server is not installed: on Debian, apt-get install redis-server")
    options = ["--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen([program, *options, "--dir", str(folder)], stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(1.0)
            yield f"redis://127.0.0.1:{REDIS_PORT}/0"
        finally:
            process.terminate()


@contextmanager
def collector(store: str) -> Iterator[tuple[int, str]]:
    """A running `mesh collect`: its process id and endpoint."""
    program = [sys.executable, "-m", "mesh.cli.main", "collect"]
    command = [*program, "--bind", "tcp://127.0.0.1:*", "--store", store]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, cwd=ROOT, stdout=said) as process,
    ):
        try:
            yield process.pid, _endpoint(process, said)
        finally:
            process.terminate()


def _endpoint(process: subprocess.Popen[bytes], said: IO[str]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        said.seek(0)
        match = re.search(r"^collecting on (\S+)", said.read(), re.MULTILINE)
        if match:
            return match[1]
        time.sleep(0.05)
    raise BenchmarkError("the collector did not begin")


def measure(store: str, records: int) -> Intake:
    """Raises BenchmarkError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if store == "redis":
            with redis_server(folder) as url:
                return _measure(url, records)
        return _measure(str(folder / "traces.db") if store == "sqlite" else store, records)


def _measure(store: str, records: int) -> Intake:
    import mesh

    processes = get_context("spawn")
    ready, go, told = processes.Semaphore(0), processes.Event(), processes.Queue()
    number = max(records // 1_000 // SENDERS, 3)
    with collector(store) as (pid, endpoint), mesh.connect(endpoint, timeout=60) as client:
        senders = [
            processes.Process(target=send, args=(endpoint, number, seed, ready, go, told), daemon=True)
            for seed in range(SENDERS)
        ]
        for one in senders:
            one.start()
        for _ in senders:
            if not ready.acquire(timeout=START_SECONDS + records / 20_000):
                raise BenchmarkError("a sender did not begin")
        cpu, began = usage.cpu_seconds(pid), time.monotonic()
        go.set()
        again = sum(told.get(timeout=300) for _ in senders)
        taken = time.monotonic() - began
        while (status := client.status())["queued"]:
            time.sleep(0.02)
        written = time.monotonic() - began
        return Intake(
            status["records"], taken, written, status["lost"], again,
            usage.cpu_seconds(pid) - cpu, usage.peak_rss(pid), status["bytes"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """Seconds of `mesh trace`, from its start to its end. lines: that it wrote."""

    spans: int
    options: str
    seconds: float
    lines: int


def show(sizes: Sequence[int]) -> list[Shown]:
    """How long it takes to show traces of so many spans. Raises BenchmarkError."""
    import mesh

    taken = []
    with tempfile.TemporaryDirectory() as folder, collector(f"{folder}/traces.db") as (_, endpoint):
        for spans in sizes:
            trace_id, told = large_trace(spans)
            with mesh.connect(endpoint, timeout=60) as client:
                for batch in told:
                    client.records(batch)
            for options in ("", "--tree"):
                command = [sys.executable, "-m", "mesh.cli.main", "trace", trace_id, "--collector", endpoint]
                began = time.monotonic()
                done = subprocess.run([*command, *options.split()], cwd=ROOT, capture_output=True)
                seconds = time.monotonic() - began
                if done.returncode:
                    raise BenchmarkError(done.stderr.decode())
                taken.append(Shown(spans, options, seconds, done.stdout.count(b"\n")))
    return taken


def large_trace(spans: int) -> tuple[str, list[bytes]]:
    """A trace of calls of a few methods, with both sides, on hosts whose clocks are apart; in batches."""
    import random

    from mesh.core.record_rows import KeptRecords
    from mesh.core.trace_batch import About, pack

    chance = random.Random(spans)
    trace, root = chance.randbytes(16).hex(), chance.randbytes(8).hex()
    sides = [KeptRecords(time.monotonic) for _ in range(2)]
    made: list[bytes] = []

    def send(number: int) -> None:
        for side, kept in enumerate(sides):
            about = About("orders", f"host-{side}", 1, f"boot-{side}", "")
            some = kept.take(1_000)
            made.append(pack(bytes([side]) * 16, number, 1e9 + side, 0.0, about, some, [], 0))

    call = ("orders", "place", 0.0, 0.001, 100.0, "OK", "tcp://10.0.0.1:4242")
    sides[0].add(1, trace, root, "", *call)
    sides[1].add(2, trace, root, "", *call)
    parent = root
    for number in range(1, spans):
        if number % 1_000 == 0:
            send(number)
        span, at = chance.randbytes(8).hex(), (number - 1) * 99 / spans
        call = ("stock", f"m{chance.randrange(20)}", at, at + 1e-5, at + 5e-4, "OK", "tcp://10.0.0.2:4242")
        sides[0].add(1, trace, span, chance.choice((parent, root)), *call)
        sides[1].add(2, trace, span, "", *call)
        parent = span if number % 50 == 1 else parent
    send(spans)
    return trace, made


def _cells(store: str, one: Intake) -> tuple[str, ...]:
    return (
        store,
        f"{one.records / one.taken:,.0f}",
        f"{one.records / one.written:,.0f}",
        f"{one.lost:,}",
        f"{one.again:,}",
        f"{one.peak / MIB:.0f}",
        f"{one.cpu / one.records * 1e6:.1f}",
        f"{one.size / one.records:.0f}",
    )


def as_text(taken: Mapping[str, Intake], shown: Sequence[Shown]) -> str:
    table = [HEADINGS, *(_cells(store, one) for store, one in taken.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.rjust, line, widths)) for line in table]
    return "\n".join([*lines, *map(_sentence, shown)])


def _sentence(one: Shown) -> str:
    command = f"mesh trace ID {one.options}".strip()
    return f"`{command}` of {one.spans:,} spans, {one.lines:,} lines: {one.seconds:.2f} s"


def as_markdown(taken: Mapping[str, Intake], shown: Sequence[Shown]) -> str:
    """The section for the documentation."""
    lines = [HEADINGS, ("---", *["--:"] * (len(HEADINGS) - 1))]
    lines += [_cells(store, one) for store, one in taken.items()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    wanted = ", ".join(f"{number:,} with {store}" for store, number in TARGETS.items())
    told = "\n".join(f"- {_sentence(one)}" for one in shown)
    return (
        f"## A collector of traces\n\n{table}\n\n{SENDERS} processes send batches of 1,000 records on the "
        f"same machine, ten records a trace. Wanted are {wanted}, below {MOST_MIB} MiB.\n\n{told}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0: measured. 1: it could not be, or records were lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracing", description="how many records does a collector take?"
    )
    parser.add_argument("--only", nargs="+", choices=STORES, default=STORES, metavar="STORE")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--spans", nargs="*", type=int, default=SPANS, help="of traces that are shown")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    taken: dict[str, Intake] = {}
    for store in options.only:
        try:
            taken[store] = measure(store, options.records)
        except BenchmarkError as error:
            print(f"{store} could not be measured: {error}", file=sys.stderr)
            return 1
    try:
        shown = show(options.spans)
    except BenchmarkError as error:
        print(f"no trace could be shown: {error}", file=sys.stderr)
        return 1
    print(as_text(taken, shown))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(taken, shown) + "\n")
    return 1 if any(one.lost for one in taken.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
