"""What a server exposes of a module, object, class or dict: its methods, signatures and docs."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partialmethod, singledispatchmethod
from types import MemberDescriptorType, ModuleType
from typing import Any, TypeVar

from mesh.core.wire import cannot_travel
from mesh.errors import text_of

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_VALUES = (str, bytes, int, float, complex, list, tuple, set, frozenset, type(None))
_STREAM_MARK = "__mesh_stream__"
_FIRST_LINE = re.compile(r"^[\w.]+(\(.*?\))(?:\s*->.*)?\s*$")


def stream(function: F) -> F:
    """Mark a handler whose iterable result is to be streamed, whatever its type.

    Generators and iterators are streamed without it; a list is not.
    """
    setattr(function, _STREAM_MARK, True)
    return function


def is_stream(function: Function) -> bool:
    """Whether a handler was marked with `stream`."""
    try:  # as _read, without a step more for each call
        return getattr(function, _STREAM_MARK, False) is True
    except Exception:  # noqa: BLE001
        return False


class MethodTable:
    """The exposed methods by name, and the built-in ones that every zerorpc server has.

    hidden: the names that could not be looked at, each with what that raised. Raises ValueError where
    nothing can be exposed.
    """

    def __init__(self, target: Any, name: str | None = None) -> None:
        try:
            value = isinstance(target, _VALUES)
        except Exception as exc:
            raise ValueError(f"to look at a {type(target).__name__} raised {_said(exc)}") from exc
        if value:
            raise ValueError(
                f"{target!r:.80} is a value; give a module, an object, a class or a dict of functions"
            )
        if inspect.isclass(target):
            target = made(target)
        self.name = name or _name_of(target)
        self.hidden: dict[str, str] = {}
        self.exposed: dict[str, Function] = dict(_methods_of(target, self.hidden))
        if not self.exposed:
            hidden = "; ".join(f"to look at {name!r} raised {why}" for name, why in self.hidden.items())
            raise ValueError(f"{self.name} has no public method to expose{hidden and ': '}{hidden:.500}")
        self.functions: dict[str, Function] = {**self.exposed, **self._built_in()}

    def _built_in(self) -> dict[str, Function]:
        return {
            "_zerorpc_list": lambda: list(self.exposed),
            "_zerorpc_name": lambda: self.name,
            "_zerorpc_ping": lambda: ["pong", self.name],
            "_zerorpc_help": lambda method: doc_of(self._find(method)),
            "_zerorpc_args": lambda method: argspec_of(self._find(method)),
            "_zerorpc_inspect": self._inspect,
        }

    def _find(self, method: Any) -> Function:
        if not isinstance(method, str):
            raise TypeError(f"a method's name is text, not {type(method).__name__}")
        function = self.functions.get(method)
        if function is None:
            raise self.unknown(method)
        return function

    def unknown(self, method: str) -> NameError:
        """The error for a method that is not there."""
        near = difflib.get_close_matches(method[:100], self.exposed, 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return NameError(f"{self.name} has no method {method!r:.100}{hint}")

    def _inspect(self) -> dict[str, Any]:
        methods = {
            name: {"args": args_of(function), "doc": doc_of(function), "signature": signature_of(function)}
            for name, function in self.exposed.items()
        }
        return {"name": self.name, "methods": methods}


def made(target: type) -> Any:
    """An object of a class. Raises ValueError where it can't be made without arguments, or not at all."""
    try:
        return target()
    except TypeError as exc:
        raise ValueError(
            f"{target.__name__} can't be made without arguments ({exc}); give an object of it"
        ) from exc
    except Exception as exc:
        raise ValueError(f"to make a {target.__name__} raised {_said(exc)}") from exc


def _said(exc: Exception) -> str:
    """What code of the target's own raised, and where."""
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = last.tb_frame.f_code.co_filename if last is not None else __file__
    where = f" at {file}:{last.tb_lineno}" if last is not None and file != __file__ else ""
    return f"{type(exc).__name__}: {text_of(exc):.200}{where}"


def _read(target: Any, name: str) -> Any:
    """An attribute; None where there is none, or where to look at it raises."""
    try:
        return getattr(target, name, None)
    except Exception:  # noqa: BLE001 - it is code of the target's own
        return None


def _name_of(target: Any) -> str:
    if isinstance(target, dict):
        return "dict"
    name = _read(target, "__name__")
    return name if isinstance(name, str) and name else type(target).__name__


def _methods_of(target: Any, hidden: dict[str, str]) -> Iterator[tuple[str, Function]]:
    if isinstance(target, dict):
        for name, function in target.items():
            if not isinstance(name, str) or not callable(function):
                raise ValueError(f"{name!r} is no name of a callable; a dict must map names to callables")
            if not name.startswith("_"):
                yield name, function
    else:
        names, find = _module_names(target) if isinstance(target, ModuleType) else _object_names(target)
        for name in names:
            try:
                function = None if name.startswith("_") else find(name)
            except Exception as exc:  # noqa: BLE001 - it is code of the target's own
                hidden[name] = _said(exc)
            else:
                if function is not None:
                    yield name, function


Find = Callable[[str], Function | None]
"""Gives what is to be exposed by a name."""


def _module_names(module: ModuleType) -> tuple[list[str], Find]:
    """What `__all__` names, else the functions that the module itself defines."""
    listed = _all_of(module)
    # What is not written in Python imports nothing; but gevent may have put functions into it.
    compiled = not str(_read(module, "__file__")).endswith((".py", ".pyc"))

    def find(name: str) -> Function | None:
        value = getattr(module, name, None)
        if not callable(value) or inspect.isclass(value):
            return None
        home = str(getattr(value, "__module__", None) or module.__name__)
        own = listed is not None or compiled or home.lstrip("_") == module.__name__.lstrip("_")
        return value if own else None

    return listed if listed is not None else _dir_of(module), find


def _all_of(module: ModuleType) -> list[str] | None:
    """The names in `__all__`, None where there is none. Raises ValueError for what is no list of names."""
    try:
        listed = getattr(module, "__all__", None)
        names = [] if listed is None else list(listed)
    except Exception as exc:
        raise ValueError(f"to look at the __all__ of {module.__name__} raised {_said(exc)}") from exc
    wrong = [listed] if isinstance(listed, str) else [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"the __all__ of {module.__name__} must be a list of names, {wrong[0]!r:.80} is none"
        )
    return None if listed is None else sorted(set(names))


def _dir_of(target: Any) -> list[str]:
    name = target.__name__ if isinstance(target, ModuleType) else type(target).__name__
    try:
        names = dir(target)
    except Exception as exc:
        raise ValueError(f"to list what {name} has (its __dir__) raised {_said(exc)}") from exc
    for one in names:
        if not isinstance(one, str):
            raise ValueError(f"the __dir__ of {name} must give names, {one!r:.80} is none")
    return names


def _object_names(target: Any) -> tuple[list[str], Find]:
    """The public callables of an object; its properties are not asked."""

    def find(name: str) -> Function | None:
        static = inspect.getattr_static(target, name, None)
        if inspect.isclass(static) or _is_computed(static):
            return None
        value = getattr(target, name, None)
        return value if callable(value) else None

    return _dir_of(target), find


_PLAIN_DESCRIPTORS = (classmethod, staticmethod, partialmethod, singledispatchmethod, MemberDescriptorType)


def _is_computed(static: Any) -> bool:
    """Whether to look at an attribute would run code: a property, and all that works like one."""
    return (
        hasattr(type(static), "__get__")
        and not callable(static)
        and not isinstance(static, _PLAIN_DESCRIPTORS)
    )


def doc_of(function: Function) -> str | None:
    """The docstring, cleaned; None where there is none."""
    doc = _read(function, "__doc__")
    if not isinstance(doc, str) or not _own_doc(function, doc):
        return None
    return inspect.cleandoc(doc)


def _own_doc(function: Function, doc: str) -> bool:
    """Not the docstring that every instance of its class has."""
    return inspect.isroutine(function) or doc != type(function).__doc__


def signature_of(function: Function) -> str:
    """As text, e.g. `(a, b=1, *, c)`; the best that can be had of C functions, else `(...)`."""
    signature = _signature(function)
    if signature is not None:
        shown = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        with suppress(Exception):  # of a default's own repr
            return str(inspect.Signature(shown))
    first_line = (doc_of(function) or "").partition("\n")[0]
    match = _FIRST_LINE.match(first_line)
    return match[1] if match else "(...)"


def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except Exception:  # noqa: BLE001 - a decorator's own attributes may raise anything
        return None


def args_of(function: Function) -> list[dict[str, Any]] | None:
    """The arguments as zerorpc describes them: name, and default where there is one."""
    signature = _signature(function)
    if signature is None:
        return None
    return [_arg(parameter) for parameter in signature.parameters.values()]


_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _arg(parameter: inspect.Parameter) -> dict[str, Any]:
    stars = _STARS.get(parameter.kind, "")
    arg: dict[str, Any] = {"name": stars + parameter.name}
    if parameter.default is not parameter.empty:
        arg["default"] = _plain(parameter.default)
    return arg


def _plain(value: Any) -> Any:
    """A default as a value that travels."""
    plain = value is None or type(value) in (bool, int, float, str, bytes)
    if plain and cannot_travel(value, "") is None:
        return value
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a repr of the program's own
        return f"<{type(value).__name__}>"


def argspec_of(function: Function) -> list[Any] | None:
    """The arguments as zerorpc's `_zerorpc_args` gives them: [names, *name, **name, defaults]."""
    signature = _signature(function)
    if signature is None:
        return None
    names, defaults = [], []
    stars: dict[Any, str] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars[parameter.kind] = parameter.name
            continue
        names.append(parameter.name)
        if parameter.default is not parameter.empty:
            defaults.append(_plain(parameter.default))
    kind = inspect.Parameter
    return [names, stars.get(kind.VAR_POSITIONAL), stars.get(kind.VAR_KEYWORD), defaults or None]
