"""The errors that users see: what else they are, how they travel, what they know of themselves."""

from __future__ import annotations

import builtins
import copy
import pickle
import traceback
from typing import Any

import pytest

from mesh import errors
from mesh.errors import BY_NAME, MeshError, RemoteError, builtin_name, remote_error

BUILTINS = sorted(
    name for name, cls in vars(builtins).items() if isinstance(cls, type) and issubclass(cls, BaseException)
)
NEVER = {
    *("BaseException", "Exception", "BaseExceptionGroup", "ExceptionGroup", "MemoryError"),
    *(name for name in BUILTINS if issubclass(getattr(builtins, name), Warning)),
    *("GeneratorExit", "KeyboardInterrupt", "SystemExit", "StopIteration", "StopAsyncIteration"),
}
CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MeshError)]


@pytest.mark.parametrize("name", BUILTINS)
def test_a_remote_builtin_is_also_that_builtin(name: str) -> None:
    error = remote_error(name, "the text", "the trace")
    cls = getattr(builtins, name)
    if name in NEVER:
        assert type(error) is RemoteError
    else:
        assert isinstance(error, cls) and isinstance(error, RemoteError)
        with pytest.raises(cls):
            raise error
    assert (error.name, error.msg, error.traceback) == (name, "the text", "the trace")
    assert str(error) == f"{name}: the text"
    assert f"{name}: the text" in "".join(traceback.format_exception(error))
    assert repr(error)


@pytest.mark.parametrize("name", [*BUILTINS, "Mine", "not a name", "", "é" * 1_000])
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_remote_error_can_be_copied_and_pickled(name: str, again: Any) -> None:
    for builtin in (None, "KeyError", "OSError"):
        error = remote_error(name, "text", "trace", builtin)
        twin = again(error)
        assert type(twin) is type(error) or type(twin).__bases__ == type(error).__bases__
        assert (twin.name, twin.msg, twin.traceback, str(twin)) == (name, "text", "trace", str(error))


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_so_can_one_of_a_method_that_does_not_exist(again: Any) -> None:
    error = errors.MethodNotFound("users has no method 'gte'", "trace")
    error.refused = True
    twin = again(error)
    assert type(twin) is errors.MethodNotFound and twin.refused is True
    assert (twin.name, twin.msg, twin.traceback) == ("NameError", "users has no method 'gte'", "trace")
    assert str(twin) == "users has no method 'gte'"


def test_without_a_text_the_name_stands_alone() -> None:
    assert str(remote_error("KeyError", "", None)) == "KeyError"


def test_a_class_is_made_once() -> None:
    assert type(remote_error("KeyError", "a", None)) is type(remote_error("KeyError", "b", None))
    kept = len(errors._mapped)
    for number in range(1_000):
        remote_error(f"Strange{number}", "a", None)
        remote_error("Strange", "a", None, f"Builtin{number}")
    assert len(errors._mapped) == kept, "a peer must not fill it"


class Own(KeyError):
    pass


class Deeper(Own, ValueError):
    pass


class Bare(Exception):
    pass


class Stop(StopIteration):
    pass


@pytest.mark.parametrize(
    ("exc", "name"),
    [
        (KeyError("a"), "KeyError"),
        (Own("a"), "KeyError"),
        (Deeper("a"), "KeyError"),
        (Bare("a"), None),
        (Stop("a"), None),
        (SystemExit(1), None),
        (ExceptionGroup("a", [KeyError()]), None),
        (MemoryError(), None),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), "UnicodeDecodeError"),
        (errors.TimeoutExpired("a"), "TimeoutError"),
        (errors.LostRemote("a"), "ConnectionError"),
        (errors.Overloaded("a"), None),
        (OSError("a"), "OSError"),
    ],
)
def test_the_nearest_builtin(exc: BaseException, name: str | None) -> None:
    assert builtin_name(exc) == name


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_knows_itself(cls: Any) -> None:
    assert cls.fault in ("caller", "remote", "network", "configuration")
    assert cls.exit_code in (1, 2, 3) and 400 <= cls.http_status < 600
    assert cls.__doc__
    error = cls("Name", "text") if cls is RemoteError else cls("text")
    assert error.refused is False and "text" in str(error)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.TimeoutExpired, TimeoutError),
        (errors.LostRemote, ConnectionError),
        (errors.ServiceNotFound, LookupError),
        (errors.Unauthorized, PermissionError),
        (errors.WireError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.MethodNotFound, NameError),
        (errors.MethodNotFound, RemoteError),
    ],
)
def test_what_a_python_programmer_would_catch(cls: type[MeshError], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)


def test_refused_belongs_to_one_error() -> None:
    error = errors.Overloaded("full")
    error.refused = True
    assert not errors.Overloaded("full").refused and not MeshError.refused
    assert all(name == cls.__name__ for name, cls in BY_NAME.items())
