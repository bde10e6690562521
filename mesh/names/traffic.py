"""What services.yml says of how calls go: `split` and `faults`, with errors that say where.

Pure, as entries.py, of which this is a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mesh.core.traffic import Faults, Split
from mesh.names import document
from mesh.names.document import Place
from mesh.names.model import MOST_WEIGHT, NAME_RULE, Service, is_service_name
from mesh.names.nodes import MappingNode, Node

MOST_PARTS: Final = 64
_FAULTS: Final = ("delay", "error", "drop")
_DELAY: Final = ("percent", "seconds")

Check = Callable[[Mapping[str, Service]], None]
"""Looks at a part of a file when all of it is known; raises ConfigError."""


def read_split(node: Node, place: Place) -> tuple[Split, Check]:
    """The split, and what is to be checked of the services that it names."""
    right = "must map services to weights, as in {users-v1: 95, users-v2: 5}"
    if not isinstance(node, MappingNode):
        raise place.wrong(node, f"{right}, and is {document.shown(node)}")
    if not 1 <= len(node.value) <= MOST_PARTS:
        raise place.wrong(node, f"{right}, of 1 to {MOST_PARTS} services, and has {len(node.value)}")
    where: dict[str, Node] = {}

    def weight(at: Place, key: Node, value: Node) -> int:
        if not is_service_name(at.name):
            raise place.wrong(key, f"{at.name[:80]!r} cannot name a service: {NAME_RULE}")
        where[at.name] = key
        return document.integer(value, at, 0, MOST_WEIGHT)

    parts = document.read_pairs(node, place, weight)
    if not any(parts.values()):
        raise place.wrong(node, "gives no service any calls: a weight above 0 is needed")

    def check(services: Mapping[str, Service]) -> None:
        for name, key in where.items():
            with place.mistakes:
                if problem := _problem_of_part(services.get(name)):
                    raise place.under(name).wrong(key, problem)

    return Split(tuple(parts.items())), check


def _problem_of_part(service: Service | None) -> str:
    """Why calls can't be split to this service; None for one that the file lacks, and DNS may have."""
    if service is None:
        return ""
    if service.split is not None:
        return f"is itself a split ({service.source}), and a split leads to services that are none"
    others = [one.type for one in service.endpoints if one.type != "router"]
    return f"is of type {others[0]!r} ({service.source}), which takes no calls" if others else ""


def read_faults(node: Node, place: Place) -> Faults:
    if not isinstance(node, MappingNode):
        right = "must be a mapping, as in {delay: {percent: 10, seconds: 0.5}, error: 1, drop: 1}"
        raise place.wrong(node, f"{right}, not {document.shown(node)}")
    values = document.read_pairs(node, place, _fault)
    delayed, delay = values.get("delay", (0.0, 0.0))
    faults = Faults(delayed, delay, values.get("error", 0.0), values.get("drop", 0.0))
    ended = round(faults.failed + faults.dropped, 9)
    if ended > 100:
        problem = (
            f"'error' and 'drop' may have 100 percent together, for a call ends once, and have {ended:g}"
        )
        raise place.wrong(node, problem)
    return faults


def _fault(at: Place, key: Node, node: Node) -> float | tuple[float, float]:
    if at.name not in _FAULTS:
        raise document.unknown_key(key, at, _FAULTS)
    return _delay(node, at) if at.name == "delay" else document.percent(node, at)


def _delay(node: Node, place: Place) -> tuple[float, float]:
    right = "must be a mapping with both, as in {percent: 10, seconds: 0.5}"
    if not isinstance(node, MappingNode):
        raise place.wrong(node, f"{right}, not {document.shown(node)}")
    values = document.read_pairs(node, place, _part_of_delay)
    if len(values) < len(_DELAY):
        raise place.wrong(node, right)
    return values["percent"], values["seconds"]


def _part_of_delay(at: Place, key: Node, node: Node) -> float:
    if at.name not in _DELAY:
        raise document.unknown_key(key, at, _DELAY)
    return document.percent(node, at) if at.name == "percent" else document.seconds(node, at)
