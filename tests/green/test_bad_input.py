"""Peers that send rubbish, or never read: what it does to them, and not to others."""

from __future__ import annotations

import os
import random
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from tests.green import rubbish
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import Process, eventually

Service = Callable[..., tuple[str, Process]]
MIB = 1024 * 1024


def memory(process: Process) -> int:
    """Resident bytes."""
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def raw(kind: int, endpoint: str, **options: int | bytes) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    one = context.socket(kind)
    one.linger = 0
    for name, value in options.items():
        setattr(one, name, value)
    one.connect(endpoint)
    try:
        yield one
    finally:
        one.close()
        context.term()


@contextmanager
def flooding(flood: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run the flood in a native thread meanwhile."""
    stop = threading.Event()
    thread = threading.Thread(target=flood, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def goes_on(client: mesh.Client, seconds: float) -> float:
    """Calls and streams work for that long, each within the timeout; what half of them took at most."""
    end, took = time.monotonic() + seconds, list[float]()
    while not took or time.monotonic() < end:
        began = time.monotonic()
        assert client.echo(len(took)) == len(took)
        assert list(client.count(3)) == [0, 1, 2]
        took.append(time.monotonic() - began)
    return statistics.median(took)


def lines(process: Process) -> int:
    return len(re.findall(r"WARNING mesh.server Service: dropped", process.stderr))


def test_a_flood_of_rubbish_harms_nobody(service: Service, connect: Connect) -> None:
    endpoint, process = service()
    client = connect(endpoint)

    def flood(stop: threading.Event) -> None:
        stream = rubbish.messages(random.Random(7))
        with raw(zmq.DEALER, endpoint, sndtimeo=200) as peer:
            while not stop.is_set():
                try:
                    peer.send_multipart(next(stream))
                    while peer.poll(0):
                        peer.recv_multipart()
                except zmq.Again:
                    continue

    def flooded(seconds: float) -> float:
        with flooding(flood):
            return goes_on(client, seconds)

    flooded(0.7)
    before, began, had = memory(process), time.monotonic(), lines(process)
    assert flooded(1.5) < 1.0
    assert lines(process) - had <= time.monotonic() - began + 1
    assert lines(process) > 0
    assert memory(process) - before < 24 * MIB
    assert "Traceback" not in process.stderr, process.describe()
    assert client.echo("after") == "after"


def test_rubbish_gets_an_answer_where_it_can(serve: Serve) -> None:
    class Echo:
        def echo(self, value: Any) -> Any:
            return value

    with raw(zmq.DEALER, serve(Echo())) as peer:

        def answer(payload: bytes) -> Any:
            peer.send_multipart([b"", payload])
            assert peer.poll(20_000)
            return msgpack.unpackb(peer.recv_multipart()[-1])

        head = {"message_id": "id", "v": 3}
        for payload, name in (
            (rubbish.event(head, "echo", "no array"), "WireError"),
            (rubbish.event(head, 5, []), "WireError"),
            (rubbish.event(head, "nothing", []), "NameError"),
            (rubbish.event({**head, "kwargs": 5}, "echo", [1]), "TypeError"),
            (rubbish.event(head, "echo", [1])[:-1], "WireError"),
        ):
            header, kind, args = answer(payload)
            assert (header["response_to"], kind, args[0]) == ("id", "ERR", name)
        assert answer(rubbish.event(head, "echo", [1]))[1:] == ["OK", [1]]


def test_nobody_can_answer_or_cancel_for_another(serve: Serve) -> None:
    class Slow:
        closed = False

        def ticks(self) -> Iterator[int]:
            try:
                for number in range(10**9):
                    yield number
                    gevent.sleep(0.005)
            finally:
                self.closed = True

    target = Slow()
    endpoint = serve(target)
    with raw(zmq.DEALER, endpoint, identity=b"victim") as victim, raw(zmq.DEALER, endpoint) as attacker:
        victim.send_multipart([b"", rubbish.event({"message_id": "mine", "v": 3}, "ticks", [])])
        victim.send_multipart(
            [b"", rubbish.event({"message_id": "m", "v": 3, "response_to": "mine"}, "_zpc_more", [10**6])]
        )
        assert victim.poll(20_000)
        cancel = rubbish.event(
            {"message_id": "x", "v": 3, "response_to": "mine", "cancel": True}, "_zpc_hb", [0]
        )
        call = rubbish.event({"message_id": "spoofed", "v": 3}, "_zerorpc_ping", [])
        for frames in ([b"", cancel], [b"victim", b"", cancel], [b"victim", cancel], [b"victim", b"", call]):
            attacker.send_multipart(frames)
        assert attacker.poll(20_000)
        assert msgpack.unpackb(attacker.recv_multipart()[-1])[0]["response_to"] == "spoofed"
        for _ in range(20):
            assert victim.poll(20_000)
            header, kind, _ = msgpack.unpackb(victim.recv_multipart()[-1])
            assert (header["response_to"], kind) == ("mine", "STREAM")
        assert not target.closed


def test_what_speaks_no_zeromq_harms_nobody(service: Service, connect: Connect) -> None:
    endpoint, process = service()
    client = connect(endpoint)
    host, port = endpoint.removeprefix("tcp://").split(":")
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48

    def flood(stop: threading.Event) -> None:
        dice = random.Random(3)
        kept: list[socket.socket] = []
        while not stop.is_set():
            one = socket.create_connection((host, int(port)), timeout=5)
            one.settimeout(0.01)
            try:
                one.sendall(
                    dice.choice([b"", b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(300), greeting, greeting * 9])
                )
                one.recv(10)
            except OSError:
                pass
            kept.append(one)
            if len(kept) > 50:
                kept.pop(0).close()
        for one in kept:
            one.close()

    before = memory(process)
    with flooding(flood):
        assert goes_on(client, 1.0) < 1.0
    assert memory(process) - before < 24 * MIB
    assert "Traceback" not in process.stderr


def test_a_peer_that_never_reads_is_bounded_and_dropped(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", 1.0)
    client = connect(endpoint, heartbeat=1.0)
    assert client.echo(1) == 1
    before = memory(process)
    with raw(zmq.DEALER, endpoint, rcvhwm=1, sndhwm=0) as peer:
        for number in range(20_000):
            head = {"message_id": f"{number}", "v": 3}
            peer.send_multipart([b"", rubbish.event(head, "blob", [32 * 1024])])
        eventually(
            lambda: (client.echo(1), "not read" in process.stderr)[1], timeout=60, what="a line in the log"
        )
        assert goes_on(client, 0.5) < 1.0
        assert memory(process) - before < 250 * MIB  # of 640 that it asked for
    assert goes_on(client, 0.2) < 1.0
    assert "Traceback" not in process.stderr


def test_a_message_over_the_limit_costs_only_its_sender_the_connection(
    serve: Serve, connect: Connect
) -> None:
    from mesh.core.server_session import Limits

    class Echo:
        def echo(self, value: Any) -> Any:
            return value

        def count(self, number: int) -> Iterator[int]:
            yield from range(number)

        def large(self) -> bytes:
            return b"x" * 50_000

    endpoint = serve(Echo(), limits=Limits(max_message=20_000))
    client = connect(endpoint)
    other = connect(endpoint)
    with pytest.raises(ValueError, match="the limit is 20000"):
        client.large()
    with pytest.raises((mesh.LostRemote, mesh.WireError)):
        other.echo(b"x" * 500_000)
    assert goes_on(client, 0.2) < 1.0
    eventually(lambda: other.echo(1) == 1)


def test_a_server_that_answers_rubbish(connect: Connect) -> None:
    context = zmq.Context()
    server = context.socket(zmq.ROUTER)
    server.linger = 0
    server.bind("tcp://127.0.0.1:*")
    client = connect(server.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

    def serve(stop: threading.Event) -> None:
        stream = rubbish.messages(random.Random(5))
        while not stop.is_set():
            if not server.poll(50):
                continue
            peer, *_, payload = server.recv_multipart()
            header, name, args = msgpack.unpackb(payload)
            if name == "ERR":  # some of the rubbish looks like a call, which no client carries out
                continue
            for _ in range(150):
                server.send_multipart([peer, *next(stream)])
            if name == "echo":
                head = {"message_id": "answer", "v": 3, "response_to": header["message_id"]}
                server.send_multipart([peer, b"", rubbish.event(head, "OK", args)])
            elif name in ("STREAM", "what", "OK"):
                args = args[0] if args else None
                head = {"message_id": "answer", "v": 3, "response_to": header["message_id"]}
                server.send_multipart([peer, b"", rubbish.event(head, name, args)])

    with flooding(serve):
        for number in range(20):
            assert client.echo(number) == number
        for name, args in (("what", [1]), ("OK", ["no array"]), ("OK", [{}]), ("OK", [])):
            with pytest.raises(mesh.WireError):
                client(name, *args)
        stream = client("STREAM", 1)
        assert next(stream) == 1
        stream.close()
        assert client.echo("after") == "after"
    server.close()
    context.term()


def test_a_consumer_that_stands_still_holds_back_only_itself(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", 5.0)
    client = connect(endpoint)
    with raw(zmq.DEALER, endpoint) as peer:
        peer.send_multipart([b"", rubbish.event({"message_id": "s", "v": 3}, "blobs", [MIB // 16])])
        more = {"message_id": "m", "v": 3, "response_to": "s"}
        peer.send_multipart([b"", rubbish.event(more, "_zpc_more", [2**31])])
        before = memory(process)
        assert goes_on(client, 1.0) < 1.0
        assert memory(process) - before < 250 * MIB
    assert goes_on(client, 0.2) < 1.0


@pytest.mark.parametrize("size", [100, 200_000])
def test_an_event_that_ends_too_soon_is_answered_whatever_its_size(serve: Serve, size: int) -> None:
    whole = rubbish.event({"message_id": "id", "v": 3}, "bytes", [b"x" * size])
    with raw(zmq.DEALER, serve({"bytes": len})) as peer:
        for payload, name in ((whole, "OK"), (whole[:-1], "ERR"), (whole, "OK")):
            peer.send_multipart([b"", payload])
            assert peer.poll(20_000)
            header, kind, args = msgpack.unpackb(peer.recv_multipart()[-1])
            assert (header["response_to"], kind) == ("id", name)
            assert args[0] == (size if kind == "OK" else "WireError")
