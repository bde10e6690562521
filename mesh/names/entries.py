"""The text of services.yml -> services, every error with file, line, key and what would be right.

Pure: opens no file and asks for no time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.core.balance_rule import LEAST_TAU, MOST_TAU, RULES, Balance
from mesh.core.labels import MOST_CHARS
from mesh.errors import ConfigError
from mesh.names import document, traffic
from mesh.names.curve_key import KEY_RULE, key_problem
from mesh.names.document import Place
from mesh.names.endpoints import endpoint_problem
from mesh.names.mistakes import RAISED, Mistakes
from mesh.names.model import MOST_WEIGHT, NAME_RULE, SOCKET_TYPES, Endpoint, Service, is_service_name
from mesh.names.nodes import MappingNode, Node, ScalarNode, SequenceNode, collector_paused

MOST_RETRIES = 100
_KEYS = (
    "address",
    "hub",
    "split",
    "type",
    "timeout",
    "retries",
    "balance",
    "weight",
    "priority",
    "version",
    "zone",
    "key",
    "faults",
)
_OF_SERVICE = ("timeout", "retries", "faults", "balance")
_BESIDE_SPLIT = ("split", "timeout", "retries", "faults")
_ITEM_KEYS = ("address", "hub", "weight", "priority", "version", "zone", "key")
_KINDS = ("address", "hub")
_LABELS = ("version", "zone")
MOST_PRIORITY = 65535
_BALANCE_KEYS = ("rule", "tau")
_ITEM = "an endpoint such as tcp://10.0.0.5:4242"
_ITEMS = f"{_ITEM}, or a list of them"
_FORMS = (
    "an endpoint such as tcp://10.0.0.5:4242, a list of them, or a mapping with 'address', 'hub' or 'split'"
)
_BOTH = "has both 'address' and 'hub': give exactly one, 'address' for its servers or 'hub' for its hubs"
_NONE = (
    "has none of 'address', 'hub' and 'split': give exactly one, 'address' for its servers, 'hub' for its "
    "hubs, or 'split' for the services that its calls are split between"
)


def parse_services(
    text: str, path: str, variables: Mapping[str, str] = os.environ, mistakes: Mistakes = RAISED
) -> dict[str, Service]:
    """The services in the file's order; {} for an empty text. path: for the errors, all ConfigError.

    Where mistakes are kept, an entry with one is there all the same, without endpoints.
    """
    with collector_paused():
        return _services(text, path, variables, mistakes)


def _services(text: str, path: str, variables: Mapping[str, str], mistakes: Mistakes) -> dict[str, Service]:
    root = document.compose(text, path, variables, mistakes)
    if root is None:
        return {}
    place = Place(path, mistakes=mistakes)
    if not isinstance(root, MappingNode):
        raise place.wrong(
            root,
            f"must map names to endpoints, as in 'users: tcp://10.0.0.5:4242', and is {document.shown(root)}",
        )
    services: dict[str, Service] = {}
    checks: list[traffic.Check] = []
    for name, key, value in document.pairs(root, place):
        with mistakes:
            if not is_service_name(name):
                raise place.wrong(key, f"{name[:80]!r} cannot name a service: {NAME_RULE}")
            at = place.under(name)
            source = at.source(key)
            if mistakes.keep:
                services[name] = Service(name, (), source=source)
            services[name] = _service(name, source, value, at, checks)
    for check in checks:
        check(services)
    return services


def _service(name: str, source: str, node: Node, place: Place, checks: list[traffic.Check]) -> Service:
    """checks: gets what is to be looked at when all services are known."""
    if not isinstance(node, MappingNode):
        return Service(name, _endpoints(_listed(node, place, _FORMS), {"source": source}), source=source)
    values = _values(node, place)
    of_service = {key: values.pop(key) for key in _OF_SERVICE if key in values}
    if "split" in values:
        split, check = values["split"]
        checks.append(check)
        return Service(name, (), split=split, source=source, **of_service)
    listed = values.pop("hub" if "hub" in values else "address")
    endpoints = _endpoints(listed, {**values, "source": source})
    if values.get("type", "router") != "router" and any(one.hub for one in endpoints):
        raise _hub_of_other_type(node, place)
    return Service(name=name, endpoints=endpoints, source=source, **of_service)


def _values(node: MappingNode, place: Place) -> dict[str, Any]:
    """What each key holds."""
    before = place.mistakes.count
    with place.mistakes:
        _check_together([key.value for key, _ in node.value if isinstance(key, ScalarNode)], node, place)
    values = document.read_pairs(node, place, _value)
    place.mistakes.end_part(before)
    if not any(key in values for key in ("address", "hub", "split")):
        raise place.wrong(node, _NONE)
    return values


def _check_together(keys: list[str], node: Node, place: Place) -> None:
    """Raise where keys stand beside each other that can't."""
    if "split" in keys:
        others = [key for key in keys if key in _KEYS and key not in _BESIDE_SPLIT]
        if others:
            problem = (
                f"has {others[0]!r} beside 'split': it belongs to the services that calls are split between"
            )
            raise place.wrong(node, problem)
    elif "address" in keys and "hub" in keys:
        raise place.wrong(node, _BOTH)


def _hub_of_other_type(node: MappingNode, place: Place) -> ConfigError:
    given = next(value for key, value in node.value if key.value == "type")
    problem = f"must be router beside 'hub', not {document.shown(given)}: reach every other type by 'address'"
    return place.under("type").wrong(given, problem)


def _value(at: Place, key: Node, node: Node) -> Any:
    _check_key(at, key, node, _KEYS)
    match at.name:
        case "address" | "hub":
            return _listed(node, at, _ITEMS, hub=at.name == "hub")
        case "type":
            return document.choice(node, at, SOCKET_TYPES)
        case "timeout":
            return document.seconds(node, at)
        case "retries":
            return document.integer(node, at, 0, MOST_RETRIES)
        case "balance":
            return _balance(node, at)
        case "split":
            return traffic.read_split(node, at)
        case "faults":
            return traffic.read_faults(node, at)
    return _detail(at, node)


def _value_of_item(at: Place, key: Node, node: Node) -> Any:
    _check_key(at, key, node, _ITEM_KEYS)
    return _address(node, at, _ITEM) if at.name in _KINDS else _detail(at, node)


def _check_key(at: Place, key: Node, node: Node, keys: tuple[str, ...]) -> None:
    if at.name not in keys:
        raise document.unknown_key(key, at, keys)
    if document.is_nothing(node):
        raise at.wrong(key, "has no value: write one, or take the key out")


def _detail(at: Place, node: Node) -> Any:
    """What may be said of a single endpoint, and of all of them."""
    match at.name:
        case "weight":
            return document.integer(node, at, 1, MOST_WEIGHT)
        case "priority":
            return document.integer(node, at, 0, MOST_PRIORITY)
        case "key":
            return _curve_key(node, at)
    return _label(node, at)


def _balance(node: Node, place: Place) -> Balance:
    """A rule's name, or a mapping with more."""
    if not isinstance(node, MappingNode):
        return Balance(document.choice(node, place, RULES))
    return Balance(**document.read_pairs(node, place, _part_of_balance))


def _part_of_balance(at: Place, key: Node, node: Node) -> Any:
    if at.name not in _BALANCE_KEYS:
        raise document.unknown_key(key, at, _BALANCE_KEYS)
    return document.choice(node, at, RULES) if at.name == "rule" else _tau(node, at)


def _tau(node: Node, place: Place) -> float:
    seconds = document.seconds(node, place)
    if not LEAST_TAU <= seconds <= MOST_TAU:
        raise place.wrong(node, f"must be from {LEAST_TAU:g} to {MOST_TAU:g} seconds, not {seconds:g}")
    return seconds


def _listed(node: Node, place: Place, right: str, hub: bool = False) -> list[dict[str, Any]]:
    """What is said of each endpoint of a list, or of the only one, by the names of an entry's keys."""
    if not isinstance(node, SequenceNode):
        return [{"address": _address(node, place, right), "hub": hub}]
    if not node.value:
        raise place.wrong(node, f"is an empty list: write {right}")
    listed: dict[str, dict[str, Any]] = {}
    before = place.mistakes.count
    for one in node.value:
        with place.mistakes:
            item = _item(one, place, hub)
            if item["address"] in listed:
                raise place.wrong(one, f"{item['address']!r} stands twice in the list: keep one of the two")
            listed[item["address"]] = item
    place.mistakes.end_part(before)
    return list(listed.values())


def _item(node: Node, place: Place, hub: bool) -> dict[str, Any]:
    """One of a list: an endpoint, or a mapping that says more, such as {hub: tcp://h:1, priority: 1}."""
    if not isinstance(node, MappingNode):
        return {"address": _address(node, place, _ITEM), "hub": hub}
    values = document.read_pairs(node, place, _value_of_item)
    kinds = [key for key in _KINDS if key in values]
    if len(kinds) != 1:
        has = "both 'address' and 'hub'" if kinds else "neither 'address' nor 'hub'"
        raise place.wrong(node, f"an item of the list has {has}: give exactly one, with one endpoint")
    kind = kinds[0]
    return {**values, "address": values[kind], "hub": kind == "hub", "source": place.source(node)}


def _endpoints(listed: Iterable[dict[str, Any]], common: dict[str, Any]) -> tuple[Endpoint, ...]:
    """common: what holds for each of them that does not say otherwise."""
    return tuple(_endpoint({**common, **item}) for item in listed)


def _endpoint(values: dict[str, Any]) -> Endpoint:
    labels = tuple((key, values.pop(key)) for key in _LABELS if key in values)
    return Endpoint(labels=labels, **values)


def _address(node: Node, place: Place, right: str) -> str:
    if not document.is_text(node):
        raise place.wrong(node, f"must be {right}, not {document.shown(node)}")
    problem = endpoint_problem(node.value)
    if problem:
        raise place.wrong(node, problem)
    return str(node.value)


def _label(node: Node, place: Place) -> str:
    """A text, also where YAML would take it for a number: `version: 2`."""
    if not isinstance(node, ScalarNode) or not (document.is_text(node) or document.is_number(node)):
        raise place.wrong(node, f"must be a text such as '2' or 'cellar', not {document.shown(node)}")
    if not node.value.isprintable() or not 0 < len(node.value) <= MOST_CHARS:
        raise place.wrong(node, f"must have 1 to {MOST_CHARS} printable characters")
    return node.value


def _curve_key(node: Node, place: Place) -> str:
    right = f"{KEY_RULE} in quotes"
    if not document.is_text(node):
        raise place.wrong(node, right)
    if problem := key_problem(node.value):
        raise place.wrong(node, f"{right}, and {problem}")
    return str(node.value)
