"""Reads the imports of every module of mesh and hubs, and holds the layers of docs/design.md.

An import within a function or under TYPE_CHECKING counts like any other: it is a dependency all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Layer -> the layers that it may import, beside itself. A module belongs to the longest name that fits.
MAY_IMPORT: dict[str, set[str]] = {
    "mesh.errors": set(),
    "mesh.core": {"mesh.errors"},
    "mesh.names": {"mesh.errors", "mesh.core"},
    "mesh.transport": {"mesh.errors", "mesh.core", "mesh.names"},
    "mesh.green": {"mesh.errors", "mesh.core", "mesh.names", "mesh.transport"},
    "mesh.aio": {"mesh.errors", "mesh.core", "mesh.names", "mesh.transport"},
    "mesh.tracing": {"mesh", "mesh.errors", "mesh.core", "mesh.names", "mesh.green"},
    "mesh.gateway": {"mesh", "mesh.errors", "mesh.core", "mesh.names", "mesh.green"},
    "mesh": {"mesh.errors", "mesh.core", "mesh.names", "mesh.transport", "mesh.green", "mesh.aio"},
    "hubs.switching": {"mesh.errors", "mesh.core"},
    "hubs": {
        "hubs.switching",
        "mesh",
        "mesh.errors",
        "mesh.core",
        "mesh.names",
        "mesh.transport",
        "mesh.green",
        "mesh.tracing",
        "mesh.cli",
    },
    "mesh.cli": {
        "mesh",
        "mesh.errors",
        "mesh.core",
        "mesh.names",
        "mesh.transport",
        "mesh.green",
        "mesh.aio",
        "mesh.tracing",
        "mesh.gateway",
    },
}

_IO = {"zmq", "gevent", "greenlet", "asyncio", "socket", "select", "selectors", "ssl", "subprocess"}
_THREADS = {"threading", "_thread", "multiprocessing", "concurrent", "signal"}
_CHANCE_AND_TIME = {"time", "random", "secrets", "uuid"}
_TYPES = {"uuid.UUID"}
"""The types of values that such a package has, which do nothing of what it is forbidden for."""

# Layer -> the outside packages that it must not know.
MUST_NOT_KNOW: dict[str, set[str]] = {
    "mesh.errors": _IO | _THREADS | _CHANCE_AND_TIME | {"yaml", "dns", "msgpack", "click"},
    "mesh.core": _IO | _THREADS | _CHANCE_AND_TIME | {"yaml", "dns", "click"},
    "hubs.switching": _IO | _THREADS | _CHANCE_AND_TIME | {"yaml", "dns", "click"},
    "mesh.names": {"zmq", "gevent", "greenlet", "asyncio", "click"},
    "mesh.transport": {"gevent", "greenlet", "asyncio", "click", "yaml", "dns"},
    "mesh.green": {"asyncio", "click", "yaml", "dns"},
    "mesh.aio": {"gevent", "greenlet", "click", "yaml", "dns"},
    "hubs": {"gevent", "greenlet", "asyncio"},
}


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in MAY_IMPORT:
            return name
    return None


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, full name) of all that a module imports; `from a import b` gives a.b."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted([*root.glob("mesh/**/*.py"), *root.glob("hubs/**/*.py")]):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        layer = layer_of(module)
        assert layer is not None
        for line, name in imports(path, module):
            target = layer_of(name)
            if target is None:
                allowed = name in _TYPES or name.partition(".")[0] not in MUST_NOT_KNOW.get(layer, set())
            else:
                allowed = target == layer or target in MAY_IMPORT[layer]
            if not allowed:
                found.append(f"{path.relative_to(root)}:{line}: {layer} must not import {name}")
    return found


def test_imports_go_down_only() -> None:
    assert violations(ROOT) == []


def test_every_folder_of_the_packages_is_a_known_layer() -> None:
    folders = {path.parent for package in ("mesh", "hubs") for path in ROOT.glob(f"{package}/*/*.py")}
    unknown = {f"{folder.parent.name}.{folder.name}" for folder in folders} - set(MAY_IMPORT)
    assert not unknown, "say in MAY_IMPORT what these layers may import"


def test_the_layers_have_no_cycle() -> None:
    def below(layer: str, path: tuple[str, ...]) -> None:
        assert layer not in path, f"{' -> '.join(path)} -> {layer}"
        for lower in MAY_IMPORT[layer]:
            below(lower, (*path, layer))

    for layer in MAY_IMPORT:
        below(layer, ())


@pytest.mark.parametrize(
    ("path", "source", "line"),
    [
        ("mesh/core/wire.py", "import zmq", 1),
        ("mesh/core/wire.py", "import msgpack\nimport time as clock", 2),
        ("mesh/core/wire.py", "from asyncio import Queue", 1),
        ("mesh/core/wire.py", "import dns.resolver", 1),
        ("mesh/core/wire.py", "from mesh.green import link", 1),
        ("mesh/core/wire.py", "from mesh import names", 1),
        ("mesh/core/wire.py", "from ..names import model", 1),
        ("mesh/core/deep/down.py", "from ...names import model", 1),
        ("mesh/core/__init__.py", "from ..cli import main", 1),
        ("mesh/core/wire.py", "import mesh", 1),
        ("mesh/core/wire.py", "def late():\n    import threading", 2),
        ("mesh/core/wire.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gevent", 3),
        ("mesh/names/model.py", "from mesh.green import client", 1),
        ("mesh/names/model.py", "import gevent.event", 1),
        ("mesh/names/model.py", "from mesh.cli.main import main", 1),
        ("mesh/transport/context.py", "import gevent", 1),
        ("mesh/transport/context.py", "from mesh.green import link", 1),
        ("mesh/green/link.py", "import mesh.aio.client", 1),
        ("mesh/aio/client.py", "from mesh.green.client import Client", 1),
        ("mesh/__init__.py", "import hubs", 1),
        ("mesh/__init__.py", "from mesh.cli import main", 1),
        ("mesh/cli/main.py", "from hubs.command import main", 1),
        ("mesh/errors.py", "from mesh.core import wire", 1),
        ("mesh/tracing/store.py", "from hubs import spec", 1),
        ("hubs/switching/pool.py", "import zmq", 1),
        ("hubs/switching/pool.py", "import time", 1),
        ("hubs/switching/pool.py", "from hubs.spec import HubSpec", 1),
        ("hubs/switching/pool.py", "from mesh.transport.context import Context", 1),
    ],
)
def test_a_planted_violation_is_seen(tmp_path: Path, path: str, source: str, line: int) -> None:
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:{line}: ")


def test_what_is_allowed_is_not_reported(tmp_path: Path) -> None:
    for path, source in {
        "mesh/__init__.py": "from mesh.errors import MeshError\nfrom mesh.green.client import connect",
        "mesh/core/wire.py": "import msgpack\nfrom mesh.errors import WireError\nfrom . import channel",
        "mesh/names/catalog.py": "import yaml\nimport dns\nimport time\nfrom mesh.core import balance",
        "mesh/green/client.py": "import gevent\nfrom mesh.names import model\nfrom .link import Link",
        "hubs/runner.py": dedent("""\
            import time
            import zmq
            from mesh.core import wire
            from hubs import spec
            from hubs.switching.switch import Switch
            """),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
    assert violations(tmp_path) == []
