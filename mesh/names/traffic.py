"""What services.yml says of how calls go: `split` and `faults`, with errors that say where.

Pure, as entries.py, of which this is a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mesh.core.traffic import Faults, Split
from mesh.errors import ConfigError
from mesh.names import document
from mesh.names.document import Place
from mesh.names.model import MOST_WEIGHT, NAME_RULE, Service, is_service_name, nearest
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
    parts: list[tuple[str, int]] = []
    where: dict[str, Node] = {}
    for name, key, value in document.pairs(node, place):
        if not is_service_name(name):
            raise place.wrong(key, f"{name[:80]!r} cannot name a service: {NAME_RULE}")
        parts.append((name, document.integer(value, place.under(name), 0, MOST_WEIGHT)))
        where[name] = key
    if not any(weight for _, weight in parts):
        raise place.wrong(node, "gives no service any calls: a weight above 0 is needed")

    def check(services: Mapping[str, Service]) -> None:
        for name, key in where.items():
            problem = _problem_of_part(services.get(name))
            if problem:
                raise place.under(name).wrong(key, problem)

    return Split(tuple(parts)), check


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
    values: dict[str, float] = {}
    for key, key_node, value in document.pairs(node, place):
        at = place.under(key)
        if key == "delay":
            values["delayed"], values["delay"] = _delay(value, at)
        elif key in _FAULTS:
            values["failed" if key == "error" else "dropped"] = document.percent(value, at)
        else:
            raise _unknown(key, key_node, at, _FAULTS)
    ended = round(values.get("failed", 0.0) + values.get("dropped", 0.0), 9)
    if ended > 100:
        problem = (
            f"'error' and 'drop' may have 100 percent together, for a call ends once, and have {ended:g}"
        )
        raise place.wrong(node, problem)
    return Faults(**values)


def _delay(node: Node, place: Place) -> tuple[float, float]:
    right = "must be a mapping with both, as in {percent: 10, seconds: 0.5}"
    if not isinstance(node, MappingNode):
        raise place.wrong(node, f"{right}, not {document.shown(node)}")
    values: dict[str, Any] = {}
    for key, key_node, value in document.pairs(node, place):
        at = place.under(key)
        if key not in _DELAY:
            raise _unknown(key, key_node, at, _DELAY)
        values[key] = document.percent(value, at) if key == "percent" else document.seconds(value, at)
    if len(values) < len(_DELAY):
        raise place.wrong(node, right)
    return values["percent"], values["seconds"]


def _unknown(key: str, node: Node, place: Place, keys: tuple[str, ...]) -> ConfigError:
    hint = nearest(key, keys) or f"; the keys are {', '.join(keys)}"
    return place.wrong(node, f"unknown key{hint}")
