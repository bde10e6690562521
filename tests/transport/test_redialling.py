"""Which of several endpoints has refused a handshake, and when it is dialled again."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import zmq

from mesh.core.channel import NEVER
from mesh.transport.dialer import NO_REASON, silence
from mesh.transport.greeting import ANOTHER_MECHANISM
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.redialling import ASK_AGAIN, Redialling

MECHANISM = 0x11000002
ADDRESSES = {"one": "10.0.0.1", "two": "10.0.0.2"}


def getaddrinfo(host: str, *_: object) -> list[Any]:
    if host not in ADDRESSES:
        raise socket.gaierror("no such host")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESSES[host], 0))]


class Some:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.begun: list[Callable[[], None]] = []
        self.asked: list[str] = []
        self.answer: bytes | None = b""
        self.woken = 0
        self.redialling = Redialling(
            zmq.PUSH,
            self.begun.append,
            lambda *told: self.told.append(told),
            self.wake,
            getaddrinfo,
            lambda address, *_: (self.asked.append(address), self.answer)[1],
        )

    def wake(self) -> None:
        self.woken += 1

    def run(self) -> None:
        """Have a thread find out what it is to."""
        woken = self.woken
        self.begun.pop()()
        assert self.woken == woken + 1

    def refused(self, address: str, endpoints: list[str], now: float) -> list[str]:
        event = ConnectionEvent(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, MECHANISM, address)
        return self.redialling.happened(event, endpoints, now)


def test_the_one_that_refused_is_left_and_dialled_again() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5", "tcp://10.0.0.2:5"]
    assert some.refused(endpoints[1], endpoints, 0.0) == [endpoints[1]]
    assert some.told == [
        (endpoints[1], "it refused us: it wants a key (CURVE) or another way to authenticate")
    ]
    assert some.redialling.due(endpoints, 0.0) == []
    at = some.redialling.wake_at
    assert 0 < at <= 1.0
    assert some.redialling.due(endpoints, at) == [endpoints[1]]
    assert some.redialling.due(endpoints, at) == [] and some.redialling.wake_at == NEVER


def test_what_is_told_again_and_again_is_told_once() -> None:
    some, endpoints, now = Some(), ["tcp://10.0.0.1:5"], 0.0
    for _ in range(10):
        assert some.refused(endpoints[0], endpoints, now) == endpoints
        now = some.redialling.wake_at
        assert some.redialling.due(endpoints, now) == endpoints
    assert len(some.told) == 1
    ok = ConnectionEvent(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0, endpoints[0])
    assert some.redialling.happened(ok, endpoints, now) == [] and not some.redialling.problem(endpoints[0])
    some.refused(endpoints[0], endpoints, now)
    assert len(some.told) == 2


def test_an_address_is_that_of_the_only_name_with_its_port() -> None:
    some, endpoints = Some(), ["tcp://one:5", "tcp://two:6", "tcp://10.0.0.9:5"]
    assert some.refused("tcp://10.0.0.2:6", endpoints, 0.0) == ["tcp://two:6"]


def test_of_several_names_it_is_found_out_which_it_is() -> None:
    some, endpoints = Some(), ["tcp://one:5", "tcp://two:5", "tcp://three:5"]
    assert some.refused("tcp://10.0.0.2:5", endpoints, 0.0) == []
    assert some.refused("tcp://10.0.0.2:5", endpoints, 0.0) == [] and len(some.begun) == 1
    assert some.redialling.settle(endpoints, 0.0) == []
    some.run()
    assert some.redialling.settle(endpoints, 0.1) == ["tcp://two:5"]
    assert some.refused("tcp://10.9.9.9:5", endpoints, 0.2) == []
    some.run()
    assert some.redialling.settle(endpoints, 0.3) == [], "nobody's address is not guessed at"


def test_an_endpoint_that_is_no_longer_wanted_is_forgotten() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    some.refused(endpoints[0], endpoints, 0.0)
    assert some.redialling.due([], 100.0) == [] and some.redialling.wake_at == NEVER
    assert not some.redialling.problem(endpoints[0])


def test_the_failed_handshake_of_a_stranger_who_came_is_not_ours() -> None:
    some = Some()
    assert some.refused("tcp://127.0.0.1:7", ["tcp://10.0.0.1:5"], 0.0) == []


DIALLED = (zmq.EVENT_CONNECTED, zmq.EVENT_DISCONNECTED)


def broken_off(some: Some, endpoints: list[str], now: float) -> None:
    """The handshake with the first of the endpoints ends, and libzmq gives no reason."""
    for kind in DIALLED:
        left = some.redialling.happened(ConnectionEvent(kind, 7, endpoints[0]), endpoints, now)
    assert left == endpoints[:1]


def test_what_breaks_off_without_a_reason_is_asked_what_it_is_and_told_then() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5", "tcp://10.0.0.2:5"]
    some.answer = b"HTTP/1.1 400 Bad Request\r\n"
    broken_off(some, endpoints, 0.0)
    assert some.redialling.problem(endpoints[0]) == NO_REASON and not some.told
    some.run()
    assert some.asked == endpoints[:1] and not some.told, "the owner's thread tells"
    assert some.redialling.settle(endpoints, 0.1) == [] and some.redialling.has_left(endpoints[0])
    said = some.redialling.problem(endpoints[0])
    assert "'HTTP/1.1 400 Bad Request'" in said and some.told == [(endpoints[0], said)]


def test_it_is_asked_once_a_minute_and_told_where_that_is_new() -> None:
    some, endpoints, now = Some(), ["tcp://10.0.0.1:5"], 0.0
    while now < 2.5 * ASK_AGAIN:
        broken_off(some, endpoints, now)
        if some.begun:
            some.answer = b"SSH-%d" % (now > 1.5 * ASK_AGAIN)
            some.run()
        some.redialling.settle(endpoints, now)
        now = some.redialling.wake_at
        assert some.redialling.due(endpoints, now) == endpoints
    assert 2 <= len(some.asked) <= 3
    assert ["SSH-0" in why for _, why in some.told] == [True, False]


def test_one_that_was_tried_again_before_its_refusal_was_heard_of_is_left_once() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    assert some.refused(endpoints[0], endpoints, 0.0) == endpoints
    assert some.refused(endpoints[0], endpoints, 0.0) == []
    assert some.redialling.due(endpoints, 1.0) == endpoints


def test_what_says_nothing_is_told_as_that() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    some.answer = None
    broken_off(some, endpoints, 0.0)
    some.run()
    some.redialling.settle(endpoints, 0.1)
    assert some.told == [(endpoints[0], silence())]


def test_what_gives_no_answer_is_told_all_the_same() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    broken_off(some, endpoints, 0.0)
    some.run()
    some.redialling.settle(endpoints, 0.1)
    assert some.told == [(endpoints[0], NO_REASON)]


def test_an_answer_that_comes_when_it_is_well_again_or_gone_is_dropped() -> None:
    for well in (True, False):
        some, endpoints = Some(), ["tcp://10.0.0.1:5"]
        some.answer = b"HTTP/1.1 400 Bad Request\r\n"
        broken_off(some, endpoints, 0.0)
        some.redialling.due(endpoints if well else [], 1.0)
        ok = ConnectionEvent(zmq.EVENT_HANDSHAKE_SUCCEEDED, 7, endpoints[0])
        some.redialling.happened(ok, endpoints, 1.0)
        some.run()
        assert some.redialling.settle(endpoints, 1.1) == []
        assert not some.told and not some.redialling.problem(endpoints[0])


def test_a_reason_of_libzmq_s_own_goes_before_what_was_answered() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    broken_off(some, endpoints, 0.0)
    some.redialling.due(endpoints, 1.0)
    some.refused(endpoints[0], endpoints, 1.0)
    some.run()
    some.redialling.settle(endpoints, 1.1)
    assert [why for _, why in some.told] == [ANOTHER_MECHANISM]
