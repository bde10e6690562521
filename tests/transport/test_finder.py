"""Where an endpoint is dialled, while its host is asked for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.core.channel import NEVER
from mesh.core.host_addresses import PATIENCE
from mesh.errors import ConfigError
from mesh.transport import finder, host_lookup
from mesh.transport.finder import Finder
from mesh.transport.host_lookup import HostLookups
from tests.helpers.processes import eventually


class Names:
    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()

    def __call__(self, host: str, _port: None, family: int, _kind: int) -> list[Any]:
        assert self.go.wait(30)
        address = "10.0.0.1" if family == socket.AF_INET else "fd00::1"
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    one = Names()
    monkeypatch.setattr(host_lookup, "getaddrinfo", one)
    monkeypatch.setattr(host_lookup, "FRESH", 0.0)
    monkeypatch.setattr(finder, "lookups", HostLookups())
    yield one
    one.go.set()


def test_a_number_is_where_it_is(names: Names) -> None:
    for given, at in {
        "tcp://10.0.0.5:4242": "tcp://10.0.0.5:4242",
        "tcp://[fd00:0::1]:4242": "tcp://[fd00::1]:4242",
        "ipc:///run/users": "ipc:///run/users",
    }.items():
        one = Finder(given, pytest.fail, 0.0)
        assert (one.at, one.problem, one.wake_at, one.addresses) == (at, "", NEVER, None)


def test_a_name_is_not_dialled_before_it_is_known(names: Names) -> None:
    names.go.clear()
    woken = threading.Event()
    one = Finder("tcp://users:4242", woken.set, 0.0)
    assert one.at == "" and "still being looked up" in one.problem
    assert one.wake_at == NEVER, "the answer wakes"
    names.go.set()
    assert woken.wait(20)
    one.settle(0.1)
    assert one.at == "tcp://10.0.0.1:4242" and not one.problem


def test_nobody_is_woken_again_and_again_while_a_name_server_is_silent(names: Names) -> None:
    one = Finder("tcp://users:4242", lambda: None, 0.0)
    eventually(lambda: (one.settle(0.0), one.at)[1])
    names.go.clear()
    again = Finder("tcp://users:4242", lambda: None, 0.0)
    now, turns = 0.0, 0
    while again.wake_at != NEVER and turns < 100:
        now, turns = again.wake_at, turns + 1
        again.settle(now)
    assert again.at == "tcp://10.0.0.1:4242", "what was known does"
    assert now == 2 * PATIENCE and turns < 5


def test_the_address_of_ipv6_has_brackets(names: Names) -> None:
    one = Finder("tcp://users:4242", lambda: None, 0.0)
    eventually(lambda: (one.settle(0.0), one.at)[1])
    now = PATIENCE
    eventually(lambda: (one.settle(now), "[" in one.at)[1])
    assert one.at == "tcp://[fd00::1]:4242"


def test_who_is_closed_is_not_woken(names: Names) -> None:
    names.go.clear()
    Finder("tcp://users:4242", pytest.fail, 0.0).close()
    names.go.set()
    question = finder.lookups.ask("users", lambda: None)
    eventually(lambda: question.answer)


@pytest.mark.parametrize("endpoint", ["tcp://users:port", "tcp://us ers:1", "tcp://users*:1"])
def test_what_is_no_endpoint_is_refused(names: Names, endpoint: str) -> None:
    with pytest.raises(ConfigError):
        Finder(endpoint, lambda: None, 0.0)


def test_of_a_host_whose_addresses_are_given_nobody_is_asked_and_they_may_change(names: Names) -> None:
    one = Finder("tcp://nowhere:4242", pytest.fail, 0.0, ("10.0.0.5", "10.0.0.6"))
    assert one.at == "tcp://10.0.0.5:4242" and not one.problem
    one.settle(PATIENCE)
    assert one.at == "tcp://10.0.0.6:4242"
    one.give(("10.0.0.7",), 1.0)
    assert one.at == "tcp://10.0.0.7:4242" and one.wake_at == NEVER
    assert one.addresses is not None
    one.addresses.connected()
    one.addresses.stands()
    one.addresses.broke(2.0)
    one.settle(10.0)
    assert one.wake_at == NEVER and one._question is None
