"""Calls that a server gets, and answers, in one frame; and who does not wait for others there.

The client is a plain socket, which sees every frame, or mesh's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from mesh.core import wire
from mesh.core.batch import pack_events, read_events
from mesh.core.majordomo import LONE
from tests.green.conftest import Connect, Serve
from tests.green.test_bad_input import raw

PATIENCE_MS = 20_000


class Service:
    def __init__(self) -> None:
        self.there = threading.Event()

    def echo(self, value: Any) -> Any:
        return value

    def fail(self) -> None:
        raise ValueError("no")

    def seize(self, until: bool) -> bool:
        """Keeps the loop, where it is to, until the test says so."""
        end = monotonic() + 20.0
        while until and not self.there.is_set() and monotonic() < end:
            sleep(0.001)
        return monotonic() < end

    def rest(self, seconds: float) -> float:
        gevent.sleep(seconds)
        return seconds

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)


class Client:
    """frames: how many messages have come."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        socket.rcvtimeo = PATIENCE_MS
        self.number = self.frames = 0

    def request(self, method: str, *args: Any, **header: Any) -> bytes:
        self.number += 1
        return wire.pack({"message_id": b"m%d" % self.number, "v": 3, **header}, method, list(args))

    def together(self, *calls: tuple[Any, ...]) -> None:
        self.socket.send(pack_events([self.request(*call) for call in calls]))

    def next(self) -> list[tuple[wire.Header, str, Any]]:
        """The events of the next message, beats aside."""
        frames = self.socket.recv_multipart()
        self.frames += 1
        events = [frames[1]] if len(frames) == 2 and not frames[0] else read_events(frames[0])
        return [event for event in map(wire.unpack, events) if event[1] != wire.BEAT]

    def values(self, number: int) -> list[Any]:
        got: list[Any] = []
        while len(got) < number:
            got += [args[0] for _, _, args in self.next()]
        assert len(got) == number
        return got


@pytest.fixture
def target() -> Service:
    return Service()


@pytest.fixture
def client(serve: Serve, target: Service) -> Iterator[Client]:
    with raw(zmq.DEALER, serve(target)) as socket:
        one = Client(socket)
        socket.send_multipart([b"", one.request("echo", 0, batch=1)])
        (header, _, _) = one.next()[0]
        assert header["batch"] == 1
        one.frames = 0
        yield one


def test_quick_answers_go_together(client: Client) -> None:
    client.together(*(("echo", number) for number in range(50)))
    assert client.values(50) == list(range(50))
    assert client.frames < 45


def test_calls_that_came_alone_are_answered_alone(client: Client) -> None:
    for number in range(20):
        client.socket.send_multipart([b"", client.request("echo", number)])
    for _ in range(20):
        empty, _event = client.socket.recv_multipart()
        assert empty == b""


def test_errors_and_large_answers_among_them(client: Client) -> None:
    large = "x" * LONE
    client.together(
        ("echo", 1), ("fail",), ("echo", large), ("no_such_method",), ("_zerorpc_ping",), ("echo", 2)
    )
    answers: dict[bytes, tuple[str, Any]] = {}
    while len(answers) < 6:
        answers |= {header["response_to"]: (name, args[0]) for header, name, args in client.next()}
    assert sorted(answers.values(), key=str) == sorted(
        [
            (wire.OK, 1),
            (wire.OK, 2),
            (wire.OK, large),
            (wire.OK, ["pong", "Service"]),
            (wire.ERR, "ValueError"),
            (wire.ERR, "NameError"),
        ],
        key=str,
    )


def test_a_stream_among_them_keeps_its_order(client: Client) -> None:
    client.together(("echo", 1), ("count", 3), ("echo", 2))
    events = client.next()
    while not any(name == wire.STREAM for _, name, _ in events):
        events += client.next()
    (channel,) = [header["response_to"] for header, name, _ in events if name == wire.STREAM]
    more = {"message_id": b"more", "v": 3, "response_to": channel}
    client.socket.send_multipart([b"", wire.pack(more, wire.MORE, [100])])
    while not any(name == wire.STREAM_DONE for _, name, _ in events):
        events += client.next()
    of_stream = [(name, args) for header, name, args in events if header["response_to"] == channel]
    assert of_stream == [(wire.STREAM, n) for n in range(3)] + [(wire.STREAM_DONE, None)]


def test_none_waits_for_a_method_that_was_not_quick(client: Client, target: Service) -> None:
    client.together(("seize", True), ("echo", 0))
    target.there.set()
    client.values(2)
    target.there.clear()
    client.together(("echo", 1), ("echo", 2), ("seize", True))
    assert sorted(client.values(2)) == [1, 2]
    target.there.set()
    assert client.values(1) == [True]


def test_none_waits_for_long_where_a_quick_method_is_slow_for_once(client: Client, target: Service) -> None:
    for _ in range(3):
        client.together(("echo", 0), ("seize", False))
        client.values(2)
    client.together(("echo", 1), ("echo", 2), ("seize", True))
    assert sorted(client.values(2)) == [1, 2]
    target.there.set()
    assert client.values(1) == [True]


def test_none_waits_for_a_handler_that_waits(client: Client) -> None:
    client.together(("echo", 1), ("rest", 0.5), ("echo", 2))
    assert sorted(client.values(2)) == [1, 2]
    assert client.values(1) == [0.5]


def test_a_client_that_goes_with_answers_held(serve: Serve, connect: Connect, target: Service) -> None:
    endpoint = serve(target)
    for _ in range(20):
        with raw(zmq.DEALER, endpoint) as socket:
            Client(socket).together(*(("echo", number) for number in range(50)))
    assert connect(endpoint).echo(1) == 1


def test_frames_of_rubbish_harm_nobody(serve: Serve, connect: Connect, target: Service) -> None:
    endpoint = serve(target)
    with raw(zmq.DEALER, endpoint) as socket:
        one = Client(socket)
        for frame in (
            pack_events([b"\x90"] * 30_000),
            pack_events([b"\xc1" * 30] * 1_500),
            msgpack.packb([b"", [[[[b""]]]]]),
            pack_events([b"x" * 70_000]),
            b"\x92\xc4",
            b"\xdd\xff\xff\xff\xff\xc4\x00",
        ):
            socket.send(frame)
            socket.send_multipart([frame, b"", frame])
        one.together(("echo", 1), ("echo", 2))
        assert one.values(2) == [1, 2]
    assert connect(endpoint).echo(1) == 1


@pytest.fixture
def both(client_of: Callable[..., mesh.Client], target: Service) -> mesh.Client:
    return client_of(target)


def test_callers_at_the_same_time_each_have_their_answer(both: mesh.Client) -> None:
    def calls(caller: int) -> list[Any]:
        return [both.echo([caller, number]) for number in range(50)]

    callers = [gevent.spawn(calls, number) for number in range(50)]
    gevent.joinall(callers, timeout=60, raise_error=True)
    assert [one.value for one in callers] == [[[n, m] for m in range(50)] for n in range(50)]


def test_a_caller_that_is_slow_keeps_nobody_waiting(both: mesh.Client) -> None:
    took: list[float] = []

    def slow() -> None:
        for _ in range(5):
            both.echo(1)
            sleep(0.02)

    def quick() -> None:
        for number in range(50):
            began = monotonic()
            assert both.echo(number) == number
            took.append(monotonic() - began)

    gevent.joinall(
        [gevent.spawn(quick) for _ in range(10)] + [gevent.spawn(slow)], timeout=60, raise_error=True
    )
    assert len(took) == 500
