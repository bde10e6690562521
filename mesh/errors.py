"""The errors that users see, all under MeshError.

Each class knows whose fault it is, whether the same call may succeed elsewhere, the exit code
of a command that ends with it and the status a gateway answers.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar, Literal

Fault = Literal["caller", "remote", "network", "configuration"]


class MeshError(Exception):
    """The base of all errors that mesh raises.

    `refused` is True where it is certain that no handler has seen the call, so that it may be
    sent again. It is set on the instance, and is never carried over a hop.

    `trace_id` is that of the trace to which the call belongs; None where it belongs to none. `unrecorded` is
    for mesh itself: the end that has raised has told the collector of enough errors of the kind, so that
    whoever passes it on makes no trace of it either.
    """

    fault: ClassVar[Fault] = "remote"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    refused: bool = False
    trace_id: str | None = None
    unrecorded: bool = False


class RemoteError(MeshError):
    """The remote handler raised.

    name: the class of the remote exception. msg: its text. traceback: the remote traceback as
    text, or None where the peer sent none.
    """

    def __init__(self, name: str, msg: str, traceback: str | None = None) -> None:
        Exception.__init__(self, name, msg, traceback)
        self.name = name
        self.msg = msg
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.name}: {self.msg}" if self.msg else self.name

    def __reduce__(self) -> tuple[Any, ...]:
        builtin = next((base for base in type(self).__bases__ if base is not RemoteError), None)
        return remote_error, (self.name, self.msg, self.traceback, builtin and builtin.__name__)


class MethodNotFound(RemoteError, NameError):  # type: ignore[misc]  # both have a `name`, which is text
    """The server has no method of that name, and so has carried out nothing: the call is `refused`.

    A NameError that a handler raises is a RemoteError and a NameError, but none of these.
    """

    fault = "caller"
    http_status = 404

    def __init__(self, msg: str, traceback: str | None = None) -> None:
        RemoteError.__init__(self, "NameError", msg, traceback)

    def __str__(self) -> str:
        return self.msg

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodNotFound, (self.msg, self.traceback), {"refused": self.refused}


class TimeoutExpired(MeshError, TimeoutError):
    """No answer within the timeout."""

    fault = "network"
    exit_code = 3
    http_status = 504


class LostRemote(MeshError, ConnectionError):
    """The peer is gone while a call was open."""

    fault = "network"
    exit_code = 3
    http_status = 502


class ServiceNotFound(MeshError, LookupError):
    """No resolver knows the name, or a hub has no worker of it."""

    fault = "caller"
    exit_code = 3
    http_status = 404


class Overloaded(MeshError):
    """A bounded queue is full; the call was not carried out.

    `pause` is the seconds after which its server says to come again, None where it says nothing.
    """

    pause: float | None = None

    fault = "remote"
    exit_code = 1
    http_status = 503


class Unauthorized(MeshError, PermissionError):
    """The key or the method is not allowed."""

    fault = "caller"
    exit_code = 1
    http_status = 403


class WireError(MeshError, ValueError):
    """A message that breaks the protocol, or is over a limit."""

    fault = "remote"
    exit_code = 1
    http_status = 502


class ConfigError(MeshError, ValueError):
    """A wrong setting; the text names file, key, and what would be right."""

    fault = "configuration"
    exit_code = 2
    http_status = 500


# What a peer's own refusal is called on the wire -> the class that the caller sees.
BY_NAME: dict[str, type[MeshError]] = {
    cls.__name__: cls
    for cls in (TimeoutExpired, LostRemote, ServiceNotFound, Overloaded, Unauthorized, WireError)
}

# A class that ends the caller's own loops must never come in from outside, and MemoryError can't
# be mixed with another class.
_NEVER_MAPPED = {"StopIteration", "StopAsyncIteration", "MemoryError", "Exception"}
_mapped: dict[str, type[RemoteError]] = {}


# As type itself gives them: a class of the program's own may have a metaclass that raises.
_CLASS_NAME: Any = vars(type)["__name__"]
_CLASS_MRO: Any = vars(type)["__mro__"]
_BUILTIN_NAMES: dict[int, str] = {
    id(cls): cls.__name__
    for cls in vars(builtins).values()
    if isinstance(cls, type) and issubclass(cls, BaseException)
}


def name_of(exc: BaseException) -> str:
    """The name of its class; never raises."""
    return str.__str__(_CLASS_NAME.__get__(type(exc)))


def text_of(exc: BaseException) -> str:
    """What the exception says, also where saying it fails; never raises."""
    try:
        return str.__str__(str(exc))  # what __str__ gives may be of a subclass
    except BaseException as why:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"(its text can't be had: {name_of(why)})"


def builtin_name(exc: BaseException) -> str | None:
    """The name of the nearest built-in class of `exc` that a caller could catch, or None; never raises."""
    for cls in _CLASS_MRO.__get__(type(exc)):
        name = _BUILTIN_NAMES.get(id(cls))
        if name is not None:
            return name if _mappable(name) else None
    return None


def _mappable(name: str) -> bool:
    cls = getattr(builtins, name, None)
    return (
        isinstance(cls, type)
        and issubclass(cls, Exception)
        and not issubclass(cls, (BaseExceptionGroup, Warning))
        and name not in _NEVER_MAPPED
    )


def remote_error(name: str, msg: str, traceback: str | None, builtin: str | None = None) -> RemoteError:
    """The exception for a remote one: a RemoteError that is also the built-in it was.

    builtin: the nearest built-in class, where the peer told it; else `name` itself is tried.
    """
    key = builtin or name
    cls = _mapped.get(key)
    if cls is None:
        if not _mappable(key):
            return RemoteError(name, msg, traceback)
        base = getattr(builtins, key)
        cls = _mapped[key] = type(base.__name__, (RemoteError, base), {"__module__": __name__})
    builtin_class: Any = cls.__bases__[-1]
    error: RemoteError = builtin_class.__new__(cls)
    RemoteError.__init__(error, name, msg, traceback)
    return error
