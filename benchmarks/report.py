"""How results are shown: a table for people, JSON for programs, a page for the documentation.

Must not measure or compute: every figure comes from a Row as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.harness import Measurement, Settings
from benchmarks.summary import Row, costs, verdicts
from benchmarks.usage import MIB
from benchmarks.workloads import WORKLOADS, Workload

HOW_TO_READ = """\
## How to read it

- Compare ratios, not rates. A rate belongs to one machine on one day; a ratio was taken within the
  rounds of one run, in which all peers take turns.
- The floor is a plain blocking pyzmq DEALER/ROUTER echo that packs and unpacks the events of
  zerorpc v3 with `send_multipart` and `recv_multipart`, and does nothing else. Its "100 callers"
  are one loop that keeps 100 calls in flight. It has no streams, so their ratio is to zerorpc.
- mesh and zerorpc run a greenlet for each caller, mesh.aio (asyncio), mesh.uvloop (the same on uvloop) and
  grpc.aio a task; the server of mesh.threads runs its handlers in 8 native threads. RPyC keeps 100
  `async_` calls in flight from one thread, and reads a stream with its own `buffiter`, up to 1,000 items
  a call.
  grpc.aio carries msgpack values through generic handlers. All run with their default settings,
  over TCP on the loopback interface.
- Each figure is the median of the rounds, and the range is the lowest and the highest of them. A
  ratio is the median of the rounds' ratios, which need not be the ratio of the medians.
- CPU is user and system time of the whole process, all its threads, over the measured span. Peak
  memory is the most that a process had resident, start to end; each measurement has a fresh server
  and a fresh client.
- Hubs: `proxy` is libzmq's own proxy in C between a ROUTER and a DEALER, to which the workers connect,
  as to the anonymous queue; with the queue and the majordomo hub the same workers register. Client and
  workers are mesh. Events and jobs are sent and received by one loop of plain sockets, beside libzmq's
  proxies of those socket types. The columns of the server are those of the process in between.
- A MiB/s counts each echoed MiB once, though it travels both ways. RPyC compresses large values
  unless told otherwise, and does so here.
"""

HEADINGS = (
    "peer",
    "{unit}",
    "range",
    "/ {reference}",
    "range",
    "client µs/{per}",
    "{server} µs/{per}",
    "client MiB",
    "{server} MiB",
)


def as_text(rows: Sequence[Row]) -> str:
    """Aligned tables, one for each workload, and the targets."""
    parts = []
    for workload, group in _by_workload(rows):
        table = [_headings(workload), *map(_cells, group)]
        widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
        lines = [_aligned(line, widths) for line in table]
        parts.append("\n".join([workload.title, *lines]))
    parts.append("\n".join(_verdict_lines(rows)))
    return "\n\n".join(filter(None, parts))


def as_json(
    rows: Sequence[Row],
    measurements: Iterable[Measurement],
    settings: Settings,
    facts: Mapping[str, str],
    date: str,
) -> dict[str, Any]:
    return {
        "date": date,
        "machine": dict(facts),
        "settings": asdict(settings),
        "rows": [asdict(row) for row in rows],
        "targets": [
            {**asdict(target), "reached": ratio, "met": ratio >= target.at_least}
            for target, ratio in verdicts(rows)
        ],
        "ceilings": [
            {**asdict(ceiling), "reached": cost, "met": cost <= ceiling.at_most}
            for ceiling, cost in costs(rows)
        ],
        "measurements": [asdict(one) for one in measurements],
    }


def as_markdown(
    rows: Sequence[Row], settings: Settings, facts: Mapping[str, str], date: str, sections: Iterable[str] = ()
) -> str:
    """The page for the documentation. sections: what the other benchmarks wrote, such as that of memory."""
    parts = [
        "# Benchmarks",
        f"Written by `python -m benchmarks --write-docs` on {date}: {settings.rounds} interleaved rounds,"
        f" {settings.seconds:g} s a measurement after {settings.warmup:g} s of warm-up.",
    ]
    for workload, group in _by_workload(rows):
        lines = [_headings(workload), ("---", *["--:"] * (len(HEADINGS) - 1)), *map(_cells, group)]
        parts.append(f"## {workload.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    reached = "\n".join(f"- {line}" for line in _verdict_lines(rows))
    if reached:
        parts.append(f"## What mesh must reach\n\n{reached}")
    parts += sections
    machine = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts += [HOW_TO_READ.rstrip(), f"## The machine\n\n{machine}"]
    return "\n\n".join(parts) + "\n"


def _by_workload(rows: Sequence[Row]) -> list[tuple[Workload, list[Row]]]:
    names = dict.fromkeys(row.workload for row in rows)
    return [(WORKLOADS[name], [row for row in rows if row.workload == name]) for name in names]


def _headings(workload: Workload) -> tuple[str, ...]:
    names = {"unit": workload.unit, "reference": workload.reference, "per": workload.per}
    return tuple(heading.format(server=workload.server, **names) for heading in HEADINGS)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = row.ratio
    return (
        row.peer,
        f"{row.rate.median:,.0f}",
        f"{row.rate.low:,.0f} to {row.rate.high:,.0f}",
        f"{ratio.median:.2f}" if ratio else "-",
        f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio else "-",
        f"{row.client_cpu_us:,.1f}",
        f"{row.server_cpu_us:,.1f}",
        f"{row.client_peak / MIB:.0f}",
        f"{row.server_peak / MIB:.0f}",
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    return "  " + "  ".join([line[0].ljust(len(first)), *rest])


def _verdict_lines(rows: Sequence[Row]) -> list[str]:
    ratios = [
        f"{_subject(target.workload, target.peer)}: {ratio:.2f} of {WORKLOADS[target.workload].reference},"
        f" at least {target.at_least:g} wanted: {'reached' if ratio >= target.at_least else 'MISSED'}"
        for target, ratio in verdicts(rows)
    ]
    return ratios + [
        f"{_subject(ceiling.workload, ceiling.peer)}: {cost:.1f} µs of the hub's CPU for each call,"
        f" at most {ceiling.at_most:g} wanted: {'reached' if cost <= ceiling.at_most else 'MISSED'}"
        for ceiling, cost in costs(rows)
    ]


def _subject(workload: str, peer: str) -> str:
    title = WORKLOADS[workload].title
    return title if peer == "mesh" else f"{title}, {peer}"
