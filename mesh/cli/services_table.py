"""What `mesh services` shows: a line for each endpoint, or the same as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mesh.cli.client_view import Outlook
from mesh.cli.health import UP, EndpointHealth
from mesh.cli.output import Printer
from mesh.cli.screen import show
from mesh.names.model import Endpoint, Service

HEAD = (
    "NAME",
    "HEALTH",
    "MS",
    "TYPE",
    "WORKERS",
    "SHARE",
    "PRIORITY",
    "WEIGHT",
    "TTL",
    "ENDPOINT",
    "SOURCE",
)
# What a narrow terminal can do without, the first to go first.
OPTIONAL = ("SOURCE", "TTL", "WEIGHT", "PRIORITY", "WORKERS", "TYPE", "SHARE")
COLOURS = {
    "up": "green",
    "down": "red",
    **dict.fromkeys(("full", "silent", "no workers", "paused"), "yellow"),
}


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """One endpoint of a service as it is now, or one service of those that its calls are split between."""

    endpoint: str
    kind: str
    health: str
    weight: int
    priority: int = 0
    ms: float | None = None
    workers: int | None = None
    share: float | None = None
    ejected: float | None = None
    ttl: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    source: str = ""

    @property
    def is_up(self) -> bool:
        return self.health in UP


@dataclass(frozen=True, slots=True)
class Shown:
    """A service and what was found of it."""

    service: Service
    places: Sequence[ShownEndpoint]

    @property
    def is_up(self) -> bool:
        """Whether it can be called, by one of its endpoints at least."""
        return any(place.is_up for place in self.places)

    @property
    def states(self) -> str:
        """What its endpoints are, each state once."""
        states = ["can't be asked" if place.health == "-" else place.health for place in self.places]
        return ", ".join(dict.fromkeys(states))


def place_of(service: Service, endpoint: Endpoint, health: EndpointHealth, outlook: Outlook) -> ShownEndpoint:
    return ShownEndpoint(
        health.endpoint,
        "hub" if endpoint.hub else endpoint.type,
        health.state,
        endpoint.weight,
        endpoint.priority,
        health.ms,
        health.workers,
        outlook.share,
        outlook.ejected,
        endpoint.ttl,
        endpoint.labels,
        endpoint.source or service.source,
    )


def place_of_part(name: str, weight: int, total: int, part: Shown | None, source: str) -> ShownEndpoint:
    """One service of a split; part: what was found of it, None where nobody has it."""
    if part is None:
        return ShownEndpoint(name, "split", "unknown", weight, share=weight / total, source=source)
    best = min(part.places, key=lambda place: (not place.is_up, place.ms is None, place.ms or 0.0))
    return ShownEndpoint(name, "split", best.health, weight, ms=best.ms, share=weight / total, source=source)


def show_all(printer: Printer, shown: Sequence[Shown], watch: bool) -> None:
    if printer.as_json:
        printer.value([_jsonable(one) for one in shown])
        return
    rows = [row for one in shown for row in _rows(one, repeat=not printer.tty)]
    show(printer, printer.table(HEAD, rows, optional=OPTIONAL, colours=COLOURS), watch)


def _rows(shown: Shown, repeat: bool) -> Iterator[Sequence[str]]:
    """One row an endpoint. repeat: name the service in each row, not only in its first."""
    for number, place in enumerate(shown.places):
        first = repeat or number == 0
        yield (
            shown.service.name if first else "",
            place.health if place.ejected is None else f"ejected {place.ejected:.0f} s",
            "-" if place.ms is None else f"{place.ms:.1f}",
            place.kind,
            "-" if place.workers is None else str(place.workers),
            "-" if place.share is None else f"{place.share:.0%}",
            str(place.priority),
            str(place.weight),
            "-" if place.ttl is None else f"{place.ttl:g}",
            place.endpoint,
            _short(place.source, repeat) if first else "",
        )


def _short(source: str, whole: bool) -> str:
    if whole:
        return source
    with suppress(OSError):  # the current folder is gone
        return source.removeprefix(os.getcwd() + os.sep)
    return source


def _jsonable(shown: Shown) -> dict[str, Any]:
    places = shown.places
    return {
        "name": shown.service.name,
        "source": shown.service.source,
        "type": places[0].kind if places else "router",
        # A worker may have registered with several of the hubs.
        "workers": max((one.workers for one in places if one.workers is not None), default=None),
        "endpoints": [
            {
                "endpoint": one.endpoint,
                "health": one.health,
                "ms": one.ms,
                "workers": one.workers,
                "type": one.kind,
                "share": one.share,
                "priority": one.priority,
                "weight": one.weight,
                "ttl": one.ttl,
                "ejected": one.ejected,
                "labels": dict(one.labels),
                "source": one.source,
            }
            for one in places
        ],
    }
