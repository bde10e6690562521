"""The nodes of a YAML text, each with its line, composed from the parser's events.

In place of PyYAML's own composer: that one recurses, which on deep nesting crashes the process where the
parser is the one written in C; it leaves merge keys to those who build Python objects from tags; and it
costs three times as much. What this one costs is bounded, whatever the text repeats by its aliases.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml
from yaml import ScalarEvent
from yaml.composer import ComposerError
from yaml.resolver import Resolver

MOST_LEVELS: Final = 100
"""Mappings and lists that may stand within each other."""
MOST_MERGED: Final = 1_000_000
"""Entries that the merge keys of a text may bring, all together."""
MERGE: Final = "<<"
TAG: Final = "tag:yaml.org,2002:"

_TEXT: Final = f"{TAG}str"
_RESOLVERS: Final[dict[str | None, list[tuple[str, Any]]]] = Resolver.yaml_implicit_resolvers


class ScalarNode:
    """A text in the file. tag: what YAML takes it for.

    plain: it has neither quotes nor a tag, so that YAML's rules for such texts say what it is. variables: the
    names of those that were put into its value. told: it was told already that a variable in it is wrong.
    """

    __slots__ = ("line", "plain", "tag", "told", "value", "variables")

    def __init__(self, line: int, value: str, tag: str, plain: bool) -> None:
        self.line = line
        self.value = value
        self.tag = tag
        self.plain = plain
        self.variables: tuple[str, ...] = ()
        self.told = False


class MappingNode:
    """value: key and value of each entry, in the file's order."""

    __slots__ = ("line", "value")

    def __init__(self, line: int) -> None:
        self.line = line
        self.value: list[tuple[Node, Node]] = []


class SequenceNode:
    __slots__ = ("line", "value")

    def __init__(self, line: int) -> None:
        self.line = line
        self.value: list[Node] = []


Node = ScalarNode | MappingNode | SequenceNode
"""line: where it begins in the file, from 1."""


class StructureError(Exception):
    """A text that is YAML, and yet can't be taken. line: from 1. key: the one it is about, or ""."""

    def __init__(self, line: int, problem: str, key: str = "") -> None:
        self.line = line
        self.problem = problem
        self.key = key
        super().__init__(problem)


def plain_tag(value: str) -> str:
    """What YAML takes a text without quotes for, as a tag."""
    for tag, pattern in _RESOLVERS.get(value[:1], ()):
        if pattern.match(value):
            return tag
    return _TEXT


def compose(text: str, loader: Any) -> Node | None:
    """The root of the only document in `text`, None where there is none.

    loader: one of PyYAML's, for its parser. Raises yaml.YAMLError, ValueError and OverflowError as that
    does, and StructureError.
    """
    composer = _Composer()
    add = composer.add
    for event in yaml.parse(text, loader):
        add(event)
    return composer.root


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the collector of cycles from nodes that are all still needed: it takes a third of the time."""
    if not gc.isenabled():
        yield
        return
    global _paused
    _paused = True
    gc.disable()
    try:
        yield
    finally:
        _paused = False
        gc.enable()


_paused = False


def _forked() -> None:
    """In the child, where a thread of the parent's read a file: nobody would turn the collector on again."""
    global _paused
    if _paused:
        _paused = False
        gc.enable()


os.register_at_fork(after_in_child=_forked)


class _Composer:
    """Takes the parser's events. root: of the document, as far as it has come."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._began: Any = None
        # The mappings and lists whose end has not come, and for each of them a key that waits for its value.
        self._open: list[MappingNode | SequenceNode] = []
        self._keys: list[Node | None] = []
        self._merging: set[int] = set()
        self._anchors: dict[str, tuple[Node, Any]] = {}
        self._merged = 0

    def add(self, event: Any) -> None:
        kind = type(event)
        if kind is ScalarEvent:
            key = bool(self._open) and type(self._open[-1]) is MappingNode and self._keys[-1] is None
            self._put(_scalar(event, key), event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._begin(event, MappingNode if kind is yaml.MappingStartEvent else SequenceNode)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._put(self._aliased(event), event, alias=True)
        elif kind is yaml.DocumentStartEvent and self.root is not None:
            what = "expected a single document in the stream"
            raise ComposerError(what, self._began, "but found another document", event.start_mark)

    def _begin(self, event: Any, kind: type[MappingNode] | type[SequenceNode]) -> None:
        line = event.start_mark.line + 1
        if len(self._open) == MOST_LEVELS:
            raise StructureError(line, "nested too deeply to be read: keep it flat")
        node = kind(line)
        self._put(node, event)
        self._open.append(node)
        self._keys.append(None)

    def _put(self, node: Node, event: Any, alias: bool = False) -> None:
        """Where the text is now. event: what began it."""
        if event.anchor is not None and not alias:
            self._name(event, node)
        if not self._open:
            self.root, self._began = node, event.start_mark
            return
        into, keys = self._open[-1], self._keys
        if type(into) is SequenceNode:
            into.value.append(node)
            return
        key = keys[-1]
        keys[-1] = None if key else node
        if key is None:
            return
        into.value.append((key, node))  # type: ignore[arg-type]
        if type(key) is ScalarNode and key.value == MERGE and key.plain:
            self._merging.add(id(into))

    def _name(self, event: Any, node: Node) -> None:
        name, mark = event.anchor, event.start_mark
        if name in self._anchors:
            what = f"found duplicate anchor {name!r}; first occurrence"
            raise ComposerError(what, self._anchors[name][1], "second occurrence", mark)
        self._anchors[name] = (node, mark)

    def _aliased(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise ComposerError(None, None, f"found undefined alias {event.anchor!r}", event.start_mark)
        return self._anchors[event.anchor][0]

    def _end(self) -> None:
        node = self._open.pop()
        self._keys.pop()
        if type(node) is MappingNode and id(node) in self._merging:
            self._merge(node)

    # Merge keys, https://yaml.org/type/merge.html

    def _merge(self, node: MappingNode) -> None:
        """Add the entries that its merge key names: its own count for more, and the first of a list."""
        merges = [(key, value) for key, value in node.value if _is_merge(key)]
        if len(merges) > 1:
            raise StructureError(merges[1][0].line, "stands twice: write '<<: [*ONE, *OTHER]'", MERGE)
        entries = [(key, value) for key, value in node.value if not _is_merge(key)]
        names: set[Any] = {_name_of(key) for key, _ in entries}
        for source in self._sources(node, *merges[0]):
            for key, value in self._entries(source):
                if _name_of(key) not in names:
                    names.add(_name_of(key))
                    entries.append((key, value))
        node.value = entries

    def _sources(self, node: MappingNode, key: Node, value: Node) -> list[MappingNode]:
        sources: list[MappingNode] = []
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            if not isinstance(source, MappingNode):
                problem = "takes a mapping, or a list of them: write '<<: *NAME', with &NAME before a mapping"
                raise StructureError(key.line, problem, MERGE)
            if source is node or any(source is one for one in self._open):
                raise StructureError(key.line, "leads to the mapping that it stands in", MERGE)
            sources.append(source)
        return sources

    def _entries(self, source: MappingNode) -> list[tuple[Node, Node]]:
        self._merged += len(source.value)
        if self._merged > MOST_MERGED:
            problem = f"brings more than {MOST_MERGED} entries in this file: repeat less"
            raise StructureError(source.line, problem, MERGE)
        lines: dict[Any, int] = {}
        for key, _ in source.value:
            name = _name_of(key)
            if name in lines:
                problem = f"stands twice, in line {lines[name]} before: keep one of the two"
                raise StructureError(key.line, problem, str(name))
            lines[name] = key.line
        return source.value


def _scalar(event: Any, key: bool) -> ScalarNode:
    """key: it is one, which counts as it is written, whatever YAML would take it for."""
    value, tag, plain = event.value, event.tag, event.implicit[0]
    if tag is None or tag == "!":
        tag = plain_tag(value) if plain and not key else _TEXT
    return ScalarNode(event.start_mark.line + 1, value, tag, plain)


def _is_merge(key: Node) -> bool:
    return type(key) is ScalarNode and key.value == MERGE and key.plain


def _name_of(key: Node) -> Any:
    """What tells a key from others: its text, or itself where it is none."""
    return key.value if type(key) is ScalarNode else key
