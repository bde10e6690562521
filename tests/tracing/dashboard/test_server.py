"""Browsers that say nothing, or read nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as green

from mesh.errors import ConfigError
from mesh.tracing.dashboard import server
from mesh.tracing.dashboard.server import Server, address_of, listen


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that sends without an end."""
    monkeypatch.setattr(server, "PATIENCE", 0.2)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter(lambda: b"x" * 100_000, b"")

    listener, page = listen("127.0.0.1", 0)
    running = Server(listener, application)
    running.start()
    yield int(page.rstrip("/").rpartition(":")[2])
    running.stop()


def test_who_sends_no_request_is_dropped(port: int) -> None:
    with green.create_connection(("127.0.0.1", port)) as one, gevent.Timeout(10):
        one.sendall(b"GET / HTTP/1.1\r\nHost: local")
        while one.recv(1000):
            pass


def test_who_reads_nothing_is_dropped_and_no_error(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with green.socket() as one, gevent.Timeout(20):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", port))
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gevent.sleep(0.5)  # in which nothing is read, longer than it has patience
        read = 0
        while some := one.recv(1_000_000):
            read += len(some)
            assert read < 50_000_000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4748", ("127.0.0.1", 4748)),
        ("[::1]:80", ("::1", 80)),
        (":0", ("127.0.0.1", 0)),
        ("9000", ("127.0.0.1", 9000)),
        ("box:65535", ("box", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "box", "box:", "box:65536", "box:-1", "box:\N{SUPERSCRIPT TWO}"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="--bind takes HOST:PORT"):
        address_of(text)
