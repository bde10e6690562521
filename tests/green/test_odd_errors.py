"""Exceptions that raise when they are looked at: each ends its call, and no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from mesh.errors import builtin_name, name_of, text_of
from tests.green.conftest import Connect, Serve


def refuses(*_: Any) -> Any:
    raise RuntimeError("not to be looked at")


def exits(*_: Any) -> Any:
    raise SystemExit(9)


class Metaclass(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__module__", "__qualname__", "__mro__"):
            raise RuntimeError(name)
        return type.__getattribute__(cls, name)

    def __hash__(cls) -> int:
        raise RuntimeError("no hash")


class OfMetaclass(Exception, metaclass=Metaclass):
    pass


class Text(str):
    def __len__(self) -> int:
        raise RuntimeError("no length")


def odd(name: str, **attributes: Any) -> Exception:
    made: Exception = type(name, (Exception,), attributes)("why")
    return made


class Loader:
    def get_source(self, name: str) -> str:
        raise RuntimeError("loader broken")


def of_a_broken_loader() -> Exception:
    """A ValueError with a frame whose source can't be read."""
    scope: dict[str, Any] = {"__name__": "compiled", "__loader__": Loader()}
    exec(compile("def f(): raise ValueError('why')", "compiled.py", "exec"), scope)
    try:
        scope["f"]()
    except ValueError as exc:
        return exc
    raise AssertionError


KINDS: dict[str, Callable[[], BaseException]] = {
    "bytes for the line": lambda: SyntaxError("why", ("page.html", 1, 1, b"{{ x")),  # type: ignore[arg-type]
    "loader": of_a_broken_loader,
    **{
        name: lambda name=name: odd("Odd", **{name: property(refuses)})  # type: ignore[misc]
        for name in ("__traceback__", "__cause__", "__context__", "__notes__", "__class__")
    },
    "cause that exits": lambda: odd("Odd", __cause__=property(exits)),
    "cause of a wrong type": lambda: odd("Odd", __cause__=5),
    "__bool__": lambda: odd("Odd", __bool__=refuses),
    "__eq__": lambda: odd("Odd", __eq__=refuses, __hash__=refuses),
    "__getattr__": lambda: odd("Odd", __getattr__=refuses),
    "__getattribute__": lambda: odd("Odd", __getattribute__=refuses),
    "metaclass": lambda: OfMetaclass("why"),
    "module": lambda: odd("Odd", __module__=5),
}
MUTE: dict[str, tuple[Callable[[], BaseException], str]] = {
    "RuntimeError": (lambda: odd("Odd", __str__=refuses), "(its text can't be had: RuntimeError)"),
    "SystemExit": (lambda: odd("Odd", __str__=exits), "(its text can't be had: SystemExit)"),
    "subclass of str": (lambda: odd("Odd", __str__=lambda _: Text("why")), "why"),
}


@pytest.fixture(params=[0, 1], ids=["greenlets", "threads"])
def call(serve: Serve, connect: Connect, request: pytest.FixtureRequest) -> Callable[..., mesh.RemoteError]:
    """Gives what a method, or a generator, that raises `make()` is answered with."""

    def ask(make: Callable[[], BaseException], stream: bool) -> mesh.RemoteError:
        def plain() -> None:
            raise make()

        def items() -> Iterator[int]:
            yield 1
            raise make()

        methods = {"plain": plain, "items": items, "fine": lambda: "fine"}
        client = connect(serve(methods, threads=request.param, pool_size=1))
        with pytest.raises(mesh.RemoteError) as caught:
            list(client.items()) if stream else client.plain()
        assert client.fine() == "fine"  # in the place that is free again
        return caught.value

    return ask


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_can_hardly_be_looked_at(
    call: Callable[..., mesh.RemoteError], kind: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mesh.server"):
        error = call(KINDS[kind], stream)
    assert error.name in ("Odd", "OfMetaclass", "SyntaxError", "ValueError")
    assert error.msg.startswith("why")
    assert "test_odd_errors.py" in str(error.traceback) and "why" in str(error.traceback)
    assert "raised Traceback" in caplog.text and "why" in caplog.text


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("kind", MUTE)
def test_one_whose_text_is_odd(call: Callable[..., mesh.RemoteError], kind: str, stream: bool) -> None:
    make, text = MUTE[kind]
    error = call(make, stream)
    assert (error.name, error.msg) == ("Odd", text)


def test_one_with_a_long_text_that_python_cannot_format(
    call: Callable[..., mesh.RemoteError], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mesh.server"):
        error = call(lambda: SyntaxError("why" * 9_000, ("f", 1, 1, b"x")), False)  # type: ignore[arg-type]
    assert error.msg.startswith("whywhy")
    assert "characters left out" in caplog.text


def test_a_log_that_raises_keeps_no_answer_back(
    call: Callable[..., mesh.RemoteError], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("mesh.server")
    logger.addFilter(refuses)
    try:
        with caplog.at_level(logging.INFO, "mesh.server"):
            error = call(lambda: ValueError("why"), False)
    finally:
        logger.removeFilter(refuses)
    assert isinstance(error, ValueError) and error.msg == "why"
    assert "the server could not log this: RuntimeError" in str(error.traceback)


def test_name_and_text_never_raise() -> None:
    error = OfMetaclass("why")
    assert (name_of(error), text_of(error), builtin_name(error)) == ("OfMetaclass", "why", None)
    assert builtin_name(odd("KeyError")) is None
    assert builtin_name(FileNotFoundError()) == "FileNotFoundError"
    assert builtin_name(UnicodeDecodeError("utf-8", b"", 0, 1, "x")) == "UnicodeDecodeError"
