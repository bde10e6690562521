"""Calls through hubs to registered workers, whichever driver calls and whichever works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

import mesh
from hubs.broker import Broker
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.test_registered import majordomo, queue, running, until_registered
from tests.scenarios.conftest import Pair


class Hub(NamedTuple):
    broker: Broker
    into: str
    out: str


@pytest.fixture(params=["queue", "majordomo"])
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    with running(queue(service="shop") if request.param == "queue" else majordomo(default="shop")) as made:
        broker, endpoints = made
        yield Hub(broker, endpoints.in_[0], endpoints.out[0])


def test_calls_keywords_streams_and_errors(pair: Pair, hub: Hub) -> None:
    pair.far.register("shop", pair.far.shop(), hub.out)
    client = pair.near.connect(hub.into)
    assert client.call("add", 1) == 11
    assert client.call("add", 1, second=2) == 3
    assert list(client.stream("count", 1_500)) == list(range(1_500))
    with pytest.raises(KeyError, match="tea"):
        client.call("fail", "KeyError", "tea")
    with pytest.raises(mesh.MethodNotFound):
        client.call("nothing")


def test_many_calls_over_several_workers(pair: Pair, hub: Hub) -> None:
    shops = [pair.far.shop() for _ in range(3)]
    for shop in shops:
        pair.far.register("shop", shop, hub.out)
    until_registered(hub.broker, 3)
    client = pair.near.connect(hub.into)
    begun = [client.begin("note", number) for number in range(300)]
    for one in begun:
        one.result(PATIENCE)
    assert sorted(note for shop in shops for note in shop.notes) == list(range(300))
    assert all(shop.notes for shop in shops)


def test_a_stream_that_is_left_frees_its_place(pair: Pair, hub: Hub) -> None:
    shop = pair.far.shop()
    pair.far.register("shop", shop, hub.out, pool_size=1)
    client = pair.near.connect(hub.into)
    for _ in range(3):
        items = client.stream("ticks", 0.0)
        assert [next(items) for _ in range(150)] == list(range(150))
        items.close()  # type: ignore[attr-defined]
    assert client.call("echo", 1) == 1
    eventually(lambda: len(shop.notes) == 3, what="all to be closed")


def test_a_worker_that_stops_finishes_what_it_has(pair: Pair, hub: Hub) -> None:
    stop = pair.far.register("shop", pair.far.shop(), hub.out)
    client = pair.near.connect(hub.into)
    begun = [client.begin("nap", 0.5) for _ in range(5)]
    client.call("echo", 1)
    stop()
    assert [one.result(PATIENCE) for one in begun] == [0.5] * 5
    eventually(lambda: not hub.broker.switch.workers, what="the worker to have left")


def test_a_service_without_workers(pair: Pair, hub: Hub) -> None:
    client = pair.near.connect(hub.into, timeout=1)
    with pytest.raises((mesh.ServiceNotFound, mesh.TimeoutExpired)):
        client.call("echo", 1)
