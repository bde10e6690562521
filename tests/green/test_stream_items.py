"""Items of a stream that go in one event, and never wait for one that is not there yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import gevent
import pytest
import zmq

from mesh.core import wire
from tests.green.conftest import Connect, Serve
from tests.green.test_bad_input import raw
from tests.green.test_direct_batches import Client


class Service:
    def __init__(self) -> None:
        self.there = threading.Event()

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    def breaks(self, number: int) -> Iterator[int]:
        yield from range(number)
        raise ValueError("no more")

    def waits(self, number: int) -> Iterator[int]:
        yield from range(number)
        while not self.there.is_set():
            gevent.sleep(0.01)
        yield number

    def computes(self, number: int) -> Iterator[int]:
        yield from range(number)
        end = monotonic() + 20.0
        while not self.there.is_set() and monotonic() < end:
            sleep(0.001)
        yield number

    def one_list(self) -> Iterator[list[int]]:
        row: list[int] = []
        for number in range(50):
            row.append(number)
            yield row


class Reader(Client):
    """events: how many were of items."""

    events = 0

    def start(self, method: str, *args: Any, **extra: Any) -> None:
        """Begin a stream, with credit for 900 items."""
        self.socket.send_multipart([b"", self.request(method, *args)])
        channel = b"m%d" % self.number
        header = {"message_id": b"x", "v": 3, "response_to": channel, **extra}
        self.socket.send_multipart([b"", wire.pack(header, wire.MORE, [900])])

    def items(self, number: int) -> list[Any]:
        got: list[Any] = []
        while len(got) < number:
            for header, name, args in self.next():
                assert name == wire.STREAM
                got += args if "items" in header else [args]
                self.events += 1
        assert len(got) == number
        return got

    def last(self) -> str:
        ((_, name, _),) = self.next()
        return name


@pytest.fixture
def target() -> Service:
    return Service()


@pytest.fixture
def reader(serve: Serve, target: Service) -> Iterator[Reader]:
    with raw(zmq.DEALER, serve(target)) as socket:
        yield Reader(socket)


def test_those_that_are_ready_go_together(reader: Reader) -> None:
    reader.start("count", 800, items=1)
    assert reader.items(800) == list(range(800))
    assert reader.last() == wire.STREAM_DONE
    assert reader.events < 400


def test_one_in_each_event_for_who_has_not_said(reader: Reader) -> None:
    reader.start("count", 300)
    assert reader.items(300) == list(range(300))
    assert reader.events == 300


def test_each_is_what_it_was_when_it_was_yielded(reader: Reader) -> None:
    reader.start("one_list", items=1)
    assert reader.items(50) == [list(range(number + 1)) for number in range(50)]


def test_those_before_an_error_come_before_it(reader: Reader) -> None:
    reader.start("breaks", 300, items=1)
    assert reader.items(300) == list(range(300))
    assert reader.last() == wire.ERR


@pytest.mark.parametrize("method", ["waits", "computes"])
def test_none_waits_for_one_that_is_not_there_yet(reader: Reader, target: Service, method: str) -> None:
    reader.start(method, 50, items=1)
    assert reader.items(50) == list(range(50))
    target.there.set()
    assert reader.items(1) == [50] and reader.last() == wire.STREAM_DONE


@pytest.mark.parametrize("threads", [0, 2])
def test_a_client_gets_all_of_many_streams(
    serve: Serve, connect: Connect, target: Service, threads: int
) -> None:
    client = connect(serve(target, threads=threads))
    number = 300 if threads else 5_000

    def read() -> list[int]:
        return list(client.count(number))

    readers = [gevent.spawn(read) for _ in range(5)]
    gevent.joinall(readers, timeout=60, raise_error=True)
    assert [one.value for one in readers] == [list(range(number))] * 5
