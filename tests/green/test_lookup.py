"""A host without an address is told as such, and whoever looks it up holds nobody up."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

import mesh
from hubs.hub_types import make_hub
from hubs.spec import Side
from mesh.cli.hub_client import HubControl
from mesh.core import host_addresses
from mesh.green.sidecar import Sidecar
from mesh.names import hosts
from mesh.names.model import Endpoint
from mesh.transport import host_lookup
from mesh.transport.sidecar import Told
from tests.green.conftest import Connect
from tests.helpers.processes import Process, eventually
from tests.hubs.wires import spec

HOST = "no-such-host.invalid"


class Names:
    """Stands in for the name servers. answer: what a look-up does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], object] = self.unknown

    def __call__(self, host: str, *_: object) -> object:
        self.asked.append(host)
        return self.answer()

    @staticmethod
    def local() -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    @staticmethod
    def unknown() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    stand_in = Names()
    monkeypatch.setattr(host_lookup, "getaddrinfo", stand_in)
    monkeypatch.setattr(host_lookup, "FRESH", 0.0)
    monkeypatch.setattr(host_addresses, "ASK_AGAIN", 0.02)
    monkeypatch.setattr(host_addresses, "LONGEST_ASK", 0.02)
    return stand_in


def error_of(client: mesh.Client) -> str:
    with pytest.raises(mesh.TimeoutExpired) as caught:
        client.f()
    assert caught.value.refused
    return str(caught.value)


def test_the_error_names_the_host(names: Names, connect: Connect) -> None:
    client = connect(f"tcp://{HOST}:1", timeout=0.5)
    why = f"tcp://{HOST}:1: its host '{HOST}' can't be resolved (Name or service not known)"
    eventually(lambda: why in error_of(client))
    names.answer = names.local
    eventually(lambda: "no connection yet" in error_of(client))


def test_the_one_of_several(names: Names, connect: Connect) -> None:
    client = connect([f"tcp://{HOST}:1", "tcp://127.0.0.1:9", "ipc:///tmp/no-such.ipc"], timeout=0.5)
    eventually(lambda: f"its host '{HOST}'" in error_of(client))
    text = error_of(client)
    assert "tcp://127.0.0.1:9: no connection yet" in text
    assert set(names.asked) == {HOST}


def test_keyword_arguments_too(names: Names, connect: Connect) -> None:
    client = connect(f"tcp://{HOST}:1", timeout=0.5)

    def said() -> bool:
        with pytest.raises(mesh.TimeoutExpired) as caught:
            client.f(a=1)
        assert caught.value.refused
        return f"its host '{HOST}'" in str(caught.value)

    eventually(said)


def test_a_name_server_that_keeps_still_holds_no_call(names: Names, connect: Connect) -> None:
    go_on = threading.Event()
    names.answer = lambda: [go_on.wait(60)][:0]
    client = connect("tcp://still.invalid:1", timeout=0.5)
    eventually(lambda: bool(error_of(client) and "still.invalid" in names.asked))
    assert "still being looked up" in error_of(client)
    # And there is no second thread; that of a client of before may just have come here.
    assert names.asked.count("still.invalid") == 1
    go_on.set()


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("tcp://users.example:4242", "users.example"),
        ("tcp://a1:1", "a1"),
        ("tcp://10.0.0.5:4242", ""),
        ("tcp://[::1]:4242", ""),
        ("ipc:///run/users.ipc", ""),
        ("inproc://users:1", ""),
    ],
)
def test_what_has_to_be_looked_up(endpoint: str, host: str) -> None:
    assert hosts.host_of(endpoint) == host


@pytest.mark.parametrize("kind", [mesh.Subscriber, mesh.Puller, mesh.Publisher, mesh.Pusher])
def test_the_log_names_the_host_of_events(names: Names, caplog: pytest.LogCaptureFixture, kind: Any) -> None:
    handler = [{"f": print}] if kind in (mesh.Subscriber, mesh.Puller) else []
    with kind(f"tcp://{HOST}:1", *handler):
        eventually(lambda: f"its host '{HOST}' can't be resolved" in caplog.text)
    (record,) = [one for one in caplog.records if HOST in one.getMessage()]
    assert (record.levelname, record.name) == ("WARNING", "mesh.events")


def test_the_error_of_whoever_waits_names_it_instead(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    told = pytest.raises(mesh.TimeoutExpired, match=f"its host '{HOST}' can't be resolved")
    with mesh.Pusher(f"tcp://{HOST}:1", timeout=2.0) as pusher, told:
        pusher.job()
    assert HOST not in caplog.text


def test_the_log_of_a_worker_names_the_host_of_its_hub(
    names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    server = mesh.Server({"f": print}, name="files")
    server.register("files", f"tcp://{HOST}:1")
    server.start()
    try:
        eventually(lambda: f"files is no worker of tcp://{HOST}:1 for now: its host '{HOST}'" in caplog.text)
    finally:
        server.stop(0)


def test_the_log_of_a_sidecar_names_the_host_of_its_server(
    names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    with Sidecar("files", f"tcp://{HOST}:2", "tcp://127.0.0.1:9", heartbeat=0.2):
        eventually(
            lambda: f"the server at tcp://{HOST}:2 is out for now: its host '{HOST}' can't" in caplog.text
        )


def test_a_hub_s_status_names_the_host(names: Names) -> None:
    with closing(HubControl(Endpoint(f"tcp://{HOST}:1"), 0.5)) as hub:
        answer = hub.ask()
    assert (
        str(answer.error)
        == f"tcp://{HOST}:1: its host '{HOST}' can't be resolved (Name or service not known)"
    )


def test_a_hub_names_the_host_that_it_connects_to(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    device = make_hub(spec("forwarder", in_=Side(connect=(f"tcp://{HOST}:1", "tcp://127.0.0.1:9"))))
    device.start()
    try:
        eventually(lambda: device.tend(time.monotonic()) and HOST in caplog.text)
    finally:
        device.stop(0)
    (record,) = [one for one in caplog.records if "resolved" in one.getMessage()]
    why = f"its host '{HOST}' can't be resolved (Name or service not known); the hub goes on"
    assert f"'tcp://{HOST}:1': {why}" in record.getMessage()


def test_a_server_that_was_well_is_not_said_to_have_no_address(
    names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    with Sidecar("files", f"tcp://{HOST}:2", "tcp://127.0.0.1:9", heartbeat=0.2) as sidecar:
        eventually(lambda: "is out for now: its host" in caplog.text)
        caplog.clear()
        sidecar._endpoint._told = Told.WELL
        eventually(lambda: "is out for now" in caplog.text)
    assert HOST not in caplog.text.split("is out for now", 1)[1].splitlines()[0]


# Where hosts are


class Host:
    """A server at one address of this machine, which ends when it is told to."""

    def __init__(self, address: str, port: int | str = "*") -> None:
        self._server = mesh.Server({"where": lambda: address})
        endpoint = f"tcp://{address}:{port}"

        def bound() -> str:
            # libzmq closes a port a moment after its socket.
            with suppress(mesh.ConfigError):
                return self._server.bind(endpoint)
            return ""

        self.port = int(eventually(bound, what=f"room at {endpoint}").rpartition(":")[2])
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0)


def where(client: mesh.Client) -> Any:
    """What it is told, now or after its connection has broken."""

    def ask() -> Any:
        with suppress(mesh.LostRemote):
            return client.where()

    return eventually(ask)


def located(*addresses: str) -> list[Any]:
    """An answer of getaddrinfo."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]


def test_a_host_that_moves_is_reached_at_its_new_address(names: Names, connect: Connect) -> None:
    names.answer = lambda: located("127.0.0.1")
    before = Host("127.0.0.1")
    client = connect(f"tcp://moves.example:{before.port}")
    assert client.where() == "127.0.0.1"
    after = Host("127.0.0.2", before.port)
    names.answer = lambda: located("127.0.0.2")
    before.stop()
    try:
        assert where(client) == "127.0.0.2"
    finally:
        after.stop()


def test_the_address_that_was_known_does_while_the_name_server_is_silent(
    names: Names, connect: Connect
) -> None:
    names.answer = lambda: located("127.0.0.1")
    host, go_on = Host("127.0.0.1"), threading.Event()
    client = connect(f"tcp://stays.example:{host.port}")
    assert client.where() == "127.0.0.1"
    names.answer = lambda: [go_on.wait(60)][:0]
    host.stop()
    host = Host("127.0.0.1", host.port)
    try:
        assert where(client) == "127.0.0.1"
        assert connect(f"tcp://stays.example:{host.port}").where() == "127.0.0.1", "a new client, too"
    finally:
        go_on.set()
        host.stop()


def test_the_address_of_several_that_answers_is_found(names: Names, connect: Connect) -> None:
    host = Host("127.0.0.3")
    names.answer = lambda: located("127.0.0.1", "127.0.0.2", "127.0.0.3")
    try:
        client = connect(f"tcp://several.example:{host.port}")
        assert client.where() == "127.0.0.3"
    finally:
        host.stop()


def test_events_of_a_host_with_several_addresses_come_once(names: Names) -> None:
    names.answer = lambda: located("127.0.0.2", "127.0.0.1")
    came: list[int] = []
    with mesh.Publisher(None) as publisher:
        port = publisher.bind("tcp://127.0.0.1:*").rpartition(":")[2]
        with mesh.Subscriber(f"tcp://several.example:{port}", {"f": came.append}):
            publisher.wait_for_subscriber(20.0)
            for number in range(100):
                publisher.f(number)
            eventually(lambda: 99 in came)
    assert came == list(range(100))


def test_a_server_that_connects_finds_its_hub_by_name_and_again_after_it_has_moved(
    names: Names, connect: Connect
) -> None:
    def hub_at(address: str, port: int | str) -> tuple[Any, tuple[str, str]]:
        sides = {"in_": Side(("tcp://127.0.0.1:*",)), "out": Side((f"tcp://{address}:{port}",))}
        hub = make_hub(spec("queue", **sides))
        endpoints = hub.start()
        return hub, (endpoints.in_[0], endpoints.out[0])

    names.answer = lambda: located("127.0.0.1")
    hub, (into, out) = hub_at("127.0.0.1", "*")
    port = out.rpartition(":")[2]
    server = mesh.Server({"f": lambda: 1})
    server.connect(f"tcp://hub.example:{port}")
    server.start()
    try:
        assert connect(into).f() == 1
        names.answer = lambda: located("127.0.0.2")
        hub.stop(0)
        hub, (into, _) = hub_at("127.0.0.2", port)
        assert connect(into).f() == 1
    finally:
        hub.stop(0)
        server.stop(0)


ENDS = """
import sys, time
import mesh
from mesh.transport import host_lookup

host_lookup.getaddrinfo = lambda *_: time.sleep(60)
client = mesh.connect("tcp://silent.example:1", timeout=0.1)
pusher = mesh.Pusher("tcp://silent.example:2")
try:
    client.f()
except mesh.TimeoutExpired:
    print("ended", flush=True)
"""


def test_a_program_ends_though_a_name_server_is_silent() -> None:
    with Process([sys.executable, "-c", ENDS]) as process:
        process.wait_for("ended")
        assert process.wait(timeout=20) == 0, process.describe()
