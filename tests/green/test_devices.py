"""Servers that connect: workers of a plain device, and of a client that has bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from tests.green.conftest import Connect
from tests.helpers.processes import eventually


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.closed: list[str] = []

    def who(self, pause: float = 0.0) -> str:
        gevent.sleep(pause)
        return self.name

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    def ticks(self) -> Iterator[int]:
        try:
            while True:
                yield 1
                gevent.sleep(0.01)
        finally:
            self.closed.append(self.name)

    def fail(self) -> None:
        raise KeyError(self.name)


@pytest.fixture
def device() -> Iterator[tuple[str, str]]:
    """The endpoints for clients and for workers of a ROUTER/DEALER device."""
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    ends = []
    for socket in (front, back):
        socket.linger = 0
        socket.bind("tcp://127.0.0.1:*")
        ends.append(socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

    def carry() -> None:
        try:
            zmq.proxy(front, back)
        except zmq.ContextTerminated:
            front.close()
            back.close()

    thread = threading.Thread(target=carry)
    thread.start()
    yield ends[0], ends[1]
    context.term()
    thread.join(20)


def test_a_worker_of_a_device(device: tuple[str, str], connect: Connect) -> None:
    worker = Worker("one")
    server = mesh.Server(worker)
    server.connect(device[1])
    with server:
        client = connect(device[0])
        assert client.who() == "one"
        assert client.who(pause=0.01) == "one"  # keyword arguments, through the device
        assert list(client.count(500)) == list(range(500))
        with pytest.raises(KeyError, match="one"):
            client.fail()
        for _ in client.ticks():
            break
        eventually(lambda: worker.closed == ["one"], what="the end of the generator")


def test_two_workers_of_a_device_share_the_calls(device: tuple[str, str], connect: Connect) -> None:
    servers = [mesh.Server(Worker(name)) for name in ("one", "two")]
    for server in servers:
        server.connect(device[1])
        server.start()
    client = connect(device[0])
    eventually(lambda: {client.who() for _ in range(2)} == {"one", "two"})
    jobs = [gevent.spawn(client.who, 0.01) for _ in range(40)]
    assert {job.get(timeout=10) for job in jobs} == {"one", "two"}
    for server in servers:
        server.stop()


def test_a_worker_of_a_client_that_has_bound() -> None:
    client = zmq.Context.instance().socket(zmq.DEALER)
    client.linger = 0
    client.bind("tcp://127.0.0.1:*")
    server = mesh.Server(Worker("connected"))
    server.connect(client.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    with server:
        for number in range(3):
            header = {"message_id": f"id {number}", "v": 3}
            client.send_multipart([b"", msgpack.packb([header, "who", []])])
            assert client.poll(20_000)
            empty, payload = client.recv_multipart()
            answer: Any = msgpack.unpackb(payload)
            assert empty == b""
            assert answer[0]["response_to"] == f"id {number}"
            assert answer[1:] == ["OK", ["connected"]]
    client.close()


def test_a_server_may_bind_and_connect(device: tuple[str, str], connect: Connect) -> None:
    server = mesh.Server(Worker("both"))
    server.connect(device[1])
    direct = server.bind("tcp://127.0.0.1:*")
    with server:
        assert connect(direct).who() == "both"
        assert connect(device[0]).who() == "both"
        assert list(connect([direct, device[0]]).count(5)) == list(range(5))


def test_a_worker_that_stops_answers_what_it_has_begun(device: tuple[str, str], connect: Connect) -> None:
    server = mesh.Server(Worker("leaving"))
    server.connect(device[1])
    server.start()
    client = connect(device[0])
    client.who()
    pending = client.who.future(0.3)
    client.who()
    server.stop()
    assert pending.result(timeout=20) == "leaving"
