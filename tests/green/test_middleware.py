"""Middleware around the handlers of a server and the calls of a client, with real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mesh
from mesh.errors import ConfigError
from tests.green.conftest import Connect, Serve


class Users:
    def get(self, number: int, loud: bool = False) -> str:
        name = {42: "Ann"}[number]
        return name.upper() if loud else name

    def all(self) -> Iterator[int]:
        yield from range(300)

    @mesh.stream
    def listed(self) -> list[int]:
        return [1, 2]

    def seen(self) -> dict[str, Any]:
        call = mesh.current_call()
        assert call is not None
        return {name: getattr(call, name) for name in ("service", "method", "headers", "peer", "args")}

    def waits(self) -> tuple[bool, bool]:
        call = mesh.current_call()
        assert call is not None
        return call.timeout is not None and 5 < call.timeout <= 10, call.deadline is not None

    def thread(self) -> tuple[int, str]:
        call = mesh.current_call()
        assert call is not None
        return threading.get_native_id(), call.method


def test_it_sees_the_call_and_its_outcome(serve: Serve, connect: Connect) -> None:
    seen: list[Any] = []

    def watch(call: Any, proceed: Any) -> Any:
        seen.append((call.service, call.method, call.args, call.kwargs))
        try:
            seen.append(proceed(call))
        except Exception as exc:
            seen.append(type(exc).__name__)
            raise
        return seen[-1]

    client = connect(serve(Users(), name="users", middleware=[watch]))
    assert client.get(42, loud=True) == "ANN"
    with pytest.raises(KeyError) as caught:
        client.get(1)
    assert "in get" in caught.value.traceback
    assert seen[::2] == [("users", "get", (42,), {"loud": True}), ("users", "get", (1,), {})]
    assert seen[1::2] == ["ANN", "KeyError"]


def test_the_first_is_the_outermost_and_each_may_change_the_call(serve: Serve, connect: Connect) -> None:
    order: list[str] = []

    def outer(call: Any, proceed: Any) -> Any:
        order.append("outer")
        call.args = (42,)
        return proceed(call) + "!"

    def inner(call: Any, proceed: Any) -> Any:
        order.append("inner")
        call.method, call.kwargs = "get", {"loud": True}
        return proceed(call)

    client = connect(serve(Users(), middleware=[outer, inner]))
    assert client.get(7) == client.seen() == "ANN!"
    assert order == ["outer", "inner"] * 2


def test_one_may_answer_refuse_and_try_again(serve: Serve, connect: Connect) -> None:
    tries: list[int] = []

    def guard(call: Any, proceed: Any) -> Any:
        if call.headers.get("token") != "secret":
            raise PermissionError("no token")
        return proceed(call)

    def again(call: Any, proceed: Any) -> Any:
        for _ in range(3):
            tries.append(1)
            try:
                return proceed(call)
            except KeyError:
                call.args = (42,)
        return None

    client = connect(serve(Users(), middleware=[again, guard]))
    with pytest.raises(PermissionError, match="no token"):
        client.get(42)
    assert tries == [1]


def test_streams_may_be_wrapped_and_are_closed(serve: Serve, connect: Connect) -> None:
    closed: list[int] = []

    def double(call: Any, proceed: Any) -> Any:
        result = proceed(call)
        return doubled(result) if hasattr(result, "__next__") else result

    def doubled(items: Iterator[int]) -> Iterator[int]:
        number = 0
        try:
            for item in items:
                number += 1
                yield 2 * item
        finally:
            closed.append(number)

    client = connect(serve(Users(), middleware=[double]))
    assert list(client.all()) == [2 * n for n in range(300)]
    assert list(client.listed()) == [2, 4]
    assert closed == [300, 2]
    assert client.get(42) == "Ann"


def test_what_every_server_has_goes_past_it(serve: Serve, connect: Connect) -> None:
    def refuse(call: Any, proceed: Any) -> Any:
        raise PermissionError(call.method)

    client = connect(serve(Users(), name="users", middleware=[refuse]))
    assert client._zerorpc_ping() == ["pong", "users"] and "get" in client._zerorpc_list()
    with pytest.raises(PermissionError, match="get"):
        client.get(42)
    with pytest.raises(mesh.MethodNotFound):
        client.nothing()


def test_a_method_that_it_makes_up_is_told(serve: Serve, connect: Connect) -> None:
    def rename(call: Any, proceed: Any) -> Any:
        call.method = "nothing"
        return proceed(call)

    client = connect(serve(Users(), middleware=[rename]))
    with pytest.raises(NameError, match="nothing"):
        client.get(42)


@pytest.mark.parametrize("threads", [0, 2])
def test_the_current_call(client_of: Callable[..., mesh.Client], threads: int) -> None:
    client = client_of(Users(), name="users", threads=threads)
    seen = client.seen()
    assert (seen["service"], seen["method"], seen["headers"], seen["args"]) == ("users", "seen", {}, [])
    assert seen["peer"] == "127.0.0.1"
    assert client.with_options(timeout=10).waits() == [True, True]
    assert client.thread()[1] == "thread"
    assert len({client.thread()[0] for _ in range(20)}) <= max(threads, 1)
    assert mesh.current_call() is None


@pytest.mark.parametrize("middleware", ["timing", print, [3], {"a": print}])
def test_what_is_no_list_of_functions_is_refused(middleware: Any) -> None:
    with pytest.raises(ConfigError, match="middleware"):
        mesh.Server(Users(), middleware=middleware)


# A client's


def test_what_a_client_sets_arrives_through_to_the_handler(serve: Serve, connect: Connect) -> None:
    def tenant(call: Any, proceed: Any) -> Any:
        call.headers["tenant"] = {"name": "acme", "ids": (1, 2)}
        return proceed(call)

    def token(call: Any, proceed: Any) -> Any:
        call.headers["token"] = b"secret"
        return proceed(call)

    client = connect(serve(Users(), name="users"), middleware=[tenant, token])
    headers = {"tenant": {"name": "acme", "ids": [1, 2]}, "token": b"secret"}
    assert client.seen()["headers"] == client.with_options(retries=2).seen()["headers"] == headers
    assert client.seen.future().result(10)["headers"] == headers
    assert client("get", 42, loud=True) == "ANN"


def test_a_client_s_may_change_answer_and_try_again(serve: Serve, connect: Connect) -> None:
    calls: list[Any] = []

    def cache(call: Any, proceed: Any) -> Any:
        calls.append((call.service, call.method, call.args, call.kwargs, call.timeout))
        if call.args == (7,):
            return "cached"
        try:
            return proceed(call)
        except KeyError:
            call.args = (42,)
            return proceed(call)

    endpoint = serve(Users())
    client = connect(endpoint, middleware=[cache], timeout=9)
    assert client.get(7) == "cached"
    assert client.get(1, loud=True) == "ANN"
    assert calls[1] == (endpoint, "get", (1,), {"loud": True}, 9)


def test_it_may_set_the_timeout(serve: Serve, connect: Connect) -> None:
    def hurry(call: Any, proceed: Any) -> Any:
        call.timeout = 0.05
        return proceed(call)

    def slow() -> None:
        threading.Event().wait(0.5)

    with pytest.raises(mesh.TimeoutExpired):
        connect(serve({"slow": slow}), middleware=[hurry]).slow()


def test_errors_may_be_translated(serve: Serve, connect: Connect) -> None:
    class NoSuchUser(Exception):
        pass

    def translate(call: Any, proceed: Any) -> Any:
        try:
            return proceed(call)
        except mesh.RemoteError as error:
            raise NoSuchUser(error.msg) from error

    with pytest.raises(NoSuchUser, match="1"):
        connect(serve(Users()), middleware=[translate]).get(1)


def test_a_client_s_wraps_streams(serve: Serve, connect: Connect) -> None:
    def half(call: Any, proceed: Any) -> Any:
        return (item // 2 for item in proceed(call))

    client = connect(serve(Users()), middleware=[half])
    assert list(client.all()) == [n // 2 for n in range(300)]


@pytest.mark.parametrize(
    ("headers", "error", "told"),
    [
        ({"service": "x"}, ValueError, "mesh's own"),
        ({"a": object()}, TypeError, r"call.headers\['a'\]"),
        ({"a": b"x" * 20_000}, ValueError, "16384"),
    ],
)
def test_headers_that_may_not_travel_raise_at_the_caller(
    serve: Serve, connect: Connect, headers: dict[str, Any], error: type[Exception], told: str
) -> None:
    def put(call: Any, proceed: Any) -> Any:
        call.headers.update(headers)
        return proceed(call)

    client = connect(serve(Users()), middleware=[put])
    with pytest.raises(error, match=told):
        client.get(42)


def test_it_runs_in_the_thread_that_calls_and_with_a_future_where_the_call_does(
    serve: Serve, connect: Connect
) -> None:
    threads: list[int] = []

    def where(call: Any, proceed: Any) -> Any:
        threads.append(threading.get_native_id())
        return proceed(call)

    client = connect(serve(Users()), middleware=[where])
    mine: list[int] = []

    def call() -> None:
        mine.append(threading.get_native_id())
        assert client.get(42) == "Ann"
        assert client.get.future(42).result(10) == "Ann"
        assert list(client.all())[-1] == 299

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(20)
    assert threads[0] == threads[2] == mine[0] != threads[1]


def test_a_view_keeps_it(serve: Serve, connect: Connect) -> None:
    seen: list[str] = []

    def note(call: Any, proceed: Any) -> Any:
        seen.append(call.method)
        return proceed(call)

    client = connect(serve(Users()), middleware=[note])
    assert client.with_options(timeout=5).get(42) == "Ann"
    assert seen == ["get"]


def test_what_is_no_list_of_functions_is_refused_by_a_client() -> None:
    with pytest.raises(ConfigError, match="middleware"):
        mesh.connect("tcp://127.0.0.1:9", middleware=print)  # type: ignore[arg-type]
