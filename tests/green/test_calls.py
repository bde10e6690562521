"""Calls as a program makes them: names, arguments, values, options, ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Serve
from tests.helpers.ids import shown


class Users:
    def get(self, number: int) -> str:
        return f"user {number}"

    def add(self, name: str, *, admin: bool = False, **more: Any) -> list[Any]:
        return [name, admin, more]

    def echo(self, value: Any) -> Any:
        return value

    def method(self, /, **kwargs: Any) -> dict[str, Any]:
        return kwargs

    def close(self) -> str:
        return "the remote one"

    def slow(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return "done"

    def thing(self) -> Any:
        return {"list": [1, 2j]}


@pytest.fixture
def users(client_of: Callable[..., mesh.Client]) -> mesh.Client:
    return client_of(Users())


def test_a_remote_method_is_an_attribute_or_a_name(users: mesh.Client) -> None:
    assert users.get(42) == "user 42"
    assert users("get", 42) == "user 42"
    assert users("close") == "the remote one"


def test_keyword_arguments_travel(users: mesh.Client) -> None:
    assert users.add("Ann", admin=True) == ["Ann", True, {}]
    assert users("add", "Ann", other=[1], admin=False) == ["Ann", False, {"other": [1]}]
    assert users.method(method=1, self_=2, function=3) == {"method": 1, "self_": 2, "function": 3}
    assert users("method", method=1, self=2) == {"method": 1, "self": 2}


VALUES = [
    None,
    True,
    False,
    0,
    -(2**63),
    2**64 - 1,
    1.5,
    -0.0,
    math.inf,
    "",
    "Grüße \u2028 \U0001f600",
    b"",
    bytes(range(256)),
    [],
    [1, [2, [3]]],
    {},
    {"a": {"b": [None]}, 1: "int", b"bytes": 2.5, 2.5: None},
    datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    datetime(1901, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("value", VALUES, ids=shown)
def test_values_come_back_as_they_went(users: mesh.Client, value: Any) -> None:
    back = users.echo(value)
    assert back == value
    assert type(back) is type(value)


def test_a_tuple_arrives_as_a_list_and_nan_as_nan(users: mesh.Client) -> None:
    assert users.echo((1, (2,))) == [1, [2]]
    assert math.isnan(users.echo(math.nan))
    there = datetime(2024, 5, 6, 7, 8, tzinfo=timezone(timedelta(hours=5)))
    assert users.echo(there) == there
    assert users.echo(bytearray(b"ab")) == b"ab"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "args[0] is of type object"),
        ({"a": [1, {2j}]}, "args[0]['a'][1][0] is of type complex"),
        (2**64, "args[0] is an integer of more than 64 bits"),
        ("\ud800", "args[0] is a text with lone surrogates"),
        (datetime(2024, 1, 1), "args[0] is a datetime without a time zone"),
        (memoryview(b"abcd")[::2], "args[0] is a memoryview with gaps"),
        ({(1, 2): object()}, "args[0]"),
    ],
    ids=shown,
)
def test_what_cannot_travel_is_named_before_anything_is_sent(
    users: mesh.Client, value: Any, place: str
) -> None:
    with pytest.raises(TypeError) as caught:
        users.echo(value)
    assert place in str(caught.value)
    assert not isinstance(caught.value, mesh.RemoteError)
    assert users.echo(1) == 1


def test_a_keyword_that_cannot_travel_is_named(users: mesh.Client) -> None:
    with pytest.raises(TypeError, match=r"kwargs\['what'\] is of type complex"):
        users.add("Ann", what=1j)


def test_a_list_that_contains_itself_cannot_travel(users: mesh.Client) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="nested more than"):
        users.echo(endless)


def test_a_result_that_cannot_travel_is_a_type_error_with_its_place(users: mesh.Client) -> None:
    with pytest.raises(TypeError, match=r"the result\['list'\]\[1\] is of type complex"):
        users.thing()
    assert users.get(1) == "user 1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_result_that_is_bytes_with_gaps_too(serve: Serve, connect: Connect, stream: bool) -> None:
    gaps = {"data": memoryview(b"abcd")[::2]}
    client = connect(serve({"call": lambda: gaps, "stream": lambda: iter([gaps]), "fine": lambda: 1}))
    with pytest.raises(TypeError, match=r"the (result|item)\['data'\] is a memoryview with gaps"):
        list(client.stream()) if stream else client.call()
    assert client.fine() == 1


def test_a_view_has_other_options_and_the_same_connection(users: mesh.Client) -> None:
    quick = users.with_options(timeout=0.05)
    with pytest.raises(mesh.TimeoutExpired, match=r"no answer from tcp://\S+ to 'slow' after 0.05 s"):
        quick.slow(5.0)
    with pytest.raises(TimeoutError):
        quick.slow(5.0)
    assert users.slow(0.1) == "done"
    assert quick.with_options(timeout=None).slow(0.1) == "done"
    with pytest.raises(TypeError):
        users.with_options(colour="red")
    with pytest.raises(ValueError, match="timeout must be more than 0"):
        users.with_options(timeout=0)


def test_a_closed_client_says_so(serve: Serve) -> None:
    with mesh.connect(serve(Users())) as users:
        view = users.with_options(timeout=1)
        assert view.get(1) == "user 1"
    for one in (users, view):
        with pytest.raises(mesh.MeshError, match="closed"):
            one.get(1)
    users.close()


def test_closing_ends_the_open_calls(serve: Serve) -> None:
    users = mesh.connect(serve(Users()))
    users.get(1)
    pending = users.slow.future(30.0)
    users.close()
    with pytest.raises(mesh.LostRemote, match="the client was closed") as caught:
        pending.result(timeout=20)
    assert isinstance(caught.value, ConnectionError)


def test_closing_ends_calls_that_wait_for_a_connection() -> None:
    users = mesh.connect("tcp://127.0.0.1:1", timeout=None)
    persistent = users.with_options(retries=5)
    waiting = [users.get.future(1), persistent.get.future(1), users.get.future(kw=1)]
    users.close()
    for one in waiting:
        with pytest.raises(mesh.MeshError, match="closed"):
            one.result(timeout=20)


def test_nobody_there_is_a_timeout_that_says_why(connect: Connect) -> None:
    nobody = connect("tcp://127.0.0.1:1", timeout=0.1)
    with pytest.raises(mesh.TimeoutExpired, match=r"'get' could not be sent after 0.1 s: tcp://127.0.0.1:1"):
        nobody.get(1)


def test_private_names_are_not_remote(users: mesh.Client) -> None:
    with pytest.raises(AttributeError):
        users._secret  # noqa: B018
    with pytest.raises(NameError, match="_secret"):
        users("_secret")
    with pytest.raises(NameError):
        users("__init__")
    assert "get" in users._zerorpc_list()
    assert users._zerorpc_name() == "Users"


def test_an_unknown_method_is_told_with_a_suggestion(users: mesh.Client) -> None:
    with pytest.raises(NameError, match=r"Users has no method 'ad'; did you mean 'add'"):
        users.ad("Ann")


def test_the_wrong_arguments_are_the_remotes_type_error(users: mesh.Client) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        users.get()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        users.get(1, colour="red")


def test_a_list_of_endpoints_and_any_of_its_servers(serve: Serve, connect: Connect) -> None:
    both = connect([serve(Users()), serve(Users())])
    assert [both.get(n) for n in range(10)] == [f"user {n}" for n in range(10)]


def test_a_target_that_makes_no_sense_is_a_config_error() -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.connect("tcp://127.0.0.1")
    with pytest.raises((mesh.ConfigError, mesh.ServiceNotFound)):
        mesh.connect([])


def test_a_message_over_the_limit_is_refused_at_home(serve: Serve, connect: Connect) -> None:
    users = connect(serve(Users()), max_message=10_000)
    with pytest.raises(mesh.WireError, match="the limit is 10000"):
        users.echo(b"x" * 20_000)
    assert users.echo(b"x" * 5_000) == b"x" * 5_000


def test_large_values_travel(users: mesh.Client) -> None:
    blob = b"x" * (8 * 1024 * 1024)
    assert users.echo(blob) == blob


def test_many_calls_at_once_each_get_their_own_answer(users: mesh.Client) -> None:
    jobs = [gevent.spawn(users.get, n) for n in range(2_000)]
    assert [job.get(timeout=20) for job in jobs] == [f"user {n}" for n in range(2_000)]


def test_the_endpoint_inproc(connect: Connect) -> None:
    server = mesh.Server(Users())
    endpoint = server.bind("inproc://test-calls")
    server.start()
    try:
        assert connect(endpoint).get(3) == "user 3"
    finally:
        server.stop()
