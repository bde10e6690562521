"""What a server tells about its methods, whichever zerorpc server it is.

Owns the questions (`_zerorpc_inspect`, else the older ones) and the common form of the answers.
It asks through a function and must not know connections or output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mesh.errors import RemoteError, TimeoutExpired

Ask = Callable[..., Any]
_ADDRESS = re.compile(r"(?<=[\w>'.]) at 0x[0-9a-fA-F]+(?=>)")


@dataclass(frozen=True, slots=True)
class Method:
    """One method. args: a mapping each with name and maybe default, or None where nobody knows."""

    name: str
    signature: str
    doc: str
    args: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Description:
    """A service. methods: None where the server answers, but does not tell. left_out: what it has
    besides and does not expose, with the reason; None where it does not tell.
    """

    name: str
    methods: list[Method] | None
    left_out: dict[str, str] | None = None

    def method(self, name: str) -> Method | None:
        """The method of that name, if the server told of it."""
        return next((m for m in self.methods or () if m.name == name), None)


def describe(ask: Ask) -> Description:
    """Ask a server for its methods. ask: calls a remote method, given its name and arguments."""
    try:
        answer = ask("_zerorpc_inspect")
    except RemoteError:
        # zerorpc 0.6.3 on Python 3.11 and later raises here.
        return _describe_piecemeal(ask)
    except TimeoutExpired as error:
        if error.refused:
            raise  # it never had a connection
        # A server that drops names it lacks is silent here, but answers a ping.
        name = _pinged_name(ask)
        if name is None:
            raise error
        return Description(name, None)
    if not isinstance(answer, dict) or not isinstance(answer.get("methods"), dict):
        return _describe_piecemeal(ask)
    methods = [_method(str(name), found) for name, found in answer["methods"].items()]
    return Description(str(answer.get("name") or ""), _sorted(methods), _left_out(answer.get("left_out")))


def _left_out(found: Any) -> dict[str, str] | None:
    if not isinstance(found, dict):
        return None
    return {str(name): _text(found[name]) for name in sorted(found, key=str)}


def _sorted(methods: Iterable[Method]) -> list[Method]:
    return sorted(methods, key=lambda method: method.name)


def _method(name: str, found: Any) -> Method:
    found = found if isinstance(found, dict) else {}
    args = _args(found.get("args"))
    signature = found.get("signature")
    shown = _without_address(signature) if isinstance(signature, str) else _signature(args)
    return Method(name, shown, _text(found.get("doc")), args)


def _describe_piecemeal(ask: Ask) -> Description:
    try:
        names = ask("_zerorpc_list")
    except (RemoteError, TimeoutExpired):
        return Description(_pinged_name(ask) or "", None)
    methods, tells_args = [], True
    for name in map(str, names):
        doc, args = _text(_try(ask, "_zerorpc_help", name)), None
        if tells_args:
            args = _args_of_spec(_try(ask, "_zerorpc_args", name))
            tells_args = args is not None
        methods.append(Method(name, _signature(args), doc, args))
    return Description(_text(_try(ask, "_zerorpc_name")), _sorted(methods))


def _try(ask: Ask, *question: str) -> Any:
    try:
        return ask(*question)
    except RemoteError:
        return None


def _pinged_name(ask: Ask) -> str | None:
    try:
        answer = ask("_zerorpc_ping")
    except RemoteError:
        return ""
    except TimeoutExpired:
        return None
    return str(answer[1]) if isinstance(answer, list) and len(answer) > 1 else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _args(found: Any) -> list[dict[str, Any]] | None:
    if not isinstance(found, list):
        return None
    args = [arg for arg in found if isinstance(arg, dict) and isinstance(arg.get("name"), str)]
    return [{**arg, "default": _default(arg["default"])} if "default" in arg else arg for arg in args]


def _default(value: Any) -> Any:
    return _without_address(value) if isinstance(value, str) else value


def _without_address(text: str) -> str:
    """`<function f at 0x7f…>` as `<function f>`: where it lies changes with each start."""
    return _ADDRESS.sub("", text)


def _args_of_spec(spec: Any) -> list[dict[str, Any]] | None:
    """From the list that the old `_zerorpc_args` sends: names, varargs, keywords, defaults."""
    if not isinstance(spec, list) or len(spec) < 4 or not isinstance(spec[0], list):
        return None
    args: list[dict[str, Any]] = [{"name": str(name)} for name in spec[0]]
    defaults = spec[3] or []
    for arg, default in zip(reversed(args), reversed(defaults), strict=False):
        arg["default"] = _default(default)
    return args


def _signature(args: list[dict[str, Any]] | None) -> str:
    if args is None:
        return "(…)"
    # Old Python servers count the `self` of a bound method.
    shown = args[1:] if args and args[0]["name"] == "self" else args
    return f"({', '.join(_argument(arg) for arg in shown)})"


def _argument(arg: dict[str, Any]) -> str:
    return f"{arg['name']}={arg['default']!r}" if "default" in arg else str(arg["name"])
