"""A host without an address is told as such, and whoever looks it up holds nobody up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

import mesh
from mesh.green import lookup
from tests.green.conftest import Connect
from tests.helpers.processes import eventually

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
    assert lookup.host_of(endpoint) == host
