"""Where others reach a hub's services: what is published of which endpoints, and as what."""

from __future__ import annotations

import pytest

from hubs.published_places import Places, address_here, astray, only_here
from hubs.switching.model import Announced, Direct
from mesh.names.publication import BEHIND, DIRECT, Key, PublishedEndpoint, Record, service_records

ZONE, BOX = "mesh.test", "box.mesh.test."


def places(as_: str | None = "box") -> Places:
    return Places(ZONE, as_, "box7", {"w1": "10.0.0.1", "loop": "127.0.1.1", "box7": "127.0.1.1"}.get)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("*", True),
        ("0.0.0.0", True),
        ("::", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("169.254.7.1", True),
        ("fe80::1%eth0", True),
        ("10.0.0.7", False),
        ("2001:db8::7", False),
        ("box.mesh.test", False),
    ],
)
def test_what_means_nothing_elsewhere(host: str, here: bool) -> None:
    assert only_here(host) is here


@pytest.mark.parametrize(
    ("endpoints", "address"),
    [
        (["tcp://127.0.0.1:1"], "127.0.0.1"),
        (["tcp://127.0.0.2:1", "ipc:///run/h"], "127.0.0.2"),
        (["tcp://localhost:1"], "127.0.0.1"),
        (["tcp://[::1]:1"], "::1"),
        (["tcp://127.0.0.1:1", "tcp://169.254.7.1:1"], "169.254.7.1"),
        (["tcp://[fe80::1%eth0]:1"], "fe80::1"),
        (["tcp://127.0.0.1:1", "tcp://*:2"], None),
        (["tcp://127.0.0.1:1", "tcp://10.0.0.7:2"], None),
        (["tcp://0.0.0.0:1"], None),
        (["tcp://[::]:1"], None),
        (["ipc:///run/h"], None),
    ],
)
def test_a_hub_has_a_loopback_address_only_where_it_listens_nowhere_else(
    endpoints: list[str], address: str | None
) -> None:
    assert address_here(endpoints) == address


def test_what_is_said_of_a_host_that_leads_elsewhere_is_what_to_do() -> None:
    said = astray("box.mesh.test", "10.0.0.7", ["10.0.0.9", "10.0.0.8"])
    assert said.startswith("box.mesh.test has the address 10.0.0.8 and 10.0.0.9 in the zone, and clients go")
    assert "would write 10.0.0.7: where that is another machine, take the record out of the zone" in said
    assert "listens at 127.0.0.1 alone: have it bind an address" in astray("b.a", "127.0.0.1", ["10.0.0.8"])


def test_a_host_outside_of_the_zone_needs_no_address() -> None:
    assert places().needs_address
    assert not places("box.other.test").needs_address and not places(None).needs_address


def test_a_wildcard_is_published_as_the_host_of_the_file() -> None:
    published = places().published(["tcp://0.0.0.0:5555"], {"users": Announced(indirect=2)}, None)
    assert published.names == {"users": (PublishedEndpoint(BOX, 5555, True, DIRECT, 2),)}
    assert not published.addresses and not published.problems


def test_a_hub_stands_behind_workers_that_are_all_reached_directly() -> None:
    announced = Announced(
        direct=(Direct("tcp://w1.mesh.test:4242", "w1"), Direct("tcp://w2.other.test:4243", "w2"))
    )
    published = places().published(["tcp://*:5555"], {"users": announced}, None)
    assert published.names["users"] == (
        PublishedEndpoint(BOX, 5555, True, BEHIND, 1),
        PublishedEndpoint("w1.mesh.test.", 4242),
        PublishedEndpoint("w2.other.test.", 4243),
    )


def test_a_worker_s_labels_stand_in_its_text_record() -> None:
    labels = (("version", "2"), ("zone", "eu"))
    announced = Announced(direct=(Direct("tcp://w1.mesh.test:4242", "w1", labels),))
    hub, worker = places().published(["tcp://*:5555"], {"users": announced}, None).names["users"]
    assert (hub.labels, worker.labels) == ((), labels)
    text = ("at=w1.mesh.test:4242", "version=2", "zone=eu", "by=box-5555")
    assert Record(Key("_users._tcp", "TXT"), text) in service_records("users", [worker], "box-5555")


def test_a_hub_stands_for_the_workers_that_are_not() -> None:
    announced = Announced(direct=(Direct("tcp://w1.mesh.test:4242", "w1"),), indirect=3)
    hub, worker = places().published(["tcp://*:5555"], {"users": announced}, None).names["users"]
    assert (hub.priority, hub.weight) == (worker.priority, 3) and worker.weight == 1


def test_an_address_in_numbers_gets_a_name() -> None:
    announced = Announced(
        direct=(Direct("tcp://10.0.0.8:4242", "w1"), Direct("tcp://[2001:db8::8]:4242", "w2"))
    )
    published = places(None).published(["tcp://10.0.0.7:5555"], {"users": announced}, None)
    assert {(one.host, one.port) for one in published.names["users"]} == {
        ("ip-10-0-0-7.mesh.test.", 5555),
        ("ip-10-0-0-8.mesh.test.", 4242),
        ("ip-20010db8000000000000000000000008.mesh.test.", 4242),
    }
    assert Record(Key("ip-10-0-0-7", "A"), ("10.0.0.7",)) in published.addresses
    assert Record(Key("ip-20010db8000000000000000000000008", "AAAA"), ("2001:db8::8",)) in published.addresses


def test_a_loopback_address_is_this_machine_for_a_worker_of_this_machine_alone() -> None:
    announced = Announced(
        direct=(Direct("tcp://127.0.0.1:4242", "box7"), Direct("tcp://127.0.0.1:4243", "elsewhere"))
    )
    published = places().published(["tcp://*:5555"], {"users": announced}, None)
    assert {(one.host, one.port) for one in published.names["users"]} == {(BOX, 5555), (BOX, 4242)}
    assert len(published.problems) == 2
    assert any(one.startswith("tcp://127.0.0.1:4243 is not published") for one in published.problems)
    assert any(one.startswith("tcp://127.0.0.1:4242 is published as box.") for one in published.problems)
    # And the hub stands for the one that nobody reaches.
    assert [one.priority for one in published.names["users"] if one.hub] == [DIRECT]


def test_what_a_machine_calls_itself_is_published_by_its_address() -> None:
    direct = (
        Direct("tcp://w1:1", "w1"),
        Direct("tcp://box7:2", "box7"),
        Direct("tcp://loop:3", "loop"),
        Direct("tcp://unknown:4", "x"),
    )
    published = places().published(["tcp://*:5555"], {"users": Announced(direct=direct)}, None)
    assert {(one.host, one.port) for one in published.names["users"] if not one.hub} == {
        ("ip-10-0-0-1.mesh.test.", 1),
        (BOX, 2),
    }
    assert {one.split()[0] for one in published.problems} == {"tcp://loop:3", "tcp://unknown:4"}


def test_a_name_with_dots_is_told_and_not_published() -> None:
    published = places().published(["tcp://*:5555"], {"a.b": Announced(indirect=1), "A": Announced()}, None)
    assert set(published.names) == {"A"} and "'a.b' is not published" in min(published.problems)


def test_what_is_no_tcp_is_not_published() -> None:
    announced = Announced(
        direct=(Direct("ipc:///run/w.ipc", "box7"), Direct("rubbish", "box7"), Direct("tcp://w:*", "box7"))
    )
    published = places().published(["tcp://*:5555", "ipc:///run/h"], {"users": announced}, None)
    assert [(one.host, one.port) for one in published.names["users"]] == [(BOX, 5555)]


def test_the_host_of_the_file_gets_an_address_where_it_is_in_the_zone() -> None:
    published = places().published(["tcp://*:5555"], {}, "10.0.0.7")
    assert published.addresses == {Record(Key("box", "A"), ("10.0.0.7",))}
    assert not places("box.other.test").published(["tcp://*:5555"], {}, "10.0.0.7").addresses


@pytest.mark.parametrize(
    ("as_", "endpoints", "hub_id"),
    [
        ("box", ["tcp://*:5555"], "box-5555"),
        ("box.mesh.test", ["ipc:///run/h", "tcp://0.0.0.0:5555"], "box-5555"),
        ("Box.Other.Test", ["tcp://*:5555"], "box-other-test-5555"),
        (None, ["tcp://*:5555", "tcp://10.0.0.7:5556"], "10-0-0-7-5556"),
        (None, ["tcp://127.0.0.1:5555"], ""),
    ],
)
def test_the_id_of_a_hub_is_its_first_address(as_: str | None, endpoints: list[str], hub_id: str) -> None:
    assert places(as_).hub_id(endpoints) == hub_id


def test_the_id_is_one_label_however_long_the_host_is() -> None:
    ids = {places(f"{'a' * 40}.{'b' * 40}.{end}").hub_id(["tcp://*:5555"]) for end in "xy"}
    assert len(ids) == 2 and all(len(one) <= 63 for one in ids)
