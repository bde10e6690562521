"""Reads one hub of a hub.yml; every error names file, line, key and what would be right.

Opens no file. Which keys a hub may have is said by its type, in hub_types.py; that two hubs don't get in each
other's way is looked at in files.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hubs.hub_types import HUB_TYPES, WAITING_KEYS
from hubs.publish_reader import check_reachable, read_publish
from hubs.spec import HubSpec, Side
from mesh.core import settings
from mesh.core.majordomo import MANAGEMENT
from mesh.errors import ConfigError
from mesh.names import document
from mesh.names.document import Place
from mesh.names.endpoints import TRANSPORTS, endpoint_problem
from mesh.names.model import NAME_RULE, is_service_name, nearest
from mesh.names.nodes import MappingNode, Node, ScalarNode, SequenceNode
from mesh.transport.ipc import MODE_RULE, Access, parse_mode, path_of

_ALL_KEYS = tuple(dict.fromkeys(key for kind in HUB_TYPES.values() for key in kind.keys))
_NOT_ANONYMOUS = ("service", *WAITING_KEYS)
"""Keys that a queue of anonymous workers can't have."""

_ENDPOINT = 'an endpoint such as "tcp://*:1111"'
_SIDE = f"{_ENDPOINT}, a list of them, or {{bind: …, connect: …}}"
_MOST_BYTES = 2**40
_LEAST_MESSAGE = 1024
_MOST_CALLS = 10_000_000
_DAY = 86_400.0

Entries = dict[str, tuple[Node, Node]]
"""The key and the value of each entry of a hub."""


def read_spec(name: str, source: str, node: Node, place: Place) -> HubSpec:
    """The hub that `node` describes. place: of the hub, for the errors, all ConfigError."""
    entries = read_entries(node, place)
    kind = _kind(entries, place)
    for key, (key_node, value) in entries.items():
        _check_key(key, key_node, value, kind, place.under(key))
    for side in ("in", "out"):
        if side not in entries:
            who = HUB_TYPES[kind].in_ if side == "in" else HUB_TYPES[kind].out
            raise place.wrong(node, f"lacks {side!r}: write '{side}: ENDPOINT', where its {who} come to")
    fields = {
        _FIELD_OF.get(key, key): _value(key, value, place.under(key))
        for key, (_, value) in entries.items()
        if key != "type"
    }
    if fields.get("anonymous"):
        _check_anonymous(entries, place)
    access = Access(fields.pop("mode", None), fields.pop("group", None))
    if access != Access():
        _check_access(fields, entries, place)
        fields |= {side: replace(fields[side], access=access) for side in ("in_", "out")}
    if "publish" in entries:
        check_reachable(fields["publish"], fields["in_"], entries["publish"][1], place.under("publish"))
    if "prometheus" in entries:
        fields["prometheus_at"] = _where(entries["prometheus"][1], place.under("prometheus"))
    return HubSpec(name=name, type=kind, source=source, **fields)


def read_entries(node: Node, place: Place) -> Entries:
    if not isinstance(node, MappingNode):
        raise place.wrong(node, f"must be a mapping with 'in', 'out' and 'type', not {document.shown(node)}")
    return {name: (key, value) for name, key, value in document.pairs(node, place)}


_FIELD_OF = {"in": "in_", "workers": "anonymous"}


def _kind(entries: Entries, place: Place) -> str:
    if "type" not in entries:
        return "queue"
    return document.choice(entries["type"][1], place.under("type"), tuple(HUB_TYPES))


def _check_key(key: str, key_node: Node, value: Node, kind: str, at: Place) -> None:
    if key not in _ALL_KEYS:
        raise document.unknown_key(key_node, at, HUB_TYPES[kind].keys)
    if key not in HUB_TYPES[kind].keys:
        having = ", ".join(name for name, one in HUB_TYPES.items() if key in one.keys)
        raise at.wrong(key_node, f"is a key of {having} hubs, and this is a {kind}: take it out")
    if document.is_nothing(value):
        raise at.wrong(key_node, "has no value: write one, or take the key out")


def _check_anonymous(entries: Entries, place: Place) -> None:
    for key in _NOT_ANONYMOUS:
        if key in entries:
            raise place.under(key).wrong(
                entries[key][0],
                "has no meaning with 'workers: anonymous', where the hub only passes messages on: "
                "take one of the two out",
            )


def _check_access(fields: Mapping[str, Any], entries: Entries, place: Place) -> None:
    if any(path_of(endpoint) for side in ("in_", "out") for endpoint in fields[side].bind):
        return
    key = "mode" if "mode" in entries else "group"
    problem = "is for the ipc:// paths that the hub binds, and it binds none: take it out"
    raise place.under(key).wrong(entries[key][0], problem)


def _value(key: str, node: Node, at: Place) -> Any:
    match key:
        case "in" | "out":
            return _side(node, at)
        case "workers":
            return document.choice(node, at, ("registered", "anonymous")) == "anonymous"
        case "service" | "default":
            return _service(node, at)
        case "heartbeat":
            return _seconds(node, at, 0.1, 3600)
        case "timeout":
            return _seconds(node, at, 0.001, _DAY)
        case "drain":
            return _seconds(node, at, 0, _DAY)
        case "queue":
            return document.integer(node, at, 1, _MOST_CALLS)
        case "prometheus":
            return _prometheus(node, at)
        case "mode":
            return _mode(node, at)
        case "group":
            return _group(node, at)
        case "publish":
            return read_publish(node, at)
        case "max_message":
            return _size(node, at, _LEAST_MESSAGE)
    return _size(node, at, 1)


def _side(node: Node, place: Place) -> Side:
    at_line: dict[str, str] = {}
    if not isinstance(node, MappingNode):
        return Side(bind=_endpoints(node, place, _SIDE, at_line, bind=True), at=at_line)
    found: dict[str, tuple[str, ...]] = {}
    for key, key_node, value in document.pairs(node, place):
        at = place.under(key)
        if key not in ("bind", "connect"):
            hint = nearest(key, ("bind", "connect")) or "; the keys are bind and connect"
            raise at.wrong(key_node, f"unknown key{hint}")
        right = f"{_ENDPOINT}, or a list of them"
        found[key] = _endpoints(value, at, right, at_line, bind=key == "bind")
    if not found:
        raise place.wrong(node, f"is an empty mapping: write {_SIDE}")
    return Side(found.get("bind", ()), found.get("connect", ()), at=at_line)


def _where(node: Node, place: Place) -> str:
    return f"{place.source(node)}: {place.key}"


def _endpoints(node: Node, place: Place, right: str, at: dict[str, str], *, bind: bool) -> tuple[str, ...]:
    """Notes in `at` where each stands."""
    if not isinstance(node, SequenceNode):
        endpoint = _endpoint(node, place, right, bind)
        at[endpoint] = _where(node, place)
        return (endpoint,)
    if not node.value:
        raise place.wrong(node, f"is an empty list: write {right}")
    endpoints: list[str] = []
    for item in node.value:
        endpoint = _endpoint(item, place, _ENDPOINT, bind)
        if endpoint in endpoints:
            raise place.wrong(item, f"{endpoint!r} stands twice in the list: keep one of the two")
        endpoints.append(endpoint)
        at[endpoint] = _where(item, place)
    return tuple(endpoints)


def _endpoint(node: Node, place: Place, right: str, bind: bool) -> str:
    if not document.is_text(node):
        raise place.wrong(node, f"must be {right}, not {document.shown(node)}")
    endpoint = str(node.value)
    problem = endpoint_problem(endpoint, bind=bind)
    if problem:
        raise place.wrong(node, problem.replace(TRANSPORTS, "tcp://HOST:PORT or ipc://PATH"))
    if endpoint.startswith("inproc://"):
        raise place.wrong(
            node, f"{endpoint!r} is reached only from within the hub's own process: write tcp:// or ipc://"
        )
    return endpoint


def _service(node: Node, place: Place) -> str:
    if not isinstance(node, ScalarNode) or not is_service_name(node.value):
        raise place.wrong(node, f"must be the name of a service, not {document.shown(node)}: {NAME_RULE}")
    if node.value.startswith(MANAGEMENT):
        raise place.wrong(node, f"{node.value!r} is one of the hub's own services: take another name")
    return str(node.value)


def _seconds(node: Node, place: Place, least: float, most: float) -> float:
    if least == 0 and document.is_number(node) and node.value == "0":
        return 0.0
    try:
        value = document.seconds(node, place)
    except ConfigError:
        value = math.nan
    if not least <= value <= most:
        right = f"must be a number of seconds from {least:g} to {most:g}, written as 5 or 0.5 is"
        raise place.wrong(node, f"{right}, not {document.shown(node)}")
    return value


def _mode(node: Node, place: Place) -> int:
    mode = parse_mode(node.value) if isinstance(node, ScalarNode) else None
    if mode is None:
        raise place.wrong(node, f"must be {MODE_RULE}, not {document.shown(node)}")
    return mode


def _group(node: Node, place: Place) -> str:
    if not isinstance(node, ScalarNode) or not node.value or not node.value.isprintable():
        raise place.wrong(node, f"must be the name of a group, or its number, not {document.shown(node)}")
    return node.value


def _size(node: Node, place: Place, least: int) -> int:
    size = settings.size_of(node.value) if isinstance(node, ScalarNode) else 0
    if not least <= size <= _MOST_BYTES:
        raise place.wrong(
            node,
            f"must be a number of bytes from {least} to 1024 GiB, such as 65536 or 64 MiB, "
            f"not {document.shown(node)}",
        )
    return size


def _prometheus(node: Node, place: Place) -> str:
    if document.is_number(node) or not document.is_text(node):
        return f"tcp://127.0.0.1:{document.integer(node, place, 1, 65535)}"
    endpoint = str(node.value)
    problem = endpoint_problem(endpoint, bind=True)
    if problem is None and not endpoint.startswith("tcp://"):
        problem = f"{endpoint!r} is not reached by HTTP"
    if problem:
        problem = problem.partition(": write ")[0]
        raise place.wrong(node, f"{problem}; it takes a port such as 9100, or tcp://HOST:PORT")
    return endpoint
