"""The text of services.yml -> services, every error with file, line, key and what would be right.

Pure: opens no file and asks for no time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mesh.core.balance_rule import LEAST_TAU, MOST_TAU, RULES, Balance
from mesh.errors import ConfigError
from mesh.names import document, traffic
from mesh.names.curve_key import KEY_RULE, key_problem
from mesh.names.document import Place
from mesh.names.endpoints import endpoint_problem
from mesh.names.model import MOST_WEIGHT, NAME_RULE, SOCKET_TYPES, Endpoint, Service, is_service_name, nearest
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
_ITEM_KEYS = ("address", "hub", "weight", "priority", "version", "zone", "key")
_LABELS = ("version", "zone")
MOST_PRIORITY = 65535
MOST_LABEL_CHARS = 200  # so that one fits a string of a TXT record
_BALANCE_KEYS = ("rule", "tau")
_ITEM = "an endpoint such as tcp://10.0.0.5:4242"
_FORMS = (
    "an endpoint such as tcp://10.0.0.5:4242, a list of them, or a mapping with 'address', 'hub' or 'split'"
)
_BOTH = "has both 'address' and 'hub': give exactly one, 'address' for its servers or 'hub' for its hubs"
_NONE = (
    "has none of 'address', 'hub' and 'split': give exactly one, 'address' for its servers, 'hub' for its "
    "hubs, or 'split' for the services that its calls are split between"
)


def parse_services(text: str, path: str, variables: Mapping[str, str] = os.environ) -> dict[str, Service]:
    """The services in the file's order; {} for an empty text. path: for the errors, all ConfigError."""
    with collector_paused():
        return _services(text, path, variables)


def _services(text: str, path: str, variables: Mapping[str, str]) -> dict[str, Service]:
    root = document.compose(text, path, variables)
    if root is None:
        return {}
    place = Place(path)
    if not isinstance(root, MappingNode):
        raise place.wrong(
            root,
            f"must map names to endpoints, as in 'users: tcp://10.0.0.5:4242', and is {document.shown(root)}",
        )
    services: dict[str, Service] = {}
    checks: list[traffic.Check] = []
    for name, key, value in document.pairs(root, place):
        if not is_service_name(name):
            raise place.wrong(key, f"{name[:80]!r} cannot name a service: {NAME_RULE}")
        at = place.under(name)
        services[name] = _service(name, at.source(key), value, at, checks)
    for check in checks:
        check(services)
    return services


def _service(name: str, source: str, node: Node, place: Place, checks: list[traffic.Check]) -> Service:
    """checks: gets what is to be looked at when all services are known."""
    if not isinstance(node, MappingNode):
        return Service(name, _endpoints(node, place, _FORMS, Endpoint("", source=source)), source=source)
    values = _values(node, place)
    of_service = {key: values.pop(key) for key in _OF_SERVICE if key in values}
    if "split" in values:
        split, check = values["split"]
        checks.append(check)
        return Service(name, (), split=split, source=source, **of_service)
    hub = "hub" in values
    listed: Node = values.pop("hub" if hub else "address")
    at = place.under("hub" if hub else "address")
    pattern = Endpoint("", hub=hub, source=source, **_described(values))
    endpoints = _endpoints(listed, at, "an endpoint such as tcp://10.0.0.5:4242, or a list of them", pattern)
    if values.get("type", "router") != "router" and any(one.hub for one in endpoints):
        raise _hub_of_other_type(node, place)
    return Service(name=name, endpoints=endpoints, source=source, **of_service)


def _values(node: MappingNode, place: Place) -> dict[str, Any]:
    """What each key holds; those of `address` and `hub` are nodes still."""
    values = {
        key: _value(key, key_node, value, place, _KEYS)
        for key, key_node, value in document.pairs(node, place)
    }
    if "split" in values:
        others = [key for key in values if key not in ("split", "timeout", "retries", "faults")]
        if others:
            problem = (
                f"has {others[0]!r} beside 'split': it belongs to the services that calls are split between"
            )
            raise place.wrong(node, problem)
    elif ("address" in values) == ("hub" in values):
        raise place.wrong(node, _BOTH if "hub" in values else _NONE)
    return values


def _described(values: dict[str, Any]) -> dict[str, Any]:
    """The same as the fields of an Endpoint."""
    labels = tuple((key, values[key]) for key in _LABELS if key in values)
    fields = {key: value for key, value in values.items() if key not in _LABELS}
    return {**fields, "labels": labels} if labels else fields


def _hub_of_other_type(node: MappingNode, place: Place) -> ConfigError:
    given = next(value for key, value in node.value if key.value == "type")
    problem = f"must be router beside 'hub', not {document.shown(given)}: reach every other type by 'address'"
    return place.under("type").wrong(given, problem)


def _value(key: str, key_node: Node, node: Node, place: Place, keys: tuple[str, ...]) -> Any:
    at = place.under(key)
    if key not in keys:
        hint = nearest(key, keys) or f"; the keys are {', '.join(keys)}"
        raise at.wrong(key_node, f"unknown key{hint}")
    if document.is_nothing(node):
        raise at.wrong(key_node, "has no value: write one, or take the key out")
    match key:
        case "type":
            return document.choice(node, at, SOCKET_TYPES)
        case "timeout":
            return document.seconds(node, at)
        case "retries":
            return document.integer(node, at, 0, MOST_RETRIES)
        case "balance":
            return _balance(node, at)
        case "weight":
            return document.integer(node, at, 1, MOST_WEIGHT)
        case "priority":
            return document.integer(node, at, 0, MOST_PRIORITY)
        case "version" | "zone":
            return _label(node, at)
        case "split":
            return traffic.read_split(node, at)
        case "faults":
            return traffic.read_faults(node, at)
        case "key":
            return _curve_key(node, at)
    return node


def _balance(node: Node, place: Place) -> Balance:
    """A rule's name, or a mapping with more."""
    if not isinstance(node, MappingNode):
        return Balance(document.choice(node, place, RULES))
    values: dict[str, Any] = {}
    for key, key_node, value in document.pairs(node, place):
        at = place.under(key)
        if key not in _BALANCE_KEYS:
            raise at.wrong(
                key_node, f"unknown key{nearest(key, _BALANCE_KEYS) or '; the keys are rule, tau'}"
            )
        values[key] = document.choice(value, at, RULES) if key == "rule" else _tau(value, at)
    return Balance(**values)


def _tau(node: Node, place: Place) -> float:
    seconds = document.seconds(node, place)
    if not LEAST_TAU <= seconds <= MOST_TAU:
        raise place.wrong(node, f"must be from {LEAST_TAU:g} to {MOST_TAU:g} seconds, not {seconds:g}")
    return seconds


def _endpoints(node: Node, place: Place, right: str, pattern: Endpoint) -> tuple[Endpoint, ...]:
    """pattern: what holds for each of them that does not say otherwise."""
    if not isinstance(node, SequenceNode):
        return (replace(pattern, address=_address(node, place, right)),)
    if not node.value:
        raise place.wrong(node, f"is an empty list: write {right}")
    endpoints: dict[str, Endpoint] = {}
    for item in node.value:
        endpoint = _item(item, place, pattern)
        if endpoint.address in endpoints:
            raise place.wrong(item, f"{endpoint.address!r} stands twice in the list: keep one of the two")
        endpoints[endpoint.address] = endpoint
    return tuple(endpoints.values())


def _item(node: Node, place: Place, pattern: Endpoint) -> Endpoint:
    """One of a list: an endpoint, or a mapping that says more, such as {hub: tcp://h:1, priority: 1}."""
    if not isinstance(node, MappingNode):
        return replace(pattern, address=_address(node, place, _ITEM))
    values = {
        key: _value(key, key_node, value, place, _ITEM_KEYS)
        for key, key_node, value in document.pairs(node, place)
    }
    kinds = [key for key in ("address", "hub") if key in values]
    if len(kinds) != 1:
        has = "both 'address' and 'hub'" if kinds else "neither 'address' nor 'hub'"
        raise place.wrong(node, f"an item of the list has {has}: give exactly one, with one endpoint")
    kind = kinds[0]
    address = _address(values.pop(kind), place.under(kind), _ITEM)
    labels = dict(pattern.labels) | {key: values.pop(key) for key in _LABELS if key in values}
    source = place.source(node)
    ordered = tuple(sorted(labels.items()))
    return replace(pattern, address=address, hub=kind == "hub", source=source, labels=ordered, **values)


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
    if not node.value.isprintable() or not 0 < len(node.value) <= MOST_LABEL_CHARS:
        raise place.wrong(node, f"must have 1 to {MOST_LABEL_CHARS} printable characters")
    return node.value


def _curve_key(node: Node, place: Place) -> str:
    right = f"{KEY_RULE} in quotes"
    if not document.is_text(node):
        raise place.wrong(node, right)
    if problem := key_problem(node.value):
        raise place.wrong(node, f"{right}, and {problem}")
    return str(node.value)
