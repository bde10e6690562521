"""How long a handshake may take: at whoever binds, whoever connects, and hubs."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import msgpack
import pytest
import zmq

import mesh
from mesh.errors import ConfigError
from mesh.transport import handshake
from tests.helpers.processes import eventually

QUICK = "0.3"
"""Seconds, for tests that wait for the end of it."""


def test_it_may_take_two_seconds_or_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(handshake.ENV, raising=False)
    assert handshake.timeout() == 2.0
    monkeypatch.setenv(handshake.ENV, "")
    assert handshake.timeout() == 2.0
    monkeypatch.setenv(handshake.ENV, "7.5")
    assert handshake.timeout() == 7.5
    with zmq.Context() as context, context.socket(zmq.DEALER) as one:
        handshake.require(one)
        assert one.get(zmq.HANDSHAKE_IVL) == 7_500


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", "601"])
def test_what_is_no_such_time_is_told(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(handshake.ENV, given)
    with pytest.raises(ConfigError, match=f"MESH_HANDSHAKE .* from 0.1 to 600, not '{given}'"):
        mesh.connect("tcp://127.0.0.1:9")


def test_a_server_lets_go_of_who_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(handshake.ENV, QUICK)
    with ExitStack() as stack:
        server = mesh.Server({"one": lambda: 1})
        port = int(server.bind("tcp://127.0.0.1:*").rpartition(":")[2])
        stack.enter_context(server)
        # One says nothing, one begins to greet, and one begins a command of 100 MB.
        greeting = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(16 + 32)
        command = b"\x06" + (100_000_000).to_bytes(8, "big") + b"\x05READY"
        began = time.monotonic()
        for said in (b"", greeting[:5], greeting + command + bytes(1_000_000)):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.settimeout(20)
            stranger.sendall(said)
            eventually(lambda stranger=stranger: _ended(stranger), what="the end of the connection")
        assert time.monotonic() - began < 5.0


def _ended(stranger: socket.socket) -> bool:
    try:
        return not stranger.recv(65_536)
    except OSError:
        return True


def test_an_old_client_without_a_handshake_still_calls_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a ZeroMQ of before 4.0, which has none: ZMTP 2.0."""
    monkeypatch.setenv(handshake.ENV, QUICK)
    with ExitStack() as stack:
        server = mesh.Server({"one": lambda: 1})
        port = int(server.bind("tcp://127.0.0.1:*").rpartition(":")[2])
        stack.enter_context(server)
        one = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        one.settimeout(20)
        request = msgpack.packb([{"message_id": "a", "v": 3}, "one", []])
        dealer, identity = b"\x05", b"\0\0"
        empty, event = b"\1\0", bytes([0, len(request)]) + request
        one.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f\1" + dealer + identity + empty + event)
        heard = b""
        while b"OK" not in heard:
            heard += one.recv(65_536)
        assert heard.endswith(msgpack.packb([1]))
    with zmq.Context() as context:
        for kind in (zmq.DEALER, zmq.PUSH, zmq.PULL, zmq.XPUB, zmq.XSUB, zmq.SUB, zmq.ROUTER):
            with context.socket(kind) as each:
                handshake.require(each)
                assert bool(each.get(zmq.ZAP_DOMAIN)) is (kind != zmq.ROUTER)
