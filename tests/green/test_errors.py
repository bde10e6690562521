"""Remote exceptions as the caller sees them, and what a server survives."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import eventually


class NoSuchUser(KeyError):
    pass


class Custom(Exception):
    pass


class Unspeakable(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Bare(BaseException):
    pass


class Failing:
    def key(self) -> None:
        raise KeyError("missing")

    def subclass(self) -> None:
        raise NoSuchUser("Ann")

    def custom(self) -> None:
        raise Custom("my own")

    def unspeakable(self) -> None:
        raise Unspeakable

    def surrogates(self) -> None:
        raise ValueError("\ud800 and \udfff")

    def huge(self) -> None:
        raise ValueError("x" * 10_000_000)

    def exits(self) -> None:
        raise SystemExit(3)

    def greenlet_exits(self) -> None:
        raise gevent.GreenletExit

    def timeout(self) -> None:
        with gevent.Timeout(0.01):
            gevent.sleep(5)

    def cancelled(self) -> None:
        raise asyncio.CancelledError

    def bare(self) -> None:
        raise Bare("bones")

    def stops(self) -> None:
        raise StopIteration("early")

    def group(self) -> None:
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])

    def chained(self) -> None:
        try:
            raise ValueError("first")
        except ValueError as exc:
            raise OSError(2, "second") from exc

    def unicode(self) -> None:
        b"\xff".decode()

    def recursion(self) -> None:
        # What others have left is not to be finalized where there is no room for a call any more.
        gc.disable()
        try:
            self._deeper()
        finally:
            gc.enable()

    def _deeper(self) -> None:
        self._deeper()

    def fine(self) -> str:
        return "fine"

    def coroutine(self) -> Any:
        async def one() -> int:
            return 1

        return one()

    @mesh.stream
    def stream_of_a_coroutine(self) -> Any:
        return self.coroutine()

    def breaks_late(self) -> Any:
        yield 1
        raise SystemExit("late")

    def lost(self) -> None:
        raise mesh.LostRemote("some other server")


@pytest.fixture(params=[0, 2], ids=["greenlets", "threads"])
def client(client_of: Callable[..., mesh.Client], request: pytest.FixtureRequest) -> mesh.Client:
    return client_of(Failing(), threads=request.param)


def failure(call: Callable[[], Any]) -> mesh.RemoteError:
    with pytest.raises(mesh.RemoteError) as caught:
        call()
    return caught.value


def test_a_builtin_is_caught_as_what_it_was(client: mesh.Client) -> None:
    with pytest.raises(KeyError) as caught:
        client.key()
    error = caught.value
    assert isinstance(error, mesh.RemoteError)
    assert (error.name, error.msg) == ("KeyError", "'missing'")
    assert str(error) == "KeyError: 'missing'"
    assert error.traceback is not None
    assert 'raise KeyError("missing")' in error.traceback
    assert error.traceback.startswith("Traceback")
    assert "workers.py" not in error.traceback
    assert any("in key" in note for note in error.__notes__)


def test_a_subclass_of_a_builtin_too(client: mesh.Client) -> None:
    with pytest.raises(KeyError) as caught:
        client.subclass()
    assert isinstance(caught.value, mesh.RemoteError)
    assert caught.value.name == "NoSuchUser"


def test_a_class_of_its_own_is_a_remote_error(client: mesh.Client) -> None:
    error = failure(client.custom)
    assert (error.name, error.msg) == ("Custom", "my own")
    assert type(error) is mesh.RemoteError


def test_it_can_be_pickled(client: mesh.Client) -> None:
    error = failure(client.subclass)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, KeyError)
    assert (again.name, again.msg, again.traceback) == (error.name, error.msg, error.traceback)


def test_one_that_cannot_be_said(client: mesh.Client) -> None:
    with pytest.raises(ValueError, match="its text can't be had: RuntimeError"):
        client.unspeakable()


def test_text_that_has_no_utf8(client: mesh.Client) -> None:
    with pytest.raises(ValueError, match=r"\\ud800 and \\udfff"):
        client.surrogates()


def test_a_huge_text_is_cut(client: mesh.Client) -> None:
    error = failure(client.huge)
    assert len(error.msg) < 100_000
    assert "characters left out" in error.msg


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("exits", "SystemExit"),
        ("greenlet_exits", "GreenletExit"),
        ("timeout", "Timeout"),
        ("cancelled", "CancelledError"),
        ("bare", "Bare"),
        ("stops", "StopIteration"),
        ("group", "ExceptionGroup"),
        ("recursion", "RecursionError"),
    ],
)
def test_what_would_end_a_loop_is_answered_and_survived(client: mesh.Client, method: str, name: str) -> None:
    error = failure(lambda: client(method))
    assert error.name == name
    assert isinstance(error, Exception)
    assert not isinstance(error, StopIteration)
    assert client.fine() == "fine"


def test_more_builtins(client: mesh.Client) -> None:
    with pytest.raises(FileNotFoundError, match="second"):
        client.chained()
    with pytest.raises(UnicodeDecodeError):
        client.unicode()


def test_the_cause_is_in_the_traceback(client: mesh.Client) -> None:
    assert 'raise ValueError("first")' in (failure(client.chained).traceback or "")


def test_a_mesh_error_of_the_handler_is_the_handlers(client: mesh.Client) -> None:
    error = failure(client.lost)
    assert error.name == "LostRemote"
    assert not isinstance(error, mesh.LostRemote)
    assert not error.refused


def test_a_late_exit_in_a_stream(client: mesh.Client) -> None:
    stream = client.breaks_late()
    assert next(stream) == 1
    assert failure(lambda: next(stream)).name == "SystemExit"
    assert client.fine() == "fine"


@pytest.mark.parametrize("method", ["coroutine", "stream_of_a_coroutine"])
def test_a_coroutine_is_refused_in_words(
    client: mesh.Client, recwarn: pytest.WarningsRecorder, method: str
) -> None:
    with pytest.raises(TypeError, match="a value of type coroutine, which nobody awaits: mesh"):
        client(method)


def test_an_unknown_method_has_no_traceback_and_no_line_in_the_log(
    client: mesh.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.server")
    for _ in range(20):
        error = failure(client.fin)
        assert isinstance(error, NameError) and type(error) is mesh.MethodNotFound and error.refused
        assert error.msg == "Failing has no method 'fin'; did you mean 'fine'?"
        assert error.traceback is None
    assert [r.message for r in caplog.records if "dropped" not in r.message] == []


def test_over_two_hops_it_is_an_error_of_the_handler(
    client: mesh.Client, client_of: Callable[..., mesh.Client]
) -> None:
    """Whose method does exist: whoever calls it must not take it for one that has not run."""
    front = client_of({"get": lambda: client.no_such_method()})
    error = failure(front.get)
    assert isinstance(error, NameError) and type(error) is not mesh.MethodNotFound
    assert error.name == "MethodNotFound" and not error.refused


def test_nothing_is_printed(client: mesh.Client, capfd: pytest.CaptureFixture[str]) -> None:
    for method in ("key", "exits", "bare", "timeout"):
        failure(lambda method=method: client(method))  # type: ignore[misc]
    assert "failed with" not in capfd.readouterr().err


def test_what_a_generator_raises_when_it_is_left_is_in_the_log(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def items() -> Any:
        try:
            yield from range(1_000)
        finally:
            raise KeyError("the connection is closed already")

    with caplog.at_level("INFO", "mesh.server"):
        stream = connect(serve({"items": items})).items()
        assert next(stream) == 0
        stream.close()
        eventually(lambda: "the connection is closed already" in caplog.text)
