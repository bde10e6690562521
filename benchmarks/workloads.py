"""What is measured: each workload drives one client for a time and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from benchmarks.peers import Client
from benchmarks.usage import MIB

SMALL = b"x" * 100
LARGE = b"x" * MIB
CALLERS = 100
UNDER_WAY = 100
STREAM_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Workload:
    """unit: what is counted a second. per: what CPU time is divided by. reference: whom ratios are to.

    run: drives a client for so many seconds and counts. server: what the tables call the process that
    is measured beside the client.
    """

    name: str
    title: str
    unit: str
    per: str
    reference: str
    run: Callable[[Client, float], int]
    server: str = "server"


def _streams(client: Client, seconds: float) -> int:
    """Whole streams, one after the other, until the time is over; one at least."""
    end = perf_counter() + seconds
    count = 0
    while count == 0 or perf_counter() < end:
        arrived = client.stream(STREAM_ITEMS)
        if arrived != STREAM_ITEMS:
            raise RuntimeError(f"{arrived} of {STREAM_ITEMS} items arrived")
        count += arrived
    return count


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "sequential",
            "One call at a time, echo of 100 bytes",
            "calls/s",
            "call",
            "floor",
            lambda client, seconds: client.sequential(SMALL, seconds),
        ),
        Workload(
            "concurrent",
            f"{CALLERS} concurrent callers, echo of 100 bytes",
            "calls/s",
            "call",
            "floor",
            lambda client, seconds: client.concurrent(SMALL, CALLERS, seconds),
        ),
        Workload("stream", f"A stream of {STREAM_ITEMS:,} numbers", "items/s", "item", "zerorpc", _streams),
        Workload(
            "payload",
            "One call at a time, echo of 1 MiB",
            "MiB/s",
            "call",
            "floor",
            lambda client, seconds: client.sequential(LARGE, seconds),
        ),
        Workload(
            "hub",
            f"Through a hub to 2 workers, {CALLERS} concurrent callers, echo of 100 bytes",
            "calls/s",
            "call",
            "proxy",
            lambda client, seconds: client.concurrent(SMALL, CALLERS, seconds),
            server="hub",
        ),
        Workload(
            "hub-idle",
            "Through a hub to 2 workers, one call at a time, echo of 100 bytes",
            "calls/s",
            "call",
            "proxy",
            lambda client, seconds: client.sequential(SMALL, seconds),
            server="hub",
        ),
        Workload(
            "events",
            f"PUB/SUB through a hub, {UNDER_WAY} events of 100 bytes under way",
            "events/s",
            "event",
            "event-proxy",
            lambda client, seconds: client.concurrent(SMALL, UNDER_WAY, seconds),
            server="hub",
        ),
        Workload(
            "jobs",
            f"A pipeline through a hub, {UNDER_WAY} events of 100 bytes under way",
            "events/s",
            "event",
            "job-proxy",
            lambda client, seconds: client.concurrent(SMALL, UNDER_WAY, seconds),
            server="hub",
        ),
    )
}
