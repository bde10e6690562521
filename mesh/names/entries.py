"""The text of services.yml -> services, every error with file, line, key and what would be right.

Pure: opens no file and asks for no time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from mesh.errors import ConfigError
from mesh.names import document
from mesh.names.document import Place
from mesh.names.endpoints import endpoint_problem
from mesh.names.model import NAME_RULE, SOCKET_TYPES, Endpoint, Service, is_service_name, nearest
from mesh.names.nodes import MappingNode, Node, SequenceNode, collector_paused

MOST_RETRIES = 100
MOST_WEIGHT = 65535  # as in an SRV record
_KEYS = ("address", "hub", "type", "timeout", "retries", "weight", "key")
KEY_CHARS = 40  # 32 bytes in Z85
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]+")
_FORMS = "an endpoint such as tcp://10.0.0.5:4242, a list of them, or a mapping with 'address' or 'hub'"


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
    services = {}
    for name, key, value in document.pairs(root, place):
        if not is_service_name(name):
            raise place.wrong(key, f"{name[:80]!r} cannot name a service: {NAME_RULE}")
        at = place.under(name)
        services[name] = _service(name, at.source(key), value, at)
    return services


def _service(name: str, source: str, node: Node, place: Place) -> Service:
    if not isinstance(node, MappingNode):
        values, addresses, hub = {}, _endpoints(node, place, _FORMS), False
    else:
        values = _values(node, place)
        hub = "hub" in values
        addresses = values.pop("hub" if hub else "address")
    of_service = {key: values.pop(key) for key in ("timeout", "retries") if key in values}
    endpoints = tuple(Endpoint(address, hub=hub, source=source, **values) for address in addresses)
    return Service(name=name, endpoints=endpoints, source=source, **of_service)


def _values(node: MappingNode, place: Place) -> dict[str, Any]:
    values = {
        key: _value(key, key_node, value, place) for key, key_node, value in document.pairs(node, place)
    }
    if ("address" in values) == ("hub" in values):
        has = "both 'address' and 'hub'" if "hub" in values else "neither 'address' nor 'hub'"
        raise place.wrong(
            node, f"has {has}: give exactly one, 'address' for its servers or 'hub' for its hubs"
        )
    if "hub" in values and values.get("type", "router") != "router":
        raise _hub_of_other_type(node, place)
    return values


def _hub_of_other_type(node: MappingNode, place: Place) -> ConfigError:
    given = next(value for key, value in node.value if key.value == "type")
    problem = f"must be router beside 'hub', not {document.shown(given)}: reach every other type by 'address'"
    return place.under("type").wrong(given, problem)


def _value(key: str, key_node: Node, node: Node, place: Place) -> Any:
    at = place.under(key)
    if key not in _KEYS:
        hint = nearest(key, _KEYS) or f"; the keys are {', '.join(_KEYS)}"
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
        case "weight":
            return document.integer(node, at, 1, MOST_WEIGHT)
        case "key":
            return _curve_key(node, at)
    return _endpoints(node, at, "an endpoint such as tcp://10.0.0.5:4242, or a list of them")


def _endpoints(node: Node, place: Place, right: str) -> tuple[str, ...]:
    if not isinstance(node, SequenceNode):
        return (_endpoint(node, place, right),)
    if not node.value:
        raise place.wrong(node, f"is an empty list: write {right}")
    endpoints: list[str] = []
    for item in node.value:
        endpoint = _endpoint(item, place, "an endpoint such as tcp://10.0.0.5:4242")
        if endpoint in endpoints:
            raise place.wrong(item, f"{endpoint!r} stands twice in the list: keep one of the two")
        endpoints.append(endpoint)
    return tuple(endpoints)


def _endpoint(node: Node, place: Place, right: str) -> str:
    if not document.is_text(node):
        raise place.wrong(node, f"must be {right}, not {document.shown(node)}")
    problem = endpoint_problem(node.value)
    if problem:
        raise place.wrong(node, problem)
    return str(node.value)


def _curve_key(node: Node, place: Place) -> str:
    # Never shown: what stands here by mistake may be the secret one.
    right = "must be a CURVE public key, 40 characters of Z85 in quotes"
    if not document.is_text(node):
        raise place.wrong(node, right)
    if len(node.value) != KEY_CHARS:
        raise place.wrong(node, f"{right}, and has {len(node.value)} characters")
    if not _Z85.fullmatch(node.value):
        raise place.wrong(node, f"{right}, and has a character that Z85 lacks")
    return str(node.value)
