"""An endpoint whose handshake fails for a while: whoever is connected to it comes back when it is well."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest
import zmq

import mesh
from mesh.core import majordomo as mdp
from mesh.green.sidecar import Sidecar
from mesh.transport import handshake
from tests.green.events import PAIRS, Heard
from tests.helpers.peers import free_port
from tests.helpers.processes import eventually

PATIENCE = 20.0


class Refusing:
    """Holds an endpoint. handshakes: how many connections it has had, where it counts them."""

    def __init__(self, endpoint: str, how: str) -> None:
        self.handshakes = 0
        self._stack = ExitStack()
        if how in ("a key", "another kind"):
            self._bind_zmq(endpoint, how)
        else:
            self._listen(int(endpoint.rpartition(":")[2]), how)

    def _bind_zmq(self, endpoint: str, how: str) -> None:
        context = zmq.Context()
        self._stack.callback(context.destroy, 0)
        foreign = self._foreign = context.socket(zmq.ROUTER if how == "a key" else zmq.PAIR)
        if how == "a key":
            foreign.curve_server = True
            foreign.curve_secretkey = zmq.curve_keypair()[1]
        eventually(lambda: _bound(foreign, endpoint), what=f"room at {endpoint}")

    def _listen(self, port: int, how: str) -> None:
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", port)))
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    break
                self.handshakes += 1
                if how == "closes":
                    kept.pop().close()
                elif how == "speaks":
                    # By itself libzmq takes it for a ZeroMQ of long ago, and the handshake for done.
                    kept[-1].sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            for one in kept:
                one.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        self._stack.callback(thread.join, 5.0)
        self._stack.callback(listener.shutdown, socket.SHUT_RDWR)

    def close(self) -> None:
        self._stack.close()


def _bound(foreign: zmq.Socket[bytes], endpoint: str) -> bool:
    try:
        foreign.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True


HOWS = ["a key", "another kind", "closes", "speaks", "silent"]
SAID = {
    "a key": "a key",  # libzmq does not always get to hear more than the end of the connection
    "another kind": "another kind of ZeroMQ socket",
    "closes": "the handshake failed",
    "speaks": "no ZeroMQ program",
    "silent": "takes the connection and then says nothing for 0.3 s",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(handshake.ENV, "0.3")
    monkeypatch.setattr("mesh.transport.hub_connection.NOTICE", 0.1)


@contextmanager
def refusing(endpoint: str, how: str) -> Iterator[Refusing]:
    one = Refusing(endpoint, how)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("how", HOWS)
def test_a_client_says_why_and_calls_again(how: str, endpoint: str) -> None:
    with mesh.connect(endpoint, timeout=1.0) as client:
        with refusing(endpoint, how), pytest.raises(mesh.TimeoutExpired, match=SAID[how]) as raised:
            client.double(1)
        assert raised.value.refused
        with _served(endpoint):
            began = time.monotonic()
            assert client.with_options(timeout=PATIENCE).double(21) == 42
            assert time.monotonic() - began < 5.0


@contextmanager
def _served(endpoint: str) -> Iterator[None]:
    server = mesh.Server({"double": lambda number: 2 * number}, name="double")
    eventually(lambda: _binds(server, endpoint), what=f"room at {endpoint}")
    server.start()
    try:
        yield
    finally:
        server.stop(0.2)


def _binds(end: Any, endpoint: str) -> bool:
    try:
        end.bind(endpoint)
    except mesh.ConfigError:
        return False
    return True


def test_a_client_that_was_connected_is_refused_and_calls_again(endpoint: str) -> None:
    with mesh.connect(endpoint, timeout=0.5) as client:
        with _served(endpoint):
            assert client.with_options(timeout=PATIENCE).double(1) == 2
        with refusing(endpoint, "a key"), pytest.raises(mesh.TimeoutExpired, match="a key"):
            eventually(lambda: _double(client, endpoint))
        with _served(endpoint):
            assert client.with_options(timeout=PATIENCE).double(2) == 4


def _double(client: mesh.Client, endpoint: str) -> None:
    try:
        client.double(1)
    except mesh.TimeoutExpired as exc:
        if "a key" in str(exc):
            raise
    except mesh.LostRemote:
        pass


def test_an_endpoint_that_closes_every_connection_has_no_storm_of_them(endpoint: str) -> None:
    with refusing(endpoint, "closes") as one, mesh.connect(endpoint):
        gevent.sleep(1.0)
        assert 2 <= one.handshakes <= 6


@pytest.mark.parametrize("how", HOWS)
def test_a_worker_registers_again(how: str, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    server = mesh.Server({"double": lambda number: 2 * number})
    server.register("double", endpoint)
    with refusing(endpoint, how):
        server.start()
        eventually(lambda: SAID[how] in caplog.text, what="a line in the log")
    try:
        _hears_ready(endpoint)
    finally:
        server.stop(0.2)


def _hears_ready(endpoint: str) -> None:
    """A hub at that endpoint is told of a worker."""
    with ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.destroy, 0)
        hub = context.socket(zmq.ROUTER)
        eventually(lambda: _bound(hub, endpoint), what=f"room at {endpoint}")
        eventually(lambda: hub.poll(0), timeout=PATIENCE, what="a worker")
        message = mdp.read(hub.recv_multipart()[1:])
        assert isinstance(message, mdp.FromWorker) and message.command is mdp.Command.READY


@pytest.mark.parametrize("how", HOWS)
def test_a_sidecar_finds_its_server_again(how: str, endpoint: str) -> None:
    hub = f"tcp://127.0.0.1:{free_port()}"
    with refusing(endpoint, how):
        sidecar = Sidecar("double", endpoint, hub, heartbeat=0.5)
        sidecar.start()
        eventually(lambda: SAID[how] in sidecar._endpoint._session.health.why, what="the reason")
    try:
        with _served(endpoint):
            _hears_ready(hub)
    finally:
        sidecar.stop(0.2)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("sends", "hears"), PAIRS)
def test_whoever_sends_events_is_there_again(
    sends: type[Any], hears: type[Any], how: str, endpoint: str
) -> None:
    emitter = sends(endpoint)
    try:
        with refusing(endpoint, how):
            eventually(lambda: SAID[how] in emitter._sender.describe(), what="the reason")
        receiver = hears(None, heard := Heard())
        eventually(lambda: _binds(receiver, endpoint), what=f"room at {endpoint}")
        receiver.start()
        try:
            eventually(lambda: _sent(emitter) and heard, timeout=PATIENCE, what="an event")
        finally:
            receiver.stop(0.2)
    finally:
        emitter.close(0.0)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("sends", "hears"), PAIRS)
def test_whoever_hears_events_is_there_again(
    sends: type[Any], hears: type[Any], how: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = hears(endpoint, heard := Heard())
    receiver.start()
    try:
        with refusing(endpoint, how):
            eventually(lambda: SAID[how] in caplog.text, what="a line in the log")
        emitter = sends(None)
        try:
            eventually(lambda: _binds(emitter, endpoint), what=f"room at {endpoint}")
            eventually(lambda: _sent(emitter) and heard, timeout=PATIENCE, what="an event")
        finally:
            emitter.close(0.0)
    finally:
        receiver.stop(0.2)


def _sent(emitter: Any) -> bool:
    try:
        emitter.with_options(timeout=0.1)("happened", 1) if isinstance(emitter, mesh.Pusher) else emitter(
            "happened", 1
        )
    except mesh.MeshError:
        return False
    return True
