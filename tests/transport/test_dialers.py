"""Sockets with several endpoints: where each is dialled, and which has refused a handshake."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from mesh.core.channel import NEVER
from mesh.errors import ConfigError
from mesh.transport import host_lookup
from mesh.transport.dialer import NO_REASON, silence
from mesh.transport.dialers import ASK_AGAIN, Dialers
from mesh.transport.greeting import ANOTHER_MECHANISM
from mesh.transport.host_lookup import HostLookups
from mesh.transport.monitors import ConnectionEvent
from tests.helpers.processes import eventually

MECHANISM = 0x11000002
ADDRESSES = {"one": ["10.0.0.1"], "two": ["10.0.0.2", "10.0.0.3"], "same": ["10.0.0.1"]}


answers = threading.Event()
"""Whether the name servers answer."""


def getaddrinfo(host: str, _: object, family: int, *__: object) -> list[Any]:
    assert answers.wait(20)
    if host not in ADDRESSES or family != socket.AF_INET:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")
    return [(family, socket.SOCK_STREAM, 6, "", (one, 0)) for one in ADDRESSES[host]]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lookup, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("mesh.transport.finder.lookups", HostLookups())
    answers.clear()


class Socket:
    """Has no more of a socket than what it is connected to."""

    def __init__(self) -> None:
        self.at: list[str] = []

    def get(self, option: int) -> int:
        assert option == zmq.TYPE
        return int(zmq.PUSH)

    def set(self, option: int, value: int) -> None:
        assert option == zmq.IPV6

    def connect(self, endpoint: str) -> None:
        self.at.append(endpoint)

    def disconnect(self, endpoint: str) -> None:
        self.at.remove(endpoint)


class Some:
    def __init__(self, *endpoints: str) -> None:
        self.told: list[tuple[str, str]] = []
        self.begun: list[Callable[[], None]] = []
        self.asked: list[str] = []
        self.answer: bytes | None = b""
        self.woken = 0
        self.socket: Any = Socket()
        self.dialers = Dialers(
            self.socket,
            lambda *told: self.told.append(told),
            self.wake,
            self.begun.append,
            lambda address, *_: (self.asked.append(address), self.answer)[1],
        )
        for endpoint in endpoints:
            self.dialers.add(endpoint, 0.0)

    def wake(self) -> None:
        self.woken += 1

    def run(self) -> None:
        """Have a thread find out what it is to."""
        woken = self.woken
        self.begun.pop()()
        assert self.woken == woken + 1

    def dials(self, now: float) -> list[str]:
        """What it is connected to, once that time has come."""
        self.dialers.settle(now)
        return sorted(self.socket.at)

    def happened(self, kind: int, address: str, now: float, value: int = 7) -> list[str]:
        self.dialers.happened(ConnectionEvent(kind, value, address), now)
        return self.dials(now)

    def refused(self, address: str, now: float) -> list[str]:
        return self.happened(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, address, now, MECHANISM)


ONE, TWO = "tcp://10.0.0.1:5", "tcp://10.0.0.2:5"


def test_the_one_that_refused_is_left_and_dialled_again() -> None:
    some = Some(ONE, TWO)
    assert some.refused(TWO, 0.0) == [ONE]
    assert some.told == [(TWO, "it refused us: it wants a key (CURVE) or another way to authenticate")]
    at = some.dialers.wake_at
    assert 0 < at <= 1.0
    assert some.dials(at / 2) == [ONE] and some.dials(at) == [ONE, TWO]
    assert some.dialers.wake_at == NEVER


def test_what_is_told_again_and_again_is_told_once() -> None:
    some, now = Some(ONE), 0.0
    for _ in range(10):
        assert some.refused(ONE, now) == []
        now = some.dialers.wake_at
        assert some.dials(now) == [ONE]
    assert len(some.told) == 1
    some.happened(zmq.EVENT_HANDSHAKE_SUCCEEDED, ONE, now)
    assert not some.dialers.problem(ONE)
    some.refused(ONE, now)
    assert len(some.told) == 2


def test_an_endpoint_that_is_left_is_forgotten() -> None:
    some = Some(ONE, TWO)
    some.refused(ONE, 0.0)
    assert some.dialers.remove(ONE) == "" and some.dialers.remove(TWO) == TWO
    assert some.dials(100.0) == [] and some.dialers.wake_at == NEVER
    assert not some.dialers.problem(ONE)


def test_the_failed_handshake_of_a_stranger_who_came_is_not_ours() -> None:
    some = Some(ONE)
    assert some.refused("tcp://127.0.0.1:7", 0.0) == [ONE] and not some.told


def broken_off(some: Some, now: float) -> None:
    """The handshake with the first endpoint ends, and libzmq gives no reason."""
    some.happened(zmq.EVENT_CONNECTED, ONE, now)
    assert ONE not in some.happened(zmq.EVENT_DISCONNECTED, ONE, now)


def test_what_breaks_off_without_a_reason_is_asked_what_it_is_and_told_then() -> None:
    some = Some(ONE, TWO)
    some.answer = b"HTTP/1.1 400 Bad Request\r\n"
    broken_off(some, 0.0)
    assert some.dialers.problem(ONE) == NO_REASON and not some.told
    some.run()
    assert some.asked == [ONE] and not some.told, "the owner's thread tells"
    assert some.dials(0.01) == [TWO]
    said = some.dialers.problem(ONE)
    assert "'HTTP/1.1 400 Bad Request'" in said and some.told == [(ONE, said)]


def test_it_is_asked_once_a_minute_and_told_where_that_is_new() -> None:
    some, now = Some(ONE), 0.0
    while now < 2.5 * ASK_AGAIN:
        broken_off(some, now)
        if some.begun:
            some.answer = b"SSH-%d" % (now > 1.5 * ASK_AGAIN)
            some.run()
        some.dials(now)
        now = some.dialers.wake_at
        assert some.dials(now) == [ONE]
    assert 2 <= len(some.asked) <= 3
    assert ["SSH-0" in why for _, why in some.told] == [True, False]


def test_what_is_heard_of_a_connection_that_was_left_is_nothing_new() -> None:
    some = Some(ONE)
    assert some.refused(ONE, 0.0) == some.refused(ONE, 0.0) == []
    assert some.dials(1.0) == [ONE]


def test_what_says_nothing_is_told_as_that() -> None:
    some = Some(ONE)
    some.answer = None
    broken_off(some, 0.0)
    some.run()
    some.dials(0.01)
    assert some.told == [(ONE, silence())]


def test_what_gives_no_answer_is_told_all_the_same() -> None:
    some = Some(ONE)
    broken_off(some, 0.0)
    some.run()
    some.dials(0.01)
    assert some.told == [(ONE, NO_REASON)]


@pytest.mark.parametrize("well", [True, False])
def test_an_answer_that_comes_when_it_is_well_again_or_gone_is_dropped(well: bool) -> None:
    some = Some(ONE)
    some.answer = b"HTTP/1.1 400 Bad Request\r\n"
    broken_off(some, 0.0)
    some.dials(1.0)
    if well:
        some.happened(zmq.EVENT_HANDSHAKE_SUCCEEDED, ONE, 1.0)
    else:
        some.dialers.remove(ONE)
    some.run()
    some.dials(1.1)
    assert not some.told and not some.dialers.problem(ONE)


def test_a_reason_of_libzmq_s_own_goes_before_what_was_answered() -> None:
    some = Some(ONE)
    broken_off(some, 0.0)
    some.dials(1.0)
    some.refused(ONE, 1.0)
    some.run()
    some.dials(1.01)
    assert [why for _, why in some.told] == [ANOTHER_MECHANISM]


# Names


@pytest.fixture
def named() -> Iterator[Some]:
    some = Some("tcp://one:5", "tcp://two:5", "tcp://same:5")
    assert some.socket.at == [] and some.dialers.endpoints == ["tcp://one:5", "tcp://two:5", "tcp://same:5"]
    answers.set()
    eventually(lambda: some.woken == 3)
    yield some
    some.dialers.close()


def test_libzmq_gets_numbers_and_two_names_of_one_address_are_one_connection(named: Some) -> None:
    assert named.dials(0.1) == [ONE, TWO]
    assert named.dialers.remove("tcp://one:5") == ONE
    assert named.dials(0.1) == [ONE, TWO], "the other one has it"
    named.dialers.remove("tcp://same:5")
    assert named.dials(0.1) == [TWO]


def test_what_happens_at_an_address_is_of_all_that_have_it(named: Some) -> None:
    named.dials(0.1)
    assert named.refused(ONE, 0.1) == [TWO]
    assert [endpoint for endpoint, _ in named.told] == ["tcp://one:5", "tcp://same:5"]
    assert named.dials(0.2) == [ONE, TWO]


def test_of_several_addresses_the_next_is_dialled_and_only_one_at_a_time(named: Some) -> None:
    named.dials(0.1)
    three = "tcp://10.0.0.3:5"
    assert named.happened(zmq.EVENT_CLOSED, TWO, 0.11) == [ONE, three]
    assert named.happened(zmq.EVENT_CONNECTED, TWO, 0.12) == [ONE, three], "that one was left"
    named.happened(zmq.EVENT_CONNECTED, three, 0.13)
    named.happened(zmq.EVENT_HANDSHAKE_SUCCEEDED, three, 0.14)
    assert named.dials(0.9) == [ONE, three]


def test_a_host_without_an_address_is_told_once_and_one_that_is_asked_for_is_not() -> None:
    some = Some("tcp://nobody:5")
    assert "still being looked up" in some.dialers.problem("tcp://nobody:5") and not some.told
    answers.set()
    eventually(lambda: some.woken)
    for now in (0.1, 10.0):
        some.dials(now)
    assert some.told == [("tcp://nobody:5", "its host 'nobody' can't be resolved (no such host)")]


def test_what_is_no_endpoint_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="has 'port' for a port"):
        Some("tcp://one:port")
