"""Which of several endpoints has refused a handshake, and when it is dialled again."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import zmq

from mesh.core.channel import NEVER
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.redialling import Redialling

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
        self.redialling = Redialling(self.begun.append, lambda *told: self.told.append(told), getaddrinfo)

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
    assert some.redialling.happened(ok, endpoints, now) == [] and not some.redialling.refused
    some.refused(endpoints[0], endpoints, now)
    assert len(some.told) == 2


def test_an_address_is_that_of_the_only_name_with_its_port() -> None:
    some, endpoints = Some(), ["tcp://one:5", "tcp://two:6", "tcp://10.0.0.9:5"]
    assert some.refused("tcp://10.0.0.2:6", endpoints, 0.0) == ["tcp://two:6"]


def test_of_several_names_it_is_found_out_which_it_is() -> None:
    some, endpoints = Some(), ["tcp://one:5", "tcp://two:5", "tcp://three:5"]
    assert some.refused("tcp://10.0.0.2:5", endpoints, 0.0) == []
    assert some.refused("tcp://10.0.0.2:5", endpoints, 0.0) == [] and len(some.begun) == 1
    assert some.redialling.unclear(endpoints, 0.0) == []
    some.begun.pop()()
    assert some.redialling.unclear(endpoints, 0.1) == ["tcp://two:5"]
    assert some.refused("tcp://10.9.9.9:5", endpoints, 0.2) == []
    some.begun.pop()()
    assert some.redialling.unclear(endpoints, 0.3) == [], "nobody's address is not guessed at"


def test_an_endpoint_that_is_no_longer_wanted_is_forgotten() -> None:
    some, endpoints = Some(), ["tcp://10.0.0.1:5"]
    some.refused(endpoints[0], endpoints, 0.0)
    assert some.redialling.due([], 100.0) == [] and some.redialling.wake_at == NEVER
    assert not some.redialling.refused


def test_the_failed_handshake_of_a_stranger_who_came_is_not_ours() -> None:
    some = Some()
    assert some.refused("tcp://127.0.0.1:7", ["tcp://10.0.0.1:5"], 0.0) == []
