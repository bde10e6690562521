"""docs/design.md names files and functions that are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "design.md").read_text()
WALK = PAGE[PAGE.index("### A call, from file to file") : PAGE.index("## Layers")]
CODE = re.compile(r"`([A-Za-z_][\w.]*)`")


@cache
def names_in(path: Path) -> frozenset[str]:
    """Functions and classes, as `name` and `Class.name`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)))
            found |= {f"{node.name}.{one.name}" for one in inner}
    return frozenset(found)


def rows() -> Iterator[tuple[str, str]]:
    """Each file of the table, and each function that it is to have."""
    for line in WALK.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].endswith(".py"):
            yield from ((cells[1], name) for name in CODE.findall(cells[2]))


def test_the_table_has_the_whole_way() -> None:
    assert len(list(rows())) >= 12


@pytest.mark.parametrize(("file", "function"), list(rows()))
def test_a_function_of_the_walk_is_in_its_file(file: str, function: str) -> None:
    assert function in names_in(ROOT / file)


def test_every_other_name_with_a_class_is_somewhere() -> None:
    everywhere = {name for path in ROOT.glob("[mh]*/**/*.py") for name in names_in(path)}
    named = {name for name in CODE.findall(WALK) if re.match(r"[A-Z]\w+\.\w", name)}
    assert len(named) > 12
    assert named <= everywhere


def test_every_file_of_the_walk_is_there() -> None:
    files = set(re.findall(r"\b((?:mesh|hubs)/[\w/]+\.py)", WALK))
    assert files and all((ROOT / file).is_file() for file in files)
