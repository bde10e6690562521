"""From TARGET on the command line to the object whose methods are served.

Owns the import, the walk to the attribute, the making of an object from a class, and what to
say when one of them fails. It must not know servers or sockets.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mesh.cli.loops import current_folder
from mesh.core.methods import MethodTable
from mesh.errors import ConfigError

# Values that have methods, but that nobody means to serve.
_PLAIN = (str, bytes, bytearray, int, float, complex, list, tuple, set, frozenset, type(None))


@dataclass(frozen=True, slots=True)
class Target:
    """What to serve. name: the service's name where the user gives none."""

    name: str
    methods: Any


def load(text: str, directory: str | None = None) -> Target:
    """Load `package.module`, `module:Class`, `module:object` or `package.module.Class`.

    directory: goes first on the import path, the current one by default. Raises ConfigError.
    """
    _put_on_path(directory or current_folder())
    module_name, _, attributes = text.partition(":")
    is_file = module_name.endswith(".py") and os.path.exists(module_name)
    if is_file or not _dotted(module_name) or (":" in text and not _dotted(attributes)):
        raise ConfigError(f"TARGET {text!r} is not of the form module or module:name{_file_hint(text)}")
    if ":" in text:
        module, rest = _import(module_name, text), attributes.split(".")
    else:
        module, rest = _import_longest(module_name)
    found = _walk(module, rest)
    if isinstance(found, type):
        found = _instantiate(found, text)
    _check_exposable(found, text)
    return Target(rest[-1] if rest else module.__name__, found)


def _put_on_path(directory: str) -> None:
    if directory not in sys.path and not ("" in sys.path and directory == os.getcwd()):
        sys.path.insert(0, directory)


def _dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _file_hint(text: str) -> str:
    path, _, attribute = text.partition(":")
    if not path.endswith(".py") and os.sep not in path:
        return ""
    module = path.removesuffix(".py").removeprefix("./").strip("/").replace(os.sep, ".")
    return f"; for a file give its module: {module}{':' + attribute if attribute else ''}"


def _import_longest(text: str) -> tuple[ModuleType, list[str]]:
    """Import as much of a dotted path as is a module; the rest are attributes."""
    parts = text.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not _is_missing(error, name):
                raise _import_failed(name, error) from error
        except (Exception, SystemExit) as error:
            raise _import_failed(name, error) from error
        else:
            return module, parts[length:]
    raise _no_module(text, text)


def _import(name: str, text: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if _is_missing(error, name):
            raise _no_module(name, text) from error
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _is_missing(error: ModuleNotFoundError, name: str) -> bool:
    """Whether `name` itself, or a package that it is in, is what was not found."""
    missing = error.name or ""
    return (name == missing or name.startswith(missing + ".")) and _last_frame(error) is None


def _no_module(name: str, text: str) -> ConfigError:
    hint = _file_hint(text)
    if not hint:
        near = _nearest(name.partition(".")[0], _modules_here())
        hint = near and f"; {near}"
    return ConfigError(f"no module {name!r} in {os.getcwd()} or among the installed packages{hint}")


def _modules_here() -> list[str]:
    return [
        entry.removesuffix(".py") for entry in os.listdir() if entry.endswith(".py") or os.path.isdir(entry)
    ]


def _import_failed(name: str, error: BaseException) -> ConfigError:
    if isinstance(error, SyntaxError):
        return ConfigError(
            f"module {name!r} has a syntax error at {error.filename}:{error.lineno}: {error.msg}"
        )
    if isinstance(error, SystemExit):
        return ConfigError(f"module {name!r} ended the program when imported{_place(error)}: {error}")
    return ConfigError(
        f"module {name!r} was found, but its import failed{_place(error)}: {type(error).__name__}: {error}"
    )


def _place(error: BaseException) -> str:
    frame = _last_frame(error)
    return f" at {frame.filename}:{frame.lineno}" if frame else ""


def _last_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame that is neither ours nor the import system's."""
    ours = (__file__, importlib.__file__, "<frozen importlib")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return frames[-1] if frames else None


def _walk(module: ModuleType, attributes: list[str]) -> Any:
    found: Any = module
    path = module.__name__
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError:
            near = _nearest(attribute, _names_in(found))
            raise ConfigError(f"{path} has no attribute {attribute!r}{near and '; ' + near}") from None
        except Exception as error:
            why = f"{type(error).__name__}: {error}{_place(error)}"
            raise ConfigError(f"{path}.{attribute} can't be had: {why}") from error
        path = f"{path}.{attribute}"
    return found


def _names_in(found: Any) -> list[str]:
    try:
        return [name for name in dir(found) if isinstance(name, str)]
    except Exception:  # noqa: BLE001 - a __dir__ of the program's own; there is no hint then
        return []


def _nearest(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [other for other in names if not other.startswith("_")], n=3)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def _instantiate(cls: type, text: str) -> Any:
    needed = _needed_arguments(cls)
    if needed:
        raise ConfigError(
            f"{text} is a class that needs arguments ({', '.join(needed)}): make an object of it "
            f"in your module, as in service = {cls.__name__}(…), and serve module:service"
        )
    try:
        return cls()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{text}: {cls.__name__}() failed{_place(error)}: {type(error).__name__}: {error}"
        ) from error


def _needed_arguments(cls: type) -> list[str]:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return []  # a C class that doesn't tell: calling it will
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def _check_exposable(found: Any, text: str) -> None:
    if isinstance(found, _PLAIN):
        raise ConfigError(
            f"{text} is of type {type(found).__name__}: serve a module, a class or an object with methods"
        )
    if inspect.isroutine(found):
        name = getattr(found, "__name__", "function")
        raise ConfigError(f"{text} is a function: serve its module, or a dict {{{name!r}: {name}}}")
    try:
        MethodTable(found)
    except ValueError as error:
        raise ConfigError(f"{text} can't be served: {error}") from error
