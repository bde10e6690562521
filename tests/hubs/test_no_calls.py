"""What a worker drops of what a hub gave it: the hub has its place back, and whoever sent it an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import zmq

import mesh
from hubs.broker import Broker
from mesh.core import majordomo as mdp
from mesh.core.majordomo import STANDARD
from mesh.green.sidecar import Sidecar
from tests.core.test_hub_calls import DROPPED
from tests.helpers.processes import eventually
from tests.hubs.test_broker import majordomo, running, until_registered
from tests.hubs.wires import Socket, Wires

MANY = 10_000
CAPACITY = 100


@contextmanager
def serving(kind: str) -> Iterator[tuple[Broker, str]]:
    """A hub's broker with one worker, and its in side."""
    with ExitStack() as stack:
        broker, ends = stack.enter_context(running(majordomo(default="echo", max_message=2**20)))
        server = mesh.Server({"echo": lambda value: value}, name="echo", pool_size=CAPACITY)
        if kind == "server":
            server.register("echo", ends.out[0])
        endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        stack.callback(server.stop, 0.2)
        if kind == "sidecar":
            sidecar = Sidecar("echo", endpoint, ends.out[0], capacity=CAPACITY)
            sidecar.start()
            stack.callback(sidecar.stop, 0.2)
        until_registered(broker, 1)
        eventually(lambda: room(broker) == CAPACITY, what="the worker to take calls")
        yield broker, ends.in_[0]


def room(broker: Broker) -> int:
    """Calls that the hub would give its worker now."""
    (service,) = broker.switch.services.values()
    return sum(
        service.scheduler.pool.capacity(one) - service.scheduler.pool.busy(one)
        for one in service.scheduler.pool
    )


def send(client: Socket, body: bytes, speaks: int) -> None:
    client.send_multipart(mdp.request("echo", [body], STANDARD[speaks]))


@pytest.mark.parametrize("speaks", [1, 2])
@pytest.mark.parametrize("kind", ["server", "sidecar"])
def test_the_room_of_a_client_that_says_what_is_no_call_and_goes_is_whole(
    wires: Wires, kind: str, speaks: int
) -> None:
    with serving(kind) as (broker, endpoint):
        client = wires(zmq.DEALER, endpoint)
        for _ in range(15):
            for body in DROPPED.values():
                send(client, body, speaks)
        # What came before this has been given to the worker then, as far as that has room.
        client.send_multipart(mdp.request("mmi.service", [b"echo"], STANDARD[speaks]))
        while client.recv_multipart()[-1] != b"200":
            pass
        client.close(0)
        eventually(lambda: room(broker) == CAPACITY, what="the room to be whole")
        with mesh.connect(endpoint, timeout=10) as honest:
            assert honest.echo(42) == 42


@pytest.mark.soak
@pytest.mark.parametrize("speaks", [1, 2])
@pytest.mark.parametrize("kind", ["server", "sidecar"])
@pytest.mark.parametrize("body", DROPPED.values(), ids=DROPPED)
def test_ten_thousand_of_each_kind(wires: Wires, body: bytes, kind: str, speaks: int) -> None:
    with serving(kind) as (broker, endpoint):
        client = wires(zmq.DEALER, endpoint)
        answers = sent = 0
        while answers < MANY:
            while sent < min(MANY, answers + 1_000):
                send(client, body, speaks)
                sent += 1
            client.recv_multipart()
            answers += 1
        began = time.monotonic()
        eventually(lambda: room(broker) == CAPACITY, what="the room to be whole")
        assert time.monotonic() - began < 1.0


def test_a_client_that_goes_in_the_midst_leaves_nothing_behind(wires: Wires) -> None:
    """Many of them, and none reads an answer."""
    with serving("server") as (broker, endpoint):
        for _ in range(30):
            client = wires(zmq.DEALER, endpoint)
            for number in range(CAPACITY):
                send(client, list(DROPPED.values())[number % len(DROPPED)], 2)
            client.send_multipart(mdp.request("mmi.over", [b""]))
            client.close(200)
        eventually(lambda: room(broker) == CAPACITY, what="the room to be whole")
        eventually(lambda: not broker.switch.clients, what="the clients to be forgotten")
