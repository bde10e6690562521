"""A YAML text as nodes that know their lines, read into plain values with errors that say file, line and key.

Works on PyYAML's nodes and builds no Python objects from tags, so that nothing in a file can run
code, a duplicate key is seen, and a name such as `on` stays the text it is. Knows no service.
Importing this costs the import of yaml: whoever needs it seldom imports it late.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml import MappingNode, Node, ScalarNode, YAMLError

from mesh.errors import ConfigError
from mesh.names.model import nearest

_TAG = "tag:yaml.org,2002:"
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A key in a file; `key` is dotted, and empty for the file as a whole."""

    path: str
    key: str = ""

    def under(self, key: str) -> Place:
        key = _short(key if key.isprintable() else repr(key))
        return Place(self.path, f"{self.key}.{key}" if self.key else key)

    def source(self, node: Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}"

    def wrong(self, node: Node, problem: str) -> ConfigError:
        return ConfigError(f"{self.source(node)}: {self.key + ': ' if self.key else ''}{problem}")


def compose(text: str, path: str) -> Node | None:
    """The root of the only document in `text`, None where there is nothing; ConfigError if it is no YAML."""
    # The loader written in C is faster, but crashes the process on deep nesting.
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        line, problem = _syntax_problem(error, text)
        raise ConfigError(f"{path}:{line}: not valid YAML: {problem}") from error
    except (ValueError, OverflowError) as error:
        # An escape such as "\UFFFFFFFF" ends here; the scanner does not say where it stood.
        raise ConfigError(f"{path}: not valid YAML: {error}: look for a wrong number or escape") from error
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be read: keep it flat") from None
    return None if root is None or is_nothing(root) else root


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
    return line, f"{' '.join(problem.split())}: look at its indentation, brackets and quotes"


def is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}null"


def is_text(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == f"{_TAG}str"


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
    """Key as text, its node and the value's, in the file's order; ConfigError where a key stands twice."""
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise place.wrong(key, f"{shown(key)} where a key should stand: write 'KEY: VALUE'")
        name = key.value
        if name in lines:
            at = place.under(name)
            raise at.wrong(key, f"stands twice, in line {lines[name]} before: keep one of the two")
        lines[name] = key.start_mark.line + 1
        yield name, key, value


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


def _number(node: Node) -> float | None:
    """A plain decimal number; YAML's octal, hexadecimal and base 60 are a trap more than a feature."""
    if not isinstance(node, ScalarNode) or node.tag not in (f"{_TAG}int", f"{_TAG}float"):
        return None
    return float(node.value) if _NUMBER.fullmatch(node.value) else None
