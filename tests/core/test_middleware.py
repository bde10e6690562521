"""Middleware in memory: how functions are put together, and what of `call.headers` may travel."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from mesh.core import wire
from mesh.core.channel import NEVER
from mesh.core.middleware import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    RESERVED,
    CallContext,
    Proceed,
    ServedCall,
    begin_handler,
    chained,
    checked,
    current_call,
    handler_context,
    headers_of,
    remaining,
    request_headers,
)
from mesh.core.server_call import ServerCall
from mesh.errors import ConfigError


def a_call(*args: Any) -> CallContext:
    return CallContext("users", "get", args, {}, {}, 2.0)


def test_the_first_is_the_outermost() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        def middleware(call: CallContext, proceed: Proceed) -> Any:
            order.append(f"+{name}")
            try:
                return proceed(call)
            finally:
                order.append(f"-{name}")

        return middleware

    through = chained([named("a"), named("b")], lambda call: order.append(call.method) or sum(call.args))
    assert through(a_call(1, 2)) == 3
    assert order == ["+a", "+b", "get", "-b", "-a"]


def test_one_may_change_the_call_answer_itself_raise_and_proceed_again() -> None:
    calls: list[tuple[Any, ...]] = []

    def carry_out(call: CallContext) -> Any:
        calls.append((call.method, call.args))
        if len(calls) < 3:
            raise KeyError(len(calls))
        return "done"

    def persist(call: CallContext, proceed: Proceed) -> Any:
        for _ in range(5):
            try:
                return proceed(call)
            except KeyError:
                continue
        raise AssertionError

    def rename(call: CallContext, proceed: Proceed) -> Any:
        call.method, call.args = "find", (*call.args, 1)
        return proceed(call)

    def cache(call: CallContext, proceed: Proceed) -> Any:
        return "cached" if call.args == (7,) else proceed(call)

    through = chained([cache, persist, rename], carry_out)
    assert through(a_call(7)) == "cached" and calls == []
    assert through(a_call(0)) == "done"
    assert calls == [("find", (0, 1)), ("find", (0, 1, 1)), ("find", (0, 1, 1, 1))]


def test_without_any_there_is_only_the_last() -> None:
    def last(call: CallContext) -> int:
        return 1

    assert chained([], last) is last


def test_coroutines_go_together_too() -> None:
    async def double(call: CallContext, proceed: Proceed) -> Any:
        return 2 * await proceed(call)

    async def last(call: CallContext) -> Any:
        await asyncio.sleep(0)
        return call.args[0]

    assert asyncio.run(chained([double, double], last)(a_call(3))) == 12


def plain(call: CallContext, proceed: Proceed) -> Any:
    return proceed(call)


async def awaiting(call: CallContext, proceed: Proceed) -> Any:
    return await proceed(call)


class Plain:
    def __call__(self, call: CallContext, proceed: Proceed) -> Any:
        return proceed(call)


class Awaiting:
    async def __call__(self, call: CallContext, proceed: Proceed) -> Any:
        return await proceed(call)


@pytest.mark.parametrize("coroutines", [False, True])
@pytest.mark.parametrize("given", [plain, "timing", b"x", {"a": plain}, 7, [7], [None], [Plain]])
def test_what_is_no_list_of_functions_is_refused(given: Any, coroutines: bool) -> None:
    with pytest.raises(ConfigError, match=r"middleware (is|has) .*(list of functions|no function)"):
        checked(given, coroutines=coroutines)


def test_any_iterable_of_functions_will_do() -> None:
    for coroutines in (False, True):
        assert checked(None, coroutines=coroutines) == checked([], coroutines=coroutines) == ()
    some: list[Any] = [plain, Plain(), partial(plain)]
    assert checked(iter(some), coroutines=False) == tuple(some)
    some = [awaiting, Awaiting(), partial(awaiting)]
    assert checked(iter(some), coroutines=True) == tuple(some)


def yields(call: CallContext, proceed: Proceed) -> Any:
    yield proceed(call)


async def yields_too(call: CallContext, proceed: Proceed) -> Any:
    yield await proceed(call)


@pytest.mark.parametrize(
    ("one", "coroutines", "told"),
    [
        (awaiting, False, "is `async def`.*mesh.aio"),
        (Awaiting(), False, "is `async def`"),
        (plain, True, "no `async def`.*awaits"),
        (Plain(), True, "no `async def`"),
        (yields, False, "has `yield`"),
        (yields_too, True, "has `yield`"),
        (lambda: 1, False, "can't be called with"),
        (lambda call: 1, True, "can't be called with"),
    ],
)
def test_one_of_the_other_world_is_refused(one: Any, coroutines: bool, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        checked([one], coroutines=coroutines)


def test_headers_travel_as_values_do() -> None:
    headers = {"tenant": "acme", "locale": b"de", "ids": [1, {"a": None}], "set": {3}}
    assert request_headers(headers) is headers
    name, args = "get", [1]
    header, *_ = wire.unpack(wire.pack({"message_id": b"1", "v": 3, **headers}, name, args))
    assert headers_of(header) == {"tenant": "acme", "locale": b"de", "ids": [1, {"a": None}], "set": [3]}


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_of_mesh_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*mesh's own"):
        request_headers({name: 1})


def test_every_header_key_of_the_wire_s_page_is_reserved() -> None:
    from pathlib import Path
    from re import MULTILINE, findall

    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
    tables = page[: page.index("## One-way events")]
    keys = set(findall(r"^\| `([a-z_]+)` \| ", tables, MULTILINE)) - {"_zpc_more", "_zpc_hb"}
    assert {"message_id", "v", "response_to", "deadline", "kwargs", "builtin"} <= keys <= RESERVED


@pytest.mark.parametrize(
    ("headers", "error", "told"),
    [
        ([("a", 1)], TypeError, "must be a dict, not list"),
        ({1: 2}, TypeError, "has the key 1; the names of headers are str"),
        ({"a": object()}, TypeError, r"call.headers\['a'\]"),
        ({"a": [1, {"b": object()}]}, TypeError, r"call.headers\['a'\]\[1\]\['b'\]"),
        ({"a": 2**70}, TypeError, "a"),
        ({str(n): n for n in range(MAX_HEADERS + 1)}, ValueError, "has 65 keys; 64 may travel"),
        ({"a": b"x" * MAX_HEADER_BYTES}, ValueError, "16384 may travel"),
    ],
)
def test_what_may_not_travel_is_told(headers: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        request_headers(headers)


def test_as_much_as_may_travel_travels() -> None:
    request_headers({str(n): n for n in range(MAX_HEADERS)})
    request_headers({"a": b"x" * (MAX_HEADER_BYTES - 6)})


def test_a_client_s_own_form_of_values_counts() -> None:
    class User:
        id = 7

    assert request_headers({"user": User()}, encode=lambda user: user.id)


def test_a_server_tells_what_is_left_of_the_time() -> None:
    assert remaining(NEVER, 5.0) == (None, None)
    assert remaining(7.5, 5.0) == (2.5, 7.5)
    assert remaining(4.0, 5.0) == (0.0, 4.0)


def test_the_current_call_is_made_where_it_is_asked_for() -> None:
    made: list[CallContext] = []

    def describe(call: str) -> CallContext:
        made.append(a_call(call))
        return made[-1]

    def handler(call: str) -> CallContext | None:
        begin_handler(call)
        assert made == []
        return current_call()

    context = handler_context(describe)
    assert context.copy().run(handler, "a") is made[0] and made[0].args == ("a",)
    assert context.run(current_call) is None is current_call()


def test_a_call_at_its_server_finds_out_what_is_asked_for() -> None:
    asked: list[str] = []
    header = {"message_id": b"1", "v": 3, "kwargs": {"loud": True}, "tenant": "acme"}
    request = ServerCall(b"peer", header, "get", [42], 10, 5.0, 5.0)
    request.deadline = 9.0

    def whom(call: ServerCall) -> str:
        asked.append("whom")
        return "from 10.0.0.7"

    call = ServedCall("users", request, whom, lambda: 7.0)
    assert (call.service, call.method, call.args, call.kwargs) == ("users", "get", (42,), {"loud": True})
    assert call.headers == {"tenant": "acme"} and (call.timeout, call.deadline) == (2.0, 9.0)
    assert asked == [] and call.peer == "10.0.0.7" == call.peer and asked == ["whom"]
    call.headers["more"] = 1
    call.timeout = 1.0
    assert call.headers == {"tenant": "acme", "more": 1} and call.timeout == 1.0
    with pytest.raises(AttributeError, match="no 'tenant'"):
        call.tenant  # noqa: B018
