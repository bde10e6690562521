"""Middleware on both sides, whichever drivers they have, direct and through a hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mesh
from tests.hubs.test_registered import queue, running
from tests.scenarios.conftest import Pair, Served
from tests.scenarios.drivers import Aio, Driver

Start = Callable[..., Served]


class Tenants:
    """Tells whose call it is."""

    def whose(self) -> list[Any]:
        call = mesh.current_call()
        assert call is not None
        return [call.headers.get("tenant"), call.service, call.method]


def tenant(driver: Driver) -> Callable[..., Any]:
    def put(call: Any, proceed: Any) -> Any:
        call.headers["tenant"] = "acme"
        return proceed(call)

    async def put_async(call: Any, proceed: Any) -> Any:
        call.headers["tenant"] = "acme"
        return await proceed(call)

    return put_async if isinstance(driver, Aio) else put


def translating(driver: Driver) -> Callable[..., Any]:
    """Doubles the first argument, and has a KeyError be a ValueError."""

    def translate(call: Any, proceed: Any) -> Any:
        call.args = tuple(2 * one if type(one) is int else one for one in call.args)
        try:
            return proceed(call)
        except KeyError as exc:
            raise ValueError("translated") from exc

    async def translate_async(call: Any, proceed: Any) -> Any:
        call.args = tuple(2 * one if type(one) is int else one for one in call.args)
        try:
            return await proceed(call)
        except KeyError as exc:
            raise ValueError("translated") from exc

    return translate_async if isinstance(driver, Aio) else translate


@contextmanager
def _direct(pair: Pair) -> Iterator[str]:
    yield pair.far.serve(Tenants(), name="tenants")


@contextmanager
def _by_hub(pair: Pair) -> Iterator[str]:
    with running(queue(service="tenants")) as (_, endpoints):
        pair.far.register("tenants", Tenants(), endpoints.out[0])
        yield endpoints.in_[0]


@pytest.mark.parametrize("way", [_direct, _by_hub])
def test_headers_arrive_at_the_handler(pair: Pair, way: Any) -> None:
    with way(pair) as endpoint:
        client = pair.near.connect(endpoint, middleware=[tenant(pair.near)])
        assert client.call("whose") == ["acme", "tenants", "whose"]
        assert client.begin("whose").result(30) == ["acme", "tenants", "whose"]
        plain = pair.near.connect(endpoint)
        assert plain.call("whose") == [None, "tenants", "whose"]


def test_a_server_s_changes_calls_and_errors_and_leaves_streams(pair: Pair, served: Start) -> None:
    client, shop, _ = served({"middleware": [translating(pair.far)]})
    assert client.call("add", 1) == 12
    assert client.call("add", 1, second=3) == 5
    with pytest.raises(ValueError, match="translated"):
        client.call("fail", "KeyError", "tea")
    assert list(client.stream("count", 150)) == list(range(300))
    assert list(client.stream("listed")) == [1, 2, 3]
    items = client.stream("ticks", 0.0)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()  # type: ignore[attr-defined]
    assert client.call("echo", "a") == "a" and shop is not None


def test_a_client_s_changes_calls_and_errors(pair: Pair, served: Start) -> None:
    client, *_ = served(middleware=[tenant(pair.near), translating(pair.near)])
    assert client.call("add", 1) == 12
    with pytest.raises(ValueError, match="translated"):
        client.call("fail", "KeyError", "tea")
    assert list(client.stream("count", 60)) == list(range(120))


def test_headers_that_may_not_travel_raise_at_the_caller(pair: Pair, served: Start) -> None:
    def put(call: Any, proceed: Any) -> Any:
        call.headers["service"] = "other"
        return proceed(call)

    async def put_async(call: Any, proceed: Any) -> Any:
        return await put(call, proceed)

    client, *_ = served(middleware=[put_async if isinstance(pair.near, Aio) else put])
    with pytest.raises(ValueError, match="mesh's own"):
        client.call("echo", 1)


def test_a_middleware_that_leaves_no_arguments_is_told(pair: Pair) -> None:
    def spoil(call: Any, proceed: Any) -> Any:
        call.args = 5
        return proceed(call)

    async def spoil_async(call: Any, proceed: Any) -> Any:
        call.args = 5
        return await proceed(call)

    middleware = [spoil_async if isinstance(pair.near, Aio) else spoil]
    client = pair.near.connect(pair.far.serve(Tenants()), middleware=middleware)
    with pytest.raises(
        TypeError, match=r"a middleware has left 5 as call\.args and \{\} as call\.kwargs: they"
    ):
        client.call("whose")
