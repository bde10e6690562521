"""Rules of services.yml for the calls of a service, whichever driver calls and whichever serves."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

import mesh
from tests.helpers.peers import nobody
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.test_registered import majordomo, running, until_registered
from tests.scenarios.conftest import Pair


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "services.yml"


def write(registry: Path, text: str) -> None:
    new = registry.with_suffix(".new")
    new.write_text(text)
    new.replace(registry)


def test_a_split_between_a_hub_and_a_server(pair: Pair, registry: Path) -> None:
    shops = {name: pair.far.shop() for name in ("shop-v1", "shop-v2")}
    with running(majordomo(default="other")) as (broker, endpoints):
        pair.far.register("shop-v1", shops["shop-v1"], endpoints.out[0])
        until_registered(broker, 1)
        parts = f"shop-v1: {{hub: {endpoints.in_[0]}}}\nshop-v2: {pair.far.serve(shops['shop-v2'])}\n"
        write(registry, f"shop: {{split: {{shop-v1: 80, shop-v2: 20}}}}\n{parts}")
        client = pair.near.connect("shop", services=str(registry))
        for number in range(100):
            client.call("note", number)
        notes = {name: len(shop.notes) for name, shop in shops.items()}
        assert sum(notes.values()) == 100 and 55 < notes["shop-v1"] < 98
        assert list(client.stream("count", 500)) == list(range(500))
        assert client.call("add", 1, second=2) == 3
        keyed = client.with_options(key="Ann")
        before = dict(notes)
        for number in range(20):
            keyed.call("note", number)
        grown = sorted(len(shop.notes) - before[name] for name, shop in shops.items())
        assert grown == [0, 20], "all calls of a key go to one of the two"


def test_a_split_is_followed_as_the_file_changes(pair: Pair, registry: Path) -> None:
    shops = [pair.far.shop() for _ in range(3)]
    one, two, three = (pair.far.serve(shop) for shop in shops)
    parts = f"v1: {one}\nv2: {two}\n"
    write(registry, f"shop: {{split: {{v1: 1, v2: 0}}}}\n{parts}")
    client = pair.near.connect("shop", services=str(registry))
    items = client.stream("ticks", 0.01)
    next(items)

    def go_to(number: int) -> bool:
        before = len(shops[number].notes)
        client.call("note", 1)
        return len(shops[number].notes) > before

    assert go_to(0)
    write(registry, f"shop: {{split: {{v2: 1}}}}\n{parts}")
    eventually(lambda: go_to(1), what="calls at the other service")
    next(items)  # what was open goes on where it began
    write(registry, f"shop: {three}\n")
    eventually(lambda: go_to(2), what="calls at the service's own server")
    write(registry, f"shop: {{split: {{v1: 1, nobody: 1}}}}\n{parts}")
    write(registry, f"shop: {{split: {{v1: 1}}}}\n{parts}")
    eventually(lambda: go_to(0), what="calls at the first")
    assert next(items) is not None


def test_a_call_that_waits_for_a_connection_as_its_service_is_split(pair: Pair, registry: Path) -> None:
    write(registry, f"shop: {nobody()}\n")
    client = pair.near.connect("shop", services=str(registry))
    waiting = client.begin("add", 1)
    write(registry, f"shop: {{split: {{v1: 1}}}}\nv1: {pair.far.serve(pair.far.shop())}\n")
    with pytest.raises(mesh.ServiceNotFound, match="calls of shop are split by now"):
        waiting.result(PATIENCE)
    assert client.call("add", 1) == 11


def test_a_split_to_a_service_that_nobody_has(pair: Pair, registry: Path) -> None:
    write(registry, "shop: {split: {shop-v1: 1, shop-v3: 1}}\nshop-v1: tcp://127.0.0.1:9\n")
    with pytest.raises(
        mesh.ServiceNotFound,
        match=r"shop is split to 'shop-v3' \(.*services.yml:1\): no service 'shop-v3' in .*mean 'shop-v1'",
    ):
        pair.near.connect("shop", services=str(registry))


def test_a_switch_that_is_no_switch_is_told_once(
    pair: Pair, registry: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mesh.names")
    monkeypatch.setattr("mesh.transport.client_traffic._told", set())
    write(registry, f"shop: {{address: {pair.far.serve(pair.far.shop())}, faults: {{error: 100}}}}\n")
    for value, times in (("", 0), ("0", 0), ("yes", 1), ("yes", 1), ("true", 2)):
        monkeypatch.setenv("MESH_FAULTS", value)
        assert pair.near.connect("shop", services=str(registry)).call("add", 1) == 11
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == times, value
    assert said[0] == "MESH_FAULTS is 'yes' and puts no faults in: it takes 1, as in MESH_FAULTS=1"


def test_faults_are_put_in_only_where_they_are_switched_on(
    pair: Pair, registry: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mesh.names")
    monkeypatch.delenv("MESH_FAULTS", raising=False)
    monkeypatch.setattr("mesh.transport.client_traffic._told", set())
    endpoint = pair.far.serve(pair.far.shop())
    write(registry, f"shop: {{address: {endpoint}, faults: {{error: 100}}}}\n")
    assert pair.near.connect("shop", services=str(registry)).call("add", 1) == 11
    assert not caplog.records
    monkeypatch.setenv("MESH_FAULTS", "1")
    clients = [pair.near.connect("shop", services=str(registry)) for _ in range(2)]
    for client in clients:
        with pytest.raises(mesh.RemoteError, match="FaultForTests: 'add' fails"):
            client.call("add", 1)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "MESH_FAULTS is 1: of the calls of shop" in said[0]
    client, hasty = clients[0], clients[0].with_options(timeout=0.3)
    delay = "faults: {delay: {percent: 100, seconds: 0.2}}"
    write(registry, f"shop: {{split: {{v1: 1}}}}\nv1: {{address: {endpoint}, {delay}}}\n")

    def goes_through() -> bool:
        try:
            return bool(client.call("add", 1) == 11)
        except mesh.RemoteError:
            return False

    eventually(goes_through, what="the file's change")
    began = time.monotonic()
    assert client.call("add", 1) == 11 and time.monotonic() - began >= 0.2
    write(registry, f"shop: {{address: {endpoint}, faults: {{drop: 100}}}}\n")

    def is_dropped() -> bool:
        try:
            hasty.call("add", 1)
        except mesh.TimeoutExpired as exc:
            return "as `faults` in services.yml wants it" in str(exc)
        return False

    eventually(is_dropped, what="the file's next change")


def test_a_call_that_waits_while_its_part_goes_is_carried_out_elsewhere(
    pair: Pair, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part has a fault that holds it up, and is none any more when that is over."""
    monkeypatch.setenv("MESH_FAULTS", "1")
    monkeypatch.setattr("mesh.transport.client_traffic._told", set())
    endpoint = pair.far.serve(pair.far.shop())
    delay = "faults: {delay: {percent: 100, seconds: 2}}"
    write(registry, f"shop: {{split: {{v1: 1}}}}\nv1: {{address: {endpoint}, {delay}}}\n")
    client = pair.near.connect("shop", services=str(registry))
    held_up = client.begin("add", 1)
    write(registry, f"shop: {endpoint}\n")
    eventually(lambda: client.call("add", 2) == 12, what="the file's change")
    assert held_up.result(PATIENCE) == 11
