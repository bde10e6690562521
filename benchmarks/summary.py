"""From measurements to rows: medians, spreads, ratios, and what the project promises of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.harness import Measurement
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One peer at one workload. CPU in µs for each call or item, peaks in bytes.

    ratio: to the workload's reference peer, round by round, so that what slows a whole round
    cancels out; None where the reference was not measured.
    """

    workload: str
    peer: str
    rounds: int
    rate: Spread
    ratio: Spread | None
    client_cpu_us: float
    server_cpu_us: float
    client_peak: int
    server_peak: int


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio that a peer of ours must reach."""

    workload: str
    at_least: float
    peer: str = "mesh"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the server of a peer of ours may take, in µs of CPU for each call."""

    workload: str
    peer: str
    at_most: float


TARGETS = (
    Target("concurrent", 1.0),
    Target("sequential", 0.95),
    Target("concurrent", 1.1, "mesh.aio"),
    Target("sequential", 0.85, "mesh.aio"),
    Target("stream", 4.0),
    Target("hub", 0.65, "queue"),
    Target("hub", 0.55, "majordomo"),
    Target("hub", 0.95, "anonymous"),
    Target("events", 0.95, "forwarder"),
    Target("jobs", 0.95, "streamer"),
)
CEILINGS = (Ceiling("hub", "queue", 25.0), Ceiling("hub", "majordomo", 25.0))


def summarise(measurements: Iterable[Measurement]) -> list[Row]:
    """One row for each workload and peer, in the order in which they first come."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.workload, one.peer), []).append(one)
    return [
        _row(group, groups.get((workload, WORKLOADS[workload].reference), ()))
        for (workload, _), group in groups.items()
    ]


def _row(group: Sequence[Measurement], reference: Sequence[Measurement]) -> Row:
    base = {one.round: one.rate for one in reference}
    ratios = [one.rate / base[one.round] for one in group if one.round in base]
    return Row(
        workload=group[0].workload,
        peer=group[0].peer,
        rounds=len(group),
        rate=Spread.of([one.rate for one in group]),
        ratio=Spread.of(ratios) if ratios else None,
        client_cpu_us=median(one.client_cpu / one.count * 1e6 for one in group),
        server_cpu_us=median(one.server_cpu / one.count * 1e6 for one in group),
        client_peak=max(one.client_peak for one in group),
        server_peak=max(one.server_peak for one in group),
    )


def verdicts(rows: Iterable[Row]) -> list[tuple[Target, float]]:
    """Each target whose ratio was measured, with the ratio that was reached."""
    reached = {(row.workload, row.peer): row.ratio.median for row in rows if row.ratio}
    named = {(target.workload, target.peer): target for target in TARGETS}
    return [(target, reached[name]) for name, target in named.items() if name in reached]


def costs(rows: Iterable[Row]) -> list[tuple[Ceiling, float]]:
    """Each ceiling whose peer was measured, with what its server took."""
    taken = {(row.workload, row.peer): row.server_cpu_us for row in rows}
    named = {(ceiling.workload, ceiling.peer): ceiling for ceiling in CEILINGS}
    return [(ceiling, taken[name]) for name, ceiling in named.items() if name in taken]
