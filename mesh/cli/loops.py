"""Which event loop TARGET is served in, and how the server is run there.

Owns the look at TARGET's source before it is imported: gevent patches the standard library, and that has to
be done before, while asyncio must not be patched.
"""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mesh.errors import ConfigError

if TYPE_CHECKING:
    import asyncio

    import mesh.aio
    from mesh.green.server import Server

GEVENT: Final = "gevent"
ASYNCIO: Final = "asyncio"
UVLOOP: Final = "uvloop"
MAX_HOPS: Final = 8
"""Modules that a name is followed through."""
_CODE: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def current_folder() -> str:
    """Where the command was started. Raises ConfigError where that is gone, or may not be looked at."""
    try:
        return os.getcwd()
    except OSError as error:
        raise ConfigError(f"the current folder can't be used: {error.strerror}; change to another") from None


def choose(target: str, wanted: str | None, path: Sequence[str]) -> str:
    """The loop for TARGET: the one that was asked for, else asyncio where it has coroutine methods.

    path: where modules are looked for. Raises ConfigError.
    """
    if wanted == UVLOOP:
        _require_uvloop()
    return wanted or (ASYNCIO if has_coroutines(target, path) else GEVENT)


def _require_uvloop() -> Any:
    try:
        return importlib.import_module("uvloop")
    except ImportError:
        raise ConfigError(
            "--loop uvloop needs uvloop, which is an extra: pip install 'zeromesh[uvloop]'"
        ) from None


def run(server: mesh.aio.Server | Server, loop: str, in_loop: Callable[[], object]) -> None:
    """Serve until the server is stopped. Signals are the caller's. in_loop: called in asyncio's loop, once it
    runs.
    """
    if loop == GEVENT:
        server.run(signals=False)  # type: ignore[union-attr]  # the loop says which of the two it is
        return
    import asyncio

    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == UVLOOP:
        make_loop = _require_uvloop().new_event_loop

    async def serve() -> None:
        in_loop()
        await server.serve(signals=False)  # type: ignore[union-attr]  # as above

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(serve())


# The look at the source


def has_coroutines(target: str, path: Sequence[str]) -> bool:
    """Whether what TARGET exposes has coroutine methods, as far as the source tells. Imports nothing."""
    module_name, _, attributes = target.partition(":")
    names = attributes.split(".") if attributes else []
    parts = module_name.split(".")
    for length in range(len(parts), 0, -1):
        module = _Source.find(".".join(parts[:length]), path)
        if module is not None:
            return module.is_async([*parts[length:], *names], MAX_HOPS)
    return False


class _Source:
    """A module that was read, and not imported."""

    def __init__(self, name: str, file: Path, tree: ast.Module, path: Sequence[str]) -> None:
        self._package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self._tree = tree
        self._path = path

    @classmethod
    def find(cls, name: str, path: Sequence[str]) -> _Source | None:
        """None where there is none that is written in Python."""
        try:
            file = _file_of(name, path)
            return None if file is None else cls(name, file, ast.parse(file.read_bytes()), path)
        except (OSError, SyntaxError, ValueError):
            return None  # whoever imports it says what is wrong

    def is_async(self, names: list[str], hops: int) -> bool:
        """Whether the attribute of these names, or the module itself, exposes a coroutine."""
        if not names:
            return _has_coroutine(self._tree.body)
        found, rest = self._find(names[0]), names[1:]
        if isinstance(found, ast.ClassDef):
            return self._class_is_async(found, rest, hops)
        if isinstance(found, ast.AsyncFunctionDef):
            return True
        if isinstance(found, (ast.Import, ast.ImportFrom)):
            return self._imported_is_async(found, names, hops)
        return isinstance(found, ast.expr) and self._value_is_async(found, rest, hops)

    def _find(self, name: str) -> ast.AST | None:
        """What a name stands for in the module: the last that it was given."""
        found: ast.AST | None = None
        for node in self._tree.body:
            if isinstance(node, _CODE):
                found = node if node.name == name else found
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                if any((one.asname or one.name.partition(".")[0]) == name for one in node.names):
                    found = node
            elif isinstance(node, ast.Assign):
                if any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
                    found = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found = node.value if node.target.id == name else found
        return found

    def _class_is_async(self, found: ast.ClassDef, names: list[str], hops: int) -> bool:
        """names: of the method that is asked for; none for all."""
        own = [one for one in found.body if names and isinstance(one, _CODE) and one.name == names[0]]
        if own and isinstance(own[-1], ast.ClassDef):
            return self._class_is_async(own[-1], names[1:], hops)
        if own:
            return isinstance(own[-1], ast.AsyncFunctionDef)
        if not names and _has_coroutine(found.body):
            return True
        bases = [base.id for base in found.bases if isinstance(base, ast.Name) and base.id != found.name]
        return hops > 0 and any(self.is_async([base, *names], hops - 1) for base in bases)

    def _value_is_async(self, value: ast.expr, names: list[str], hops: int) -> bool:
        """Of an object that is made of a class, another name for something, a partial, or a dict of these."""
        if hops <= 0:
            return False
        if isinstance(value, ast.Dict):
            return any(self._value_is_async(one, [], hops - 1) for one in value.values)
        if isinstance(value, ast.Call):
            called = _dotted(value.func)
            if called[-1:] == ["dict"]:
                return any(self._value_is_async(one.value, [], hops - 1) for one in value.keywords)
            if called[-1:] == ["partial"] and value.args:
                return self._value_is_async(value.args[0], [], hops - 1)
            return bool(called) and self._made_is_async([*called, *names], hops - 1)
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Call):
            return self._value_is_async(value.value, [value.attr, *names], hops - 1)
        named = _dotted(value)
        return bool(named) and self.is_async([*named, *names], hops - 1)

    def _made_is_async(self, names: list[str], hops: int) -> bool:
        """Of what a call gives: an object, where a class is called."""
        called = self._find(names[0])
        made_by_function = isinstance(called, (ast.FunctionDef, ast.AsyncFunctionDef))
        return not made_by_function and self.is_async(names, hops)

    def _imported_is_async(self, node: ast.Import | ast.ImportFrom, names: list[str], hops: int) -> bool:
        if hops <= 0:
            return False
        if isinstance(node, ast.Import):
            one = next(one for one in node.names if (one.asname or one.name.partition(".")[0]) == names[0])
            module = _Source.find(one.name if one.asname else names[0], self._path)
            return module is not None and module.is_async(names[1:], hops - 1)
        one = next(one for one in node.names if (one.asname or one.name) == names[0])
        parts = self._package.split(".")
        above = parts[: len(parts) - node.level + 1] if node.level else []
        home = ".".join([*above, *([node.module] if node.module else [])])
        module = _Source.find(f"{home}.{one.name}", self._path)
        if module is not None:
            return module.is_async(names[1:], hops - 1)
        module = _Source.find(home, self._path)
        return module is not None and module.is_async([one.name, *names[1:]], hops - 1)


def _file_of(name: str, path: Sequence[str]) -> Path | None:
    """The file of a module, as Python looks for it in these folders; None where there is none.

    Python's own finders ask for the parents of what lies in folders without an `__init__.py`, and so would
    have to import them.
    """
    folders, file = [Path(one) for one in path], None
    for part in name.split("."):
        file, packages = None, []
        for folder in folders:
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file() or module.is_file():
                file = package if package.is_file() else module
                packages = [folder / part] if package.is_file() else []
                break
            if (folder / part).is_dir():
                packages.append(folder / part)
        folders = packages
    return file


def _has_coroutine(body: Sequence[ast.stmt]) -> bool:
    """Whether one with a public name is defined there."""
    return any(isinstance(one, ast.AsyncFunctionDef) and not one.name.startswith("_") for one in body)


def _dotted(node: ast.expr) -> list[str]:
    """The names of a.b.c; none of anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []
