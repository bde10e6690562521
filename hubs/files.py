"""The hubs of all hub.yml files that one process runs: their names and endpoints must not clash.

Owns the reading of the files. The keys of a hub are the business of spec_reader.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hubs.endpoint_conflicts import BoundEndpoint, EndpointConflicts, reaches
from hubs.spec import HubSpec
from hubs.spec_reader import read_entries, read_spec
from mesh.errors import ConfigError
from mesh.names import document
from mesh.names.document import Place
from mesh.names.model import NAME_RULE, is_service_name, nearest
from mesh.names.nodes import MappingNode, Node, SequenceNode
from mesh.names.textfile import decoded, open_at_once, problem_of

_RIGHT = "write 'in: ENDPOINT', 'out: ENDPOINT' and 'type: TYPE', or several hubs by name under 'hubs:'"


class _Read(NamedTuple):
    """A spec, and where in the file it came from. key: the node of its name, or its own."""

    spec: HubSpec
    key: Node
    node: Node
    place: Place


def load(paths: Iterable[str | os.PathLike[str]]) -> list[HubSpec]:
    """The hubs of all files, in order. Raises ConfigError for the first thing that is wrong."""
    return parse_all((os.fspath(path), _text(os.fspath(path))) for path in paths)


def parse_all(files: Iterable[tuple[str, str]]) -> list[HubSpec]:
    """The hubs of (path, text) pairs, in order. Raises ConfigError for the first thing that is wrong."""
    conflicts = EndpointConflicts()
    specs: dict[str, HubSpec] = {}
    for path, text in files:
        for read in _hubs(text, path):
            first = specs.setdefault(read.spec.name, read.spec)
            if first is not read.spec:
                raise _same_name(read, first)
            _note_bound(read, conflicts)
    return list(specs.values())


def _text(path: str) -> str:
    try:
        with open_at_once(path) as file:
            if problem := problem_of(os.fstat(file.fileno()), path, "hub.yml"):
                raise ConfigError(problem)
            data = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}: give the path of a hub.yml") from None
    return decoded(data, path)


def _hubs(text: str, path: str) -> Iterator[_Read]:
    root = document.compose(text, path)
    place = Place(path)
    if root is None:
        raise ConfigError(f"{path}: is empty: {_RIGHT}")
    entries = read_entries(root, place)
    if "hubs" in entries:
        for name, (key, _) in entries.items():
            if name != "hubs":
                raise place.under(name).wrong(key, "stands beside 'hubs': move it into the hub it is for")
        yield from named(entries["hubs"][1], place.under("hubs"))
    elif "in" not in entries and "out" not in entries:
        raise place.wrong(root, f"is no hub{_meant(entries)}: {_RIGHT}")
    else:
        yield _Read(read_spec(_stem(path), place.source(root), root, place), root, root, place)


def _meant(names: Iterable[str]) -> str:
    """A remark, where one of the names is nearly `hubs`."""
    near = next((name for name in names if nearest(name, ("hubs",))), None)
    return f" ({near!r} is not 'hubs')" if near else ""


def named(node: Node, place: Place) -> Iterator[_Read]:
    if document.is_nothing(node) or (isinstance(node, MappingNode) and not node.value):
        raise place.wrong(node, "has no hub in it: write one, as in 'NAME: {in: …, out: …}'")
    if not isinstance(node, MappingNode):
        problem = f"must map names to hubs, as in 'NAME: {{in: …, out: …}}', not {document.shown(node)}"
        raise place.wrong(node, problem)
    for name, key, value in document.pairs(node, place):
        if not is_service_name(name):
            raise place.wrong(key, f"{name[:80]!r} cannot name a hub: {NAME_RULE}")
        at = place.under(name)
        yield _Read(read_spec(name, place.source(key), value, at), key, value, at)


def _stem(path: str) -> str:
    """The name of a hub that is alone in its file: the file's, as far as it may be a name."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")[:62] or "hub"


def _same_name(read: _Read, first: HubSpec) -> ConfigError:
    if read.place.key:
        right = "give one of the two another name"
    else:
        right = "rename the file, or write 'hubs: {NAME: {in: …, out: …}}' to name the hub in it"
    return read.place.wrong(read.key, f"{first.source} has a hub {read.spec.name!r} already: {right}")


def _note_bound(read: _Read, conflicts: EndpointConflicts) -> None:
    """Enter what the hub binds; ConfigError where it is bound already, or where a hub connects to itself."""
    spec, entries = read.spec, read_entries(read.node, read.place)
    sides = {"in": spec.in_} if spec.one_socket else {"in": spec.in_, "out": spec.out}
    for side, endpoints in sides.items():
        at, node = read.place.under(side), entries[side][1]
        for endpoint in endpoints.bind:
            _note_one(
                conflicts, endpoint, f"the {side} side of hub {spec.name!r}", at, _scalar(node, endpoint)
            )
        for endpoint in endpoints.connect:
            if any(reaches(endpoint, own) for own in (*spec.in_.bind, *spec.out.bind)):
                problem = f"{endpoint!r} is bound by this hub itself: write another endpoint"
                raise at.wrong(_scalar(node, endpoint), problem)
    if spec.prometheus:
        at, node = read.place.under("prometheus"), entries["prometheus"][1]
        _note_one(conflicts, spec.prometheus, "prometheus", at, node, shared=True)


def _note_one(
    conflicts: EndpointConflicts, endpoint: str, owner: str, at: Place, node: Node, *, shared: bool = False
) -> None:
    other = conflicts.add(BoundEndpoint(endpoint, owner, at.source(node)), shared=shared)
    if other:
        raise at.wrong(node, _taken(endpoint, other))


def _taken(endpoint: str, other: BoundEndpoint) -> str:
    shown = f"as {other.endpoint!r} " if other.endpoint != endpoint else ""
    return f"{endpoint!r} is bound {shown}by {other.owner} ({other.source}): take another port or path"


def _scalar(node: Node, text: str) -> Node:
    """The node within `node` that holds the text, for its line."""
    if isinstance(node, MappingNode):
        parts: list[Node] = [value for _, value in node.value]
    elif isinstance(node, SequenceNode):
        parts = node.value
    else:
        return node
    return next((found for part in parts if (found := _scalar(part, text)).value == text), node)
