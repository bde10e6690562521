"""One address with several servers behind it, of which one stops."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import gevent
import pytest
from gevent import socket as green
from gevent.server import StreamServer

import mesh
from tests.green.conftest import Connect
from tests.helpers.clients import endpoint_of
from tests.helpers.processes import eventually


class Forwarder:
    """Gives each connection the server that `target` is then. A context manager."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.accepted = 0
        self._server = StreamServer(("127.0.0.1", 0), self._carry)
        self._server.start()
        self.endpoint = f"tcp://127.0.0.1:{self._server.server_port}"

    def _carry(self, front: green.socket, _: object) -> None:
        self.accepted += 1
        host, port = self.target.removeprefix("tcp://").split(":")
        with green.create_connection((host, int(port))) as back:
            ways = [gevent.spawn(_copy, front, back), gevent.spawn(_copy, back, front)]
            gevent.joinall(ways)

    def close(self) -> None:
        self._server.stop(timeout=0.2)


def _copy(source: green.socket, target: green.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one that is gone has told the other way


class Till:
    """hold answers when it is let go."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.held = False
        self.let_go = False

    def pay(self, amount: int = 0) -> str:
        return self._name

    def hold(self) -> str:
        self.held = True
        while not self.let_go:
            gevent.sleep(0.01)
        return self._name


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def started(stack: ExitStack, till: Till) -> tuple[mesh.Server, str]:
    server = mesh.Server(till)
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    stack.callback(server.stop, 0.2)
    return server, endpoint


class Draining:
    """A server that stops as long as its call is held, behind a forwarder, with its client."""

    def __init__(self, stack: ExitStack, connect: Connect) -> None:
        self.till = Till("stopping")
        server, endpoint = started(stack, self.till)
        self.forwarder = Forwarder(endpoint)
        stack.callback(self.forwarder.close)
        self.client = connect(self.forwarder.endpoint)
        self.held = self.client.hold.future()
        eventually(lambda: self.till.held)
        gevent.get_hub().threadpool.spawn(server.stop)
        stack.callback(setattr, self.till, "let_go", True)
        eventually(lambda: server._endpoint.session.draining)


@pytest.mark.parametrize("keywords", [False, True])
def test_a_call_goes_to_the_other_server_at_the_same_address(
    connect: Connect, stack: ExitStack, keywords: bool
) -> None:
    draining = Draining(stack, connect)
    _, draining.forwarder.target = started(stack, Till("other"))
    if keywords:
        assert draining.client.pay(amount=1) == "other"
    assert [draining.client.pay() for _ in range(10)] == ["other"] * 10
    assert draining.forwarder.accepted == 2
    draining.till.let_go = True
    assert draining.held.result(timeout=20) == "stopping"
    links = endpoint_of(draining.client).links
    eventually(lambda: len(links.open) == 1, what="the end of the old connection")


def test_calls_at_once_share_the_new_connection(connect: Connect, stack: ExitStack) -> None:
    draining = Draining(stack, connect)
    _, draining.forwarder.target = started(stack, Till("other"))
    calls = [draining.client.pay.future() for _ in range(20)]
    assert {call.result(timeout=20) for call in calls} == {"other"}
    assert draining.forwarder.accepted == 2


def test_an_address_where_nobody_else_is_is_tried_once_a_second(connect: Connect, stack: ExitStack) -> None:
    draining = Draining(stack, connect)
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(mesh.LostRemote, match="the server is stopping") as caught:
            draining.client.pay()
        assert caught.value.refused
    assert 2 <= draining.forwarder.accepted <= 2 + (time.monotonic() - began)
    draining.till.let_go = True
    assert draining.held.result(timeout=20) == "stopping"
