"""Workers at a broker of Majordomo 0.1, which dies of what 0.2 says: `mdp="0.1"`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest
import zmq

import mesh
from mesh.core import wire
from mesh.green.sidecar import Sidecar
from tests.e2e.commands import MESH, environment
from tests.helpers.peers import old_server
from tests.helpers.processes import Process, eventually
from tests.hubs.broker01 import DISCONNECT, HEARTBEAT, READY, REPLY, Broker01
from tests.hubs.test_sidecar import MESH_REGISTER
from tests.hubs.wires import Socket, Wires

BEAT = 0.1
MDP01: dict[str, Any] = {"heartbeat": BEAT, "mdp": "0.1"}


class Shop:
    """What the worker serves. closed: streams that have ended."""

    def __init__(self) -> None:
        self.closed = 0

    def price(self, item: str) -> float:
        return {"tea": 2.5, "jam": 4.0}[item]

    def nap(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return "rested"

    def count(self, number: int) -> Iterator[int]:
        try:
            yield from range(number)
        finally:
            self.closed += 1

    def tree(self) -> list[int]:
        return [1, 2, 3]


@contextmanager
def serving(kind: str, broker: Broker01) -> Iterator[Shop]:
    """A worker of mesh at that broker, or a sidecar beside one."""
    shop = Shop()
    with ExitStack() as stack:
        server = mesh.Server(shop, name="shop", heartbeat=BEAT)
        if kind == "server":
            server.register("shop", broker.endpoint, **MDP01)
        else:
            endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        stack.callback(server.stop, 0.2)
        if kind == "sidecar":
            sidecar = Sidecar("shop", endpoint, broker.endpoint, **MDP01)
            sidecar.start()
            stack.callback(sidecar.stop, 0.2)
        eventually(lambda: broker.waiting, what="the worker to wait for calls")
        yield shop


def ask(client: Socket, name: str, *args: Any, service: bytes = b"shop", number: bytes = b"m1") -> None:
    event = wire.pack({"message_id": number, "v": 3}, name, list(args))
    client.send_multipart([b"", b"MDPC01", service, event])


def answer(client: Socket) -> tuple[bytes, str, Any]:
    """Whose answer comes, its name and arguments."""
    empty, head, _, event = client.recv_multipart()
    assert (empty, head) == (b"", b"MDPC01")
    header, name, args = wire.unpack(event)
    return header["response_to"], name, args


@pytest.mark.parametrize("kind", ["server", "sidecar"])
def test_calls_errors_and_the_frames(wires: Wires, kind: str) -> None:
    with Broker01(BEAT) as broker:
        with serving(kind, broker):
            client = wires(zmq.DEALER, broker.endpoint)
            for number in range(20):
                ask(client, "price", "tea", number=b"%d" % number)
            assert [answer(client)[:2] for _ in range(20)] == [(b"%d" % number, "OK") for number in range(20)]
            ask(client, "price", "salt")
            assert answer(client)[2][0] == "KeyError"
            ask(client, "nothing")
            assert answer(client)[1] == "ERR"
            client.send_multipart([b"", b"MDPC01", b"shop", b"no event"])
            assert client.recv_multipart()[3] == b"WireError"
            eventually(lambda: [HEARTBEAT] in broker.said)
        eventually(lambda: [DISCONNECT] in broker.said)
    assert broker.died is None
    commands = [frames[0] for frames in broker.said]
    assert commands.count(READY) == 1 and commands.count(REPLY) == 23
    assert [frames for frames in broker.said if frames[0] == READY] == [[READY, b"shop"]]
    assert {*commands} == {READY, REPLY, HEARTBEAT, DISCONNECT}


@pytest.mark.parametrize("kind", ["server", "sidecar"])
def test_a_call_may_take_long_though_the_broker_says_nothing_meanwhile(wires: Wires, kind: str) -> None:
    with Broker01(BEAT) as broker, serving(kind, broker):
        client = wires(zmq.DEALER, broker.endpoint)
        ask(client, "nap", 12 * BEAT)
        assert answer(client)[1:] == ("OK", ["rested"])
        ask(client, "price", "jam")
        assert answer(client)[1:] == ("OK", [4.0])
        assert [frames[0] for frames in broker.said].count(READY) == 1


@pytest.mark.parametrize("kind", ["server", "sidecar"])
def test_a_stream_is_refused_in_words_and_ends(wires: Wires, kind: str) -> None:
    with Broker01(BEAT) as broker, serving(kind, broker) as shop:
        client = wires(zmq.DEALER, broker.endpoint)
        ask(client, "count", 1_000_000)
        whose, name, args = answer(client)
        assert (whose, name, args[0]) == (b"m1", "ERR", "WireError")
        assert "the answer is a stream of many, and this worker is registered by Majordomo 0.1" in args[1]
        eventually(lambda: shop.closed == 1, what="the generator to be closed")
        ask(client, "tree")
        assert answer(client)[1:] == ("OK", [[1, 2, 3]])


def test_a_stream_of_an_old_server_is_refused_as_well(wires: Wires) -> None:
    with Broker01(0.5) as broker, old_server("python", heartbeat=0.5) as server:
        sidecar = Sidecar("shop", server.endpoint, broker.endpoint, heartbeat=0.5, mdp="0.1")
        sidecar.start()
        try:
            eventually(lambda: broker.waiting, what="the worker to wait for calls")
            client = wires(zmq.DEALER, broker.endpoint)
            ask(client, "count", 1_000)
            assert answer(client)[2][0] == "WireError"
            ask(client, "echo", "still there")
            assert answer(client)[1:] == ("OK", ["still there"])
        finally:
            sidecar.stop(0.2)


@pytest.mark.parametrize("reads", [False, True], ids=["dies", "is silent"])
def test_the_log_says_what_may_be_there(wires: Wires, caplog: pytest.LogCaptureFixture, reads: bool) -> None:
    caplog.set_level(logging.WARNING)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker01(BEAT))
        endpoint = broker.endpoint
        if reads:
            silent = wires(zmq.ROUTER)
            endpoint = f"tcp://127.0.0.1:{silent.bind_to_random_port('tcp://127.0.0.1')}"
        server = mesh.Server(Shop(), name="shop")
        server.register("shop", endpoint, heartbeat=BEAT)
        server.start()
        stack.callback(server.stop, 0.2)
        why = "was silent for 0.3 s" if reads else "the connection broke"
        eventually(lambda: "use --mdp 0.1, or register(…, mdp='0.1')" in caplog.text)
        assert f"shop is no worker of {endpoint} for now: " in caplog.text and why in caplog.text
        if not reads:
            assert broker.died is not None and broker.died[0] == b"MDPW02"


def test_a_hub_of_mesh_takes_such_a_worker_as_well(wires: Wires) -> None:
    from tests.hubs.test_broker import majordomo, running

    with running(majordomo(default="shop", heartbeat=BEAT)) as (broker, ends):
        server = mesh.Server(Shop(), name="shop", heartbeat=BEAT)
        server.register("shop", ends.out[0], **MDP01)
        server.start()
        try:
            eventually(lambda: len(broker.switch.workers) == 1)
            with mesh.connect(ends.in_[0], timeout=10, heartbeat=BEAT) as client:
                assert client.price("tea") == 2.5
                assert client.nap(12 * BEAT) == "rested"
                with pytest.raises(mesh.WireError, match="the answer is a stream of many"):
                    list(client.count(10))
                assert client.price("jam") == 4.0
        finally:
            server.stop(0.2)
        eventually(lambda: not broker.switch.workers)


@pytest.mark.parametrize("make", [mesh.Server(Shop()).register, Sidecar])
def test_other_versions_are_refused(make: Callable[..., Any]) -> None:
    names = ("shop", "tcp://127.0.0.1:1") if make is not Sidecar else ("shop", "tcp://127.0.0.1:1", "ipc://h")
    with pytest.raises(mesh.ConfigError, match=r"'0\.3' is no version of Majordomo: mdp is '0\.1' or '0\.2'"):
        make(*names, mdp="0.3")


@pytest.mark.parametrize("command", ["serve", "code", "endpoint"])
def test_the_commands(wires: Wires, command: str) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(Broker01(1.0))
        target = "urllib.parse"
        if command == "endpoint":
            server = mesh.Server({"quote": lambda text: text.upper()})
            target = server.bind("tcp://127.0.0.1:*")
            server.start()
            stack.callback(server.stop, 0.2)
        what = [*MESH, "serve", target, "--service"] if command == "serve" else [*MESH_REGISTER]
        arguments = [*what, "shop", "--hub", broker.endpoint, "--mdp", "0.1"]
        if command != "serve":
            arguments.insert(len(what) + 1, target)
        stack.enter_context(Process(arguments, env=environment()))
        client = wires(zmq.DEALER, broker.endpoint)
        ask(client, "quote", "a b")
        began = time.monotonic()
        assert answer(client)[2] == (["A B"] if command == "endpoint" else ["a%20b"])
        assert time.monotonic() - began < 20
