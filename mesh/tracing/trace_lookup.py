"""One trace, as a collector is asked for it: by its id or the beginning of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mesh.errors import ConfigError, ServiceNotFound
from mesh.tracing.clocks import clock_of
from mesh.tracing.pieces import Read, read

WHOLE: Final = 32
"""Characters of an id that needs no looking for."""
MOST_ASKED: Final = 1_000
"""Processes of a trace of which is asked whether they have dropped records."""
MOST_SIDES: Final = 10_000
"""Sides of a trace that are looked at for when it ran by each clock, which need not be exact."""
MOST_NAMED: Final = 10

Ask = Callable[..., Any]


def look_up(ask: Ask, trace_id: str) -> Any:
    """What `Collector.trace` answers. ask: calls a method of the collector, by its name. Raises
    ServiceNotFound where there is no such trace, ConfigError where several begin so.
    """
    answer = ask("trace", trace_id)
    if not answer["pieces"] and len(trace_id) < WHOLE:
        found = ask("find", trace_id)
        if len(found) > 1:
            ids = ", ".join(found[:MOST_NAMED])
            raise ConfigError(f"{len(found)} traces or more begin with {trace_id!r}: {ids}")
        if found:
            answer = ask("trace", found[0])
    if not answer["pieces"]:
        raise ServiceNotFound(
            f"the collector has no trace {trace_id!r}: it was not sampled, is too old, or still to come"
        )
    return answer


def whole(answer: Any) -> Read:
    """The trace of such an answer. Of a large one that takes a second."""
    found = read(answer["id"], answer["pieces"])
    return found._replace(cut=found.cut + answer["cut"])


def completed(ask: Ask, found: Read) -> Read:
    """The same, with what else the collector knows of the time while it ran: how many records each of its
    processes had no room for, and how far their clocks were apart.
    """
    processes = found.processes[:MOST_ASKED]
    clocks = [clock_of(*process) for process in processes]
    numbers = {clock: number for number, clock in enumerate(clocks)}
    times: dict[str, list[float]] = {}
    for side in found.sides[:: len(found.sides) // MOST_SIDES + 1]:
        if side.process < len(clocks):
            clock = clocks[side.process]
            first, last = times.get(clock, (side.began, side.ended))
            times[clock] = [min(first, side.began), max(last, side.ended)]
    began = _time_of_day(min((first for first, _ in times.values()), default=0.0))
    ended = _time_of_day(max((last for _, last in times.values()), default=0.0))
    found = found._replace(dropped=ask("dropped", [identity for identity, _ in processes], began, ended))
    if len(times) < 2:
        return found
    places = [numbers[clock] for clock in times]
    told = ask("clocks", times)
    offsets = [(places[one], places[two], at, low, high) for one, two, at, low, high in told]
    return found._replace(offsets=offsets)


def _time_of_day(seconds: float) -> float:
    """One that the collector takes: a program's clock may say anything."""
    return min(max(seconds, 0.0), 9e10)
