"""A host without an address is told as such, and whoever looks it up holds nobody up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

import mesh
from hubs import sockets
from hubs.hub_types import make_hub
from hubs.spec import Side
from mesh.cli.hub_client import HubClient
from mesh.green.sidecar import Sidecar
from mesh.names import hosts
from mesh.names.model import Endpoint
from mesh.transport import lookup
from mesh.transport.sidecar import Told
from tests.green.conftest import Connect
from tests.helpers.processes import eventually
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
    def unknown() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    stand_in = Names()
    monkeypatch.setattr(lookup, "getaddrinfo", stand_in)
    monkeypatch.setattr(lookup, "AGAIN", 0.0)
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
    names.answer = list
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
    names.answer = lambda: go_on.wait(60)
    client = connect("tcp://still.invalid:1", timeout=0.5)
    eventually(lambda: bool(error_of(client) and "still.invalid" in names.asked))
    assert "no connection yet" in error_of(client)
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
    with closing(HubClient(Endpoint(f"tcp://{HOST}:1"), 0.5)) as hub:
        answer = hub.ask()
    assert (
        str(answer.error)
        == f"tcp://{HOST}:1: its host '{HOST}' can't be resolved (Name or service not known)"
    )


def test_a_hub_names_the_host_that_it_connects_to(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "problem_of", lambda host: f"its host {host!r} can't be resolved")
    device = make_hub(spec("forwarder", in_=Side(connect=(f"tcp://{HOST}:1", "tcp://127.0.0.1:9"))))
    device.start()
    try:
        eventually(lambda: HOST in caplog.text)
    finally:
        device.stop(0)
    (record,) = [one for one in caplog.records if "resolved" in one.getMessage()]
    assert f"'tcp://{HOST}:1': its host '{HOST}' can't be resolved; the hub goes on" in record.getMessage()


def test_a_server_that_was_well_is_not_said_to_have_no_address(
    names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    with Sidecar("files", f"tcp://{HOST}:2", "tcp://127.0.0.1:9", heartbeat=0.2) as sidecar:
        eventually(lambda: "is out for now: its host" in caplog.text)
        caplog.clear()
        sidecar._endpoint._told = Told.WELL
        eventually(lambda: "is out for now" in caplog.text)
    assert HOST not in caplog.text.split("is out for now", 1)[1].splitlines()[0]
