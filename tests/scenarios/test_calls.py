"""Calls, whichever driver makes them and whichever carries them out."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import mesh
from tests.helpers.processes import PATIENCE, eventually
from tests.scenarios.conftest import Pair, Served

Start = Callable[..., Served]


@pytest.mark.parametrize("value", [None, True, -(2**63), 1.5, "grün", b"\0", [1, [2]], {"a": {"b": []}}])
def test_values_travel(served: Start, value: Any) -> None:
    assert served().client.call("echo", value) == value


@pytest.mark.parametrize("options", [{}, {"idempotent": True}, {"timeout": None}])
def test_dicts_with_numbers_for_keys_travel(served: Start, options: dict[str, Any]) -> None:
    """Also in the first call, when the server might be an old one that can't read them, and asking no more
    of it later on than of any.
    """
    client = served().client.with_options(**options)
    for _ in range(3):
        assert client.call("echo", {1: {None: [1.5], 2.5: {True: "x"}}}) == {
            1: {None: [1.5], 2.5: {True: "x"}}
        }


def test_what_has_no_form_of_its_own(served: Start) -> None:
    class Odd:
        pass

    client, *_ = served(encode=lambda value: "odd")
    assert client.call("echo", (Decimal("1.5"), Odd())) == ["1.5", "odd"]
    with pytest.raises(TypeError, match=r"args\[0\]\['a'\]"):
        served().client.call("echo", {"a": Odd()})


def test_keyword_arguments_travel(served: Start) -> None:
    client, *_ = served()
    assert client.call("add", 1) == 11
    assert client.call("add", 1, second=2) == 3
    with pytest.raises(TypeError, match="third"):
        client.call("add", 1, third=2)


def test_many_at_once(served: Start) -> None:
    client, *_ = served()
    begun = [client.begin("echo", number) for number in range(500)]
    assert [one.result(PATIENCE) for one in begun] == list(range(500))


def test_calls_wait_beside_each_other(served: Start) -> None:
    client, *_ = served()
    began = time.monotonic()
    for one in [client.begin("nap", 0.5) for _ in range(20)]:
        assert one.result(PATIENCE) == 0.5
    assert time.monotonic() - began < 5.0, "one after the other takes 10 s"


def test_the_timeout_bounds_a_call(served: Start) -> None:
    client, *_ = served()
    began = time.monotonic()
    with pytest.raises(mesh.TimeoutExpired, match="nap"):
        client.with_options(timeout=0.2).call("nap", 60.0)
    assert time.monotonic() - began < 10.0
    assert client.call("echo", 1) == 1


def test_what_comes_late_is_nobody_s(served: Start) -> None:
    client, *_ = served()
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.1).call("nap", 0.3)
    assert [client.call("echo", number) for number in range(50)] == list(range(50))


def test_a_call_that_is_cancelled(served: Start) -> None:
    client, *_ = served({"pool_size": 2})
    begun = client.begin("nap", 60.0)
    client.call("echo", 1)
    begun.cancel()
    with pytest.raises(BaseException, match=r"cancel|^$"):
        begun.result(PATIENCE)
    assert client.call("echo", 2) == 2


def test_more_than_the_pool_wait(served: Start) -> None:
    client, *_ = served({"pool_size": 2})
    begun = [client.begin("nap", 0.05) for _ in range(10)]
    assert [one.result(PATIENCE) for one in begun] == [0.05] * 10


def test_each_call_has_fresh_context_variables(served: Start) -> None:
    client, *_ = served()
    assert [client.call("context", str(number)) for number in range(5)] == ["fresh"] * 5


def test_a_server_that_computes_is_not_lost(served: Start) -> None:
    client, *_ = served({"heartbeat": 0.2}, heartbeat=0.2)
    assert client.call("compute", 1.5) == 1.5


def test_built_in_methods(served: Start) -> None:
    client, *_ = served({"name": "shop"})
    assert client.call("_zerorpc_name") == "shop"
    assert client.call("_zerorpc_ping") == ["pong", "shop"]
    assert {"echo", "add", "count"} <= set(client.call("_zerorpc_list"))
    assert client.call("_zerorpc_help", "add") == "The sum."
    add = client.call("_zerorpc_inspect")["methods"]["add"]
    assert [one["name"] for one in add["args"]] == ["first", "second"]
    assert add["signature"].startswith("(first")


def test_several_endpoints_share_the_calls(pair: Pair) -> None:
    shops = [pair.far.shop() for _ in range(2)]
    client = pair.near.connect([pair.far.serve(shop) for shop in shops])

    def both() -> bool:
        client.call("note", 1)
        return all(shop.notes for shop in shops)

    eventually(both, what="both to have had a call")


def test_a_client_that_is_closed_says_so(served: Start) -> None:
    client, *_ = served()
    begun = client.begin("nap", 60.0)
    client.call("echo", 1)
    client.close()
    with pytest.raises(mesh.LostRemote):
        begun.result(PATIENCE)
    with pytest.raises(mesh.MeshError, match="closed"):
        client.call("echo", 1)


def test_large_values(served: Start) -> None:
    blob = b"x" * 20_000_000
    assert served().client.call("echo", blob) == blob
