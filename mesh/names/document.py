"""A YAML text as nodes that know their lines, read into plain values with errors that say file, line and key.

Builds no Python objects from tags, so that nothing in a file can run code, a duplicate key is seen, and
a name such as `on` stays the text it is. Knows no service.
Importing this costs the import of yaml: whoever needs it seldom imports it late.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

import yaml
from yaml import YAMLError

from mesh.names import nodes
from mesh.names.mistakes import RAISED, Mistake, Mistakes, Told
from mesh.names.model import EXTENSION, nearest
from mesh.names.nodes import TAG, MappingNode, Node, ScalarNode, SequenceNode, StructureError, plain_tag
from mesh.names.variables import BEGIN, expand

_FAST: Final[Any] = getattr(yaml, "CSafeLoader", None)
"""The one written in C, where PyYAML was built with it: some ten times as fast."""
_PYTHON_ONLY: Final = "\t\ufeff"
"""Characters that the one written in C takes where the one written in Python refuses them: a file is right
or wrong wherever it is read."""
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,30})?|\.[0-9]{1,30}")
_LONGEST_SHOWN = 60


class Place(NamedTuple):
    """A key in a file. name: the key itself, "" for the file as a whole; above: what it stands under.
    mistakes: what becomes of those in the file.
    """

    path: str
    name: str = ""
    above: Place | None = None
    mistakes: Mistakes = RAISED

    def under(self, name: str) -> Place:
        return Place(self.path, name, self, self.mistakes)

    @property
    def key(self) -> str:
        """With all that are above it, dotted; put together for an error alone."""
        shown = _short(self.name if self.name.isprintable() else repr(self.name))
        above = self.above.key if self.above else ""
        return f"{above}.{shown}" if above else shown

    def source(self, node: Node) -> str:
        return f"{self.path}:{node.line}"

    def wrong(self, node: Node, problem: str) -> Mistake:
        if isinstance(node, ScalarNode) and node.told:
            return Told()
        if isinstance(node, ScalarNode) and node.variables:
            problem = f"{problem} (with {', '.join(dict.fromkeys(node.variables))} from the environment)"
        return self.wrong_at(node.line, problem)

    def wrong_at(self, line: int, problem: str) -> Mistake:
        return Mistake(problem, f"{self.path}:{line}{': ' + self.key if self.key else ''}", line)


def compose(
    text: str, path: str, variables: Mapping[str, str] = os.environ, mistakes: Mistakes = RAISED
) -> Node | None:
    """The root of the only document in `text`, None where there is nothing; Mistake if it is no YAML.

    Names that begin with EXTENSION are taken out of it, and variables put into the values that are left.
    """
    root = _nodes(text, path)
    if root is None or is_nothing(root):
        return None
    place = Place(path, mistakes=mistakes)
    if isinstance(root, MappingNode):
        _take_out_extensions(root, place)
    if BEGIN in text:
        _put_in(root, place, variables, set())
    return root


def _nodes(text: str, path: str) -> Node | None:
    try:
        return _by_any_loader(text)
    except YAMLError as error:
        line, problem = _syntax_problem(error, text)
        raise Place(path).wrong_at(line, f"not valid YAML: {problem}") from error
    except StructureError as error:
        place = Place(path).under(error.key) if error.key else Place(path)
        raise place.wrong_at(error.line, error.problem) from None
    except (ValueError, OverflowError) as error:
        # An escape such as "\UFFFFFFFF" ends here; the scanner does not say where it stood.
        raise Mistake(f"not valid YAML: {error}: look for a wrong number or escape", path) from error


def _by_any_loader(text: str) -> Node | None:
    if _FAST is not None and not any(char in text for char in _PYTHON_ONLY):
        try:
            return nodes.compose(text, _FAST)
        except (YAMLError, ValueError):
            pass  # the one written in Python says better what is wrong, and where
    return nodes.compose(text, yaml.SafeLoader)


def _take_out_extensions(root: MappingNode, place: Place) -> None:
    lines: dict[str, int] = {}
    kept = []
    for key, value in root.value:
        if not (isinstance(key, ScalarNode) and key.value.startswith(EXTENSION)):
            kept.append((key, value))
            continue
        with place.mistakes:
            _note_line(lines, key, place)
    root.value = kept


def _put_in(node: Node, place: Place, variables: Mapping[str, str], seen: set[int]) -> None:
    """Put the variables into the scalars of `node`, into each one once. seen: the ids of what is done."""
    parts: list[tuple[Node, Place]] = [(node, place)]
    if isinstance(node, MappingNode):
        parts = [(value, _under(place, key)) for key, value in node.value]
    elif isinstance(node, SequenceNode):
        parts = [(value, place) for value in node.value]
    for part, at in parts:
        if id(part) in seen:
            continue
        seen.add(id(part))
        if not isinstance(part, ScalarNode):
            _put_in(part, at, variables, seen)
        elif BEGIN in part.value:
            with place.mistakes:
                _put_into_one(part, at, variables)


def _under(place: Place, key: Node) -> Place:
    return place.under(key.value) if isinstance(key, ScalarNode) else place


def _put_into_one(node: ScalarNode, place: Place, variables: Mapping[str, str]) -> None:
    try:
        node.value, node.variables = expand(node.value, variables)
    except ValueError as error:
        wrong = place.wrong(node, str(error))
        node.told = True
        raise wrong from None
    if node.plain:
        # As if the value stood in the file, but for one thing: it stays this one scalar.
        node.tag = plain_tag(node.value)


def _syntax_problem(error: YAMLError, text: str) -> tuple[int, str]:
    """The line, and what is wrong there in one line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"the character U+{ord(text[error.position]):04X} may not stand in it: take it out"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return 1, " ".join(str(error).split())
    # What lacks its end is missed at the end of the text, one line below the last.
    line = min(error.problem_mark.line, text.rstrip().count("\n")) + 1
    problem = error.problem or "cannot be read"
    if problem.startswith("found character '\\t'"):
        return line, "a tab where only spaces may stand: indent with spaces"
    if error.context:
        begun = error.context_mark.line + 1 if error.context_mark else line
        since = f" (begun in line {begun})" if begun < line else ""
        problem = f"{error.context}{since}, {problem}"
    right = "look at its indentation, brackets and quotes"
    if BEGIN in text.split("\n")[line - 1]:
        right = f"a value with {BEGIN}…}} that stands in braces or brackets needs quotes"
    return line, f"{' '.join(problem.split())}: {right}"


def is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{TAG}null"


def is_text(node: Node) -> TypeGuard[ScalarNode]:
    return isinstance(node, ScalarNode) and node.tag == f"{TAG}str"


def shown(node: Node) -> str:
    """The node in a few words, for an error: "a list", "nothing", "the text 'abc'", "42"."""
    if not isinstance(node, ScalarNode):
        return "a mapping" if isinstance(node, MappingNode) else "a list"
    if is_nothing(node):
        return "nothing"
    value = _short(node.value)
    if is_text(node):
        return f"the text {value!r}"
    return value if value.isprintable() else repr(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def pairs(node: MappingNode, place: Place) -> Iterator[tuple[str, ScalarNode, Node]]:
    """Key as text, its node and the value's, in the file's order; Mistake where a key stands twice, or, where
    mistakes are kept, without that key.
    """
    lines: dict[str, int] = {}
    for key, value in node.value:
        with place.mistakes:
            if not isinstance(key, ScalarNode):
                raise place.wrong(key, f"{shown(key)} where a key should stand: write 'KEY: VALUE'")
            _note_line(lines, key, place)
            yield key.value, key, value


def unknown_key(key: Node, at: Place, keys: Sequence[str]) -> Mistake:
    """The error for a key that is none of these. at: its own place."""
    return at.wrong(key, f"unknown key{nearest(at.name, keys) or '; the keys are ' + ', '.join(keys)}")


def read_pairs(
    node: MappingNode, place: Place, read: Callable[[Place, ScalarNode, Node], Any]
) -> dict[str, Any]:
    """What each key holds. read: gets the place of a key, its node and the value's.

    Raises Mistake where one is wrong; where mistakes are kept, all of them are told before.
    """
    values: dict[str, Any] = {}
    before = place.mistakes.count
    for name, key, value in pairs(node, place):
        with place.mistakes:
            values[name] = read(place.under(name), key, value)
    place.mistakes.end_part(before)
    return values


def _note_line(lines: dict[str, int], key: ScalarNode, place: Place) -> None:
    name = key.value
    if name in lines:
        at = place.under(name)
        raise at.wrong(key, f"stands twice, in line {lines[name]} before: keep one of the two")
    lines[name] = key.line


def choice(node: Node, place: Place, words: tuple[str, ...]) -> str:
    if is_text(node) and node.value in words:
        return str(node.value)
    hint = nearest(node.value.lower(), words) if is_text(node) else ""
    raise place.wrong(node, f"must be one of {', '.join(words)}, not {shown(node)}{hint}")


def seconds(node: Node, place: Place) -> float:
    value = _number(node)
    if value is None or value <= 0:
        raise place.wrong(node, f"must be a number of seconds above 0, such as 5 or 0.5, not {shown(node)}")
    return value


def integer(node: Node, place: Place, least: int, most: int) -> int:
    value = _number(node)
    if value is None or value != int(value) or not least <= value <= most:
        raise place.wrong(node, f"must be a whole number from {least} to {most}, not {shown(node)}")
    return int(value)


def percent(node: Node, place: Place) -> float:
    value = _number(node)
    if value is None or value > 100:
        raise place.wrong(node, f"must be a number of percent from 0 to 100, not {shown(node)}")
    return value


def is_number(node: Node) -> TypeGuard[ScalarNode]:
    """Whether it is to be read as a number, right or wrong.

    Quotes do not make a text of a variable's value here: between braces YAML wants them around `${…}`.
    """
    if not isinstance(node, ScalarNode):
        return False
    if node.variables and is_text(node):
        return _NUMBER.fullmatch(node.value) is not None
    return node.tag in (f"{TAG}int", f"{TAG}float")


def _number(node: Node) -> float | None:
    """A plain decimal number; YAML's octal, hexadecimal and base 60 are a trap more than a feature."""
    return float(node.value) if is_number(node) and _NUMBER.fullmatch(node.value) else None
