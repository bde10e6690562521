"""What a server exposes of a module, object, class or dict: its methods, signatures and docs."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar

from mesh.core import settings
from mesh.core.exposure import MAX_WRAPPED, Exposed, Function, read
from mesh.core.wire import cannot_travel

F = TypeVar("F", bound=Function)

_STREAM_MARK = "__mesh_stream__"
_EXPECTED_MARK = "__mesh_expected__"
_IDEMPOTENT_MARK = "__mesh_idempotent__"
_FIRST_LINE = re.compile(r"^[\w.]+(\(.*?\))(?:\s*->.*)?\s*$")


def stream(function: F) -> F:
    """Mark a handler whose iterable result is to be streamed, whatever its type.

    Generators and iterators are streamed without it; a list is not.
    """
    setattr(_marked(function), _STREAM_MARK, True)
    return function


def _marked(function: Function) -> Function:
    """What carries a mark: the function itself where a staticmethod or classmethod is around it."""
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function


def is_stream(function: Function) -> bool:
    """Whether a handler was marked with `stream`."""
    try:  # as _read, without a step more for each call
        return getattr(function, _STREAM_MARK, False) is True
    except Exception:  # noqa: BLE001
        return False


def idempotent(function: F) -> F:
    """Mark a handler that may be carried out twice: to do so once more changes nothing.

    Clients learn it from its answers, and try a call again whose server was lost.
    """
    setattr(_marked(function), _IDEMPOTENT_MARK, True)
    return function


def is_idempotent(function: Function) -> bool:
    """Whether a handler was marked with `idempotent`, also within a partial."""
    for _ in range(MAX_WRAPPED):
        if type(function) is not partial:
            break
        function = function.func
    return read(function, _IDEMPOTENT_MARK) is True


def expected(*classes: settings.Classes) -> Callable[[F], F]:
    """Mark a handler that raises such exceptions, or those of subclasses, in the ordinary course of things.

    classes: one by one, or as `Server(expected=…)` takes them. They reach the caller as any other; the log
    has them at level INFO, not ERROR. Raises ConfigError.
    """
    checked = tuple(cls for value in classes for cls in settings.exceptions("expected", value))

    def mark(function: F) -> F:
        marked = _marked(function)
        setattr(marked, _EXPECTED_MARK, (*expected_of(marked), *checked))
        return function

    return mark


def expected_of(function: Function) -> tuple[type[BaseException], ...]:
    """What a handler was marked with by `expected`, also within a partial."""
    for _ in range(MAX_WRAPPED):
        if type(function) is not partial:
            break
        function = function.func
    marked = read(function, _EXPECTED_MARK)
    return marked if type(marked) is tuple else ()


def is_async(function: Function) -> bool:
    """Whether a call of it gives something to await, or an asynchronous generator, as far as it tells."""
    called = _called(function)
    return inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


def is_generator(function: Function) -> bool:
    """Whether it has a `yield`, so that a call of it carries nothing out, as far as it tells."""
    called = _called(function)
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)


def _called(function: Function) -> Any:
    """The function that is called in the end, by a partial or an object."""
    for _ in range(MAX_WRAPPED):
        if type(function) is not partial:
            break
        function = function.func
    own = (FunctionType, MethodType, BuiltinFunctionType)
    return function if isinstance(function, own) else read(type(function), "__call__")


class MethodTable:
    """The exposed methods by name, and the built-in ones that every zerorpc server has.

    hidden: the names that could not be looked at, each with what that raised. left_out: what else is not
    exposed of the target. idempotent: the names of those that are marked so. Raises ValueError where nothing
    can be exposed.
    """

    def __init__(self, target: Any, name: str | None = None) -> None:
        found = Exposed(target)
        self.name = name or found.name
        self.exposed = found.functions
        self.hidden, self.left_out = found.hidden, found.left_out
        if not self.exposed:
            hidden = [f"to look at {name!r} raised {why}" for name, why in self.hidden.items()]
            why = "; ".join([*hidden, *(f"{name!r} {one.why}" for name, one in self.left_out.items())])
            raise ValueError(f"{self.name} has no public method to expose{why and ': '}{why:.500}")
        self.functions: dict[str, Function] = {**self.exposed, **self._built_in()}
        self.idempotent = {name for name, function in self.exposed.items() if is_idempotent(function)}

    def first_async(self) -> str | None:
        """The name of a method that is a coroutine function or an async generator; None where none is."""
        return next((name for name, function in self.exposed.items() if is_async(function)), None)

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
            raise NameError(self.unknown(method))
        return function

    def unknown(self, method: str) -> str:
        """What to say of a method that is not there."""
        near = difflib.get_close_matches(method[:100], self.exposed, 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        why = self._reasons().get(method)
        if why is not None:
            hint = f", for that {why}"
        return f"{self.name} has no method {method!r:.100}{hint}"

    def _inspect(self) -> dict[str, Any]:
        methods: dict[str, dict[str, Any]] = {
            name: {"args": args_of(function), "doc": doc_of(function), "signature": signature_of(function)}
            for name, function in self.exposed.items()
        }
        for name in self.idempotent:
            methods[name]["idempotent"] = True
        return {"name": self.name, "methods": methods, "left_out": self._reasons()}

    def _reasons(self) -> dict[str, str]:
        """Of all that is not exposed."""
        hidden = {name: f"raised {why} when it was looked at" for name, why in self.hidden.items()}
        return hidden | {name: one.why for name, one in self.left_out.items()}


def doc_of(function: Function) -> str | None:
    """The docstring, cleaned; None where there is none."""
    doc = read(function, "__doc__")
    if not isinstance(doc, str) or not _own_doc(function, doc):
        return None
    return inspect.cleandoc(doc)


def _own_doc(function: Function, doc: str) -> bool:
    """Not the docstring that every instance of its class has.

    A class whose instances have docstrings of their own, such as that of functions, has a descriptor for
    them. Python's own `isroutine` does not tell: from 3.14 on a partial is one.
    """
    if type(function) is MethodType:
        function = function.__func__  # whose docstring it gives
    of_class = next(vars(cls)["__doc__"] for cls in type(function).__mro__ if "__doc__" in vars(cls))
    return bool(doc != of_class)


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
