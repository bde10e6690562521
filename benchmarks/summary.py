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
    """A ratio that mesh must reach."""

    workload: str
    at_least: float


TARGETS = (Target("concurrent", 1.0), Target("sequential", 0.95), Target("stream", 4.0))


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
    """Each target whose ratio was measured, with the ratio that mesh reached."""
    reached = {row.workload: row.ratio.median for row in rows if row.peer == "mesh" and row.ratio}
    return [(target, reached[target.workload]) for target in TARGETS if target.workload in reached]
