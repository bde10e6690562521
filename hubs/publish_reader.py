"""Reads the `publish` of a hub in hub.yml; every error names file, line, key and what would be right."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from hubs.published_places import host_and_port, only_here
from hubs.spec import Publish, Side
from mesh.names import document
from mesh.names.dns_settings import is_domain
from mesh.names.document import Place
from mesh.names.endpoints import endpoint_problem
from mesh.names.nodes import MappingNode, Node

_KEYS: Final = ("zone", "server", "key_file", "ttl", "as")
_NEEDED: Final = ("zone", "key_file")
_EXAMPLE: Final = "{zone: mesh.example.com, key_file: mesh.key}"
MOST_HOST: Final = 253
"""Characters of a host's name in DNS."""
MOST_TTL: Final = 86_400
PORT: Final = 53


def read_publish(node: Node, place: Place) -> Publish:
    """What `node` says. place: of it, for the errors, all ConfigError."""
    if not isinstance(node, MappingNode):
        raise place.wrong(node, f"must be a mapping such as {_EXAMPLE}, not {document.shown(node)}")
    values: dict[str, Any] = {}
    for key, key_node, value in document.pairs(node, place):
        at = place.under(key)
        if key not in _KEYS:
            raise document.unknown_key(key_node, at, _KEYS)
        if document.is_nothing(value):
            raise at.wrong(key_node, "has no value: write one, or take the key out")
        values["as_" if key == "as" else key] = _value(key, value, at)
    for key in _NEEDED:
        if key not in values:
            raise place.wrong(node, f"lacks {key!r}: write it as in {_EXAMPLE}")
    return Publish(source=place.source(node), **values)


def check_reachable(publish: Publish, in_: Side, node: Node, place: Place) -> None:
    """Raise ConfigError where nothing that a hub binds for its clients says anything to other machines."""
    hosts = [parts[0] for endpoint in in_.bind if (parts := _host(endpoint))]
    if not hosts:
        raise place.wrong(
            node, "has nothing to publish: the in side binds no tcp:// endpoint that others could reach"
        )
    if publish.as_ is None and all(map(only_here, hosts)):
        raise place.wrong(
            node,
            f"lacks 'as': {hosts[0]!r} says nothing to other machines: write the name by which they reach "
            "this one, as in 'as: box.mesh.example.com'",
        )


def _host(endpoint: str) -> tuple[str, int] | None:
    return host_and_port(re.sub(r":\*$", ":0", endpoint))


def _value(key: str, node: Node, at: Place) -> Any:
    if key == "ttl":
        return document.integer(node, at, 1, MOST_TTL)
    if not document.is_text(node):
        raise at.wrong(node, f"must be {_RIGHT[key]}, not {document.shown(node)}")
    text = str(node.value)
    match key:
        case "zone":
            if not is_domain(text.removesuffix(".")):
                raise at.wrong(node, f"must be {_RIGHT[key]}, not {document.shown(node)}")
            return text.rstrip(".").lower()
        case "as":
            if not is_domain(text.removesuffix("."), MOST_HOST) or not text.strip("0123456789."):
                raise at.wrong(node, f"must be {_RIGHT[key]}, not {document.shown(node)}")
            return text.lower()
        case "server":
            return _server(text, node, at)
    return os.path.join(os.path.dirname(os.path.abspath(at.path)), os.path.expanduser(text))


_RIGHT: Final = {
    "zone": "the name of a zone such as mesh.example.com",
    "as": "the name of a host such as box.mesh.example.com",
    "server": "a name server such as 10.0.0.53 or ns.example.com:5300",
    "key_file": "the path of a file that tsig-keygen has written",
}


def _server(text: str, node: Node, at: Place) -> tuple[str, int]:
    whole = text if re.search(r"[^:]:\d+$|\]:\d+$", text) and text.count(":") != 0 else f"{text}:{PORT}"
    problem = endpoint_problem(f"tcp://{whole}")
    parts = host_and_port(f"tcp://{whole}")
    if problem or parts is None:
        raise at.wrong(node, f"must be {_RIGHT['server']}, not {document.shown(node)}")
    return parts
