"""A name server that is silent holds up nothing but what is said to the host that it should know."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import mesh
from mesh.transport import finder, host_lookup
from mesh.transport.host_lookup import HostLookups
from tests.helpers.processes import Process
from tests.helpers.requirements import unshared
from tests.scenarios.drivers import DRIVERS, Driver
from tests.scenarios.silent_names import LIMIT, WAYS


def test_no_round_trip_waits_for_a_silent_name_server() -> None:
    command = [*unshared(), sys.executable, "-m", "tests.scenarios.silent_names"]
    with Process(command, fresh=True) as process:
        for name in WAYS:
            milliseconds = float(process.wait_for(rf"^{name} ([\d.]+)$")[1])
            assert milliseconds < LIMIT * 1000, name


class Names:
    """Stands in for name servers: each host is this one, once they answer."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: None, family: int, kind: int) -> list[Any]:
        self.asked.append(host)
        assert self.answer.wait(30)
        return [(family, kind, 6, "", ("127.0.0.1" if family == socket.AF_INET else "::1", 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    one = Names()
    monkeypatch.setattr(host_lookup, "getaddrinfo", one)
    monkeypatch.setattr(finder, "lookups", HostLookups())
    yield one
    one.answer.set()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, ends: ExitStack) -> Driver:
    return DRIVERS[request.param](ends)


def port_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[2]


def test_a_call_waits_for_the_address_of_its_host(driver: Driver, names: Names) -> None:
    port = port_of(driver.serve(driver.shop()))
    begun = driver.connect(f"tcp://shop.example:{port}").begin("echo", 1)
    time.sleep(0.2)
    names.answer.set()
    assert begun.result(30) == 1


def test_the_others_do_not_wait_for_it(driver: Driver, names: Names) -> None:
    client = driver.connect([driver.serve(driver.shop()), "tcp://silent.example:4242"])
    assert [client.call("echo", number) for number in range(20)] == list(range(20))
    assert not names.answer.is_set()


def test_who_is_closed_meanwhile_is_gone(driver: Driver, names: Names) -> None:
    client = driver.connect("tcp://closed.example:4242", timeout=0.2)
    with pytest.raises(mesh.TimeoutExpired, match=r"its host 'closed\.example' is still"):
        client.call("echo", 1)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 5.0
    names.answer.set()


def test_localhost_and_numbers_are_asked_of_nobody(driver: Driver, names: Names) -> None:
    endpoint = driver.serve(driver.shop())
    for host in ("127.0.0.1", "localhost"):
        assert driver.connect(f"tcp://{host}:{port_of(endpoint)}").call("echo", 1) == 1
    assert not names.asked
