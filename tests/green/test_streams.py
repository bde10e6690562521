"""Streams: what is streamed, flow control, and the ways to leave one."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import eventually


class Numbers:
    """closed: how its generators ended, in order."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.sent = 0

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    def iterator(self) -> Iterator[int]:
        return iter([1, 2, 3])

    def mapped(self) -> Iterator[int]:
        return map(abs, [-1, -2])

    def plain_list(self) -> list[int]:
        return [1, 2, 3]

    @mesh.stream
    def listed(self) -> list[int]:
        return [1, 2, 3]

    @mesh.stream
    def nothing_iterable(self) -> int:
        return 5

    def values(self) -> Iterator[Any]:
        yield from (None, [], {"a": 1}, b"x", "text", 0, False)

    def breaks(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise KeyError(f"after {after}")

    def travels_not(self) -> Iterator[Any]:
        yield 1
        yield {"deep": [object()]}

    def endless(self, pause: float = 0.0) -> Iterator[int]:
        try:
            for number in itertools.count():
                self.sent = number
                yield number
                if pause:
                    gevent.sleep(pause)
        except GeneratorExit:
            self.closed.append("GeneratorExit")
            raise
        finally:
            self.closed.append("finally")

    def pauses(self, seconds: float) -> Iterator[int]:
        yield 1
        gevent.sleep(seconds)
        yield 2

    def blobs(self, size: int) -> Iterator[bytes]:
        while True:
            self.sent += 1
            yield b"x" * size


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture
def client(numbers: Numbers, client_of: Callable[..., mesh.Client]) -> mesh.Client:
    return client_of(numbers)


def left(numbers: Numbers) -> None:
    """The handler's generator has ended because nobody wanted more."""
    eventually(lambda: numbers.closed == ["GeneratorExit", "finally"], what="the end of the generator")


@pytest.mark.parametrize("number", [1, 2, 49, 50, 100, 101, 5_000])
def test_all_items_in_order(client: mesh.Client, number: int) -> None:
    assert list(client.count(number)) == list(range(number))


def test_what_is_a_stream(client: mesh.Client) -> None:
    assert list(client.iterator()) == [1, 2, 3]
    assert list(client.mapped()) == [1, 2]
    assert client.plain_list() == [1, 2, 3]
    listed = client.listed()
    assert not isinstance(listed, list)
    assert list(listed) == [1, 2, 3]
    with pytest.raises(TypeError):
        list(client.nothing_iterable())


def test_an_empty_stream(client: mesh.Client) -> None:
    stream = client.count(0)
    assert list(stream) == []
    with pytest.raises(StopIteration):
        next(stream)


def test_items_of_every_type(client: mesh.Client) -> None:
    assert list(client.values()) == [None, [], {"a": 1}, b"x", "text", 0, False]


def test_an_error_in_the_middle_comes_after_the_items_before_it(client: mesh.Client) -> None:
    got = []
    with pytest.raises(KeyError, match="after 3") as caught:
        for item in client.breaks(3):
            got.append(item)  # noqa: PERF402 - what came before the error counts
    assert got == [0, 1, 2]
    assert isinstance(caught.value, mesh.RemoteError)
    assert "in breaks" in (caught.value.traceback or "")


def test_an_error_comes_once_and_then_the_stream_is_over(client: mesh.Client) -> None:
    stream = client.breaks(1)
    assert next(stream) == 0
    with pytest.raises(KeyError):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_an_error_before_the_first_item(client: mesh.Client) -> None:
    with pytest.raises(KeyError, match="after 0"):
        list(client.breaks(0))


def test_an_item_that_cannot_travel_ends_the_stream_with_its_place(client: mesh.Client) -> None:
    got = []
    with pytest.raises(TypeError, match=r"the item\['deep'\]\[0\] is of type object"):
        for item in client.travels_not():
            got.append(item)  # noqa: PERF402
    assert got == [1]


def test_leaving_the_loop_ends_the_generator(client: mesh.Client, numbers: Numbers) -> None:
    for item in client.endless():
        if item == 10:
            break
    left(numbers)


def test_closing_ends_the_generator(client: mesh.Client, numbers: Numbers) -> None:
    with client.endless() as stream:
        assert next(stream) == 0
        assert next(stream) == 1
    left(numbers)
    assert list(stream) == []
    stream.close()


def test_dropping_the_stream_ends_the_generator(client: mesh.Client, numbers: Numbers) -> None:
    stream = client.endless()
    del stream
    gc.collect()
    left(numbers)


def test_closing_the_client_ends_the_generator_and_the_loop(
    serve: Serve, connect: Connect, numbers: Numbers
) -> None:
    client = connect(serve(numbers))
    stream = client.endless(0.01)
    assert next(stream) == 0
    client.close()
    with pytest.raises(mesh.LostRemote, match="closed"):
        list(stream)
    left(numbers)


def test_a_stream_outlives_the_name_of_its_client(serve: Serve, numbers: Numbers) -> None:
    stream = mesh.connect(serve(numbers)).count(3_000)
    gc.collect()
    assert list(stream) == list(range(3_000))


def test_a_slow_consumer_holds_the_server_back(client: mesh.Client, numbers: Numbers) -> None:
    stream = client.endless()
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    before = -1
    while before != numbers.sent:  # until the server stands still
        before = numbers.sent
        gevent.sleep(0.1)
    assert numbers.sent < 1_100
    assert [next(stream) for _ in range(3_000)] == list(range(3, 3_003))
    stream.close()
    left(numbers)


def test_the_window_of_large_items_is_bounded_by_bytes(client: mesh.Client, numbers: Numbers) -> None:
    stream = client.blobs(1024 * 1024)
    for _ in range(30):
        assert len(next(stream)) == 1024 * 1024
    ahead = numbers.sent - 30
    stream.close()
    assert ahead <= 64


def test_the_timeout_bounds_the_wait_for_each_item(client: mesh.Client) -> None:
    patient = client.with_options(timeout=1.0)
    got = []
    began = time.monotonic()
    for number in patient.endless(0.2):
        got.append(number)
        if number == 6:  # the whole takes longer than the timeout
            break
    assert time.monotonic() - began > 1.0
    assert got == list(range(7))
    stream = patient.pauses(5.0)
    assert next(stream) == 1
    with pytest.raises(mesh.TimeoutExpired, match="no answer"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_many_streams_at_once(client: mesh.Client) -> None:
    streams = [client.count(300) for _ in range(30)]
    for rows in zip(*streams, strict=True):
        assert len(set(rows)) == 1
    jobs = [gevent.spawn(lambda: list(client.count(300))) for _ in range(30)]
    for job in jobs:
        assert job.get(timeout=20) == list(range(300))


def test_two_greenlets_that_wait_on_one_stream_are_told(client: mesh.Client) -> None:
    stream = client.endless(0.3)
    assert next(stream) == 0
    first = gevent.spawn(next, stream)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="another greenlet"):
        next(stream)
    assert first.get(timeout=20) == 1
    stream.close()


def test_a_stream_with_keywords_and_by_future(client: mesh.Client) -> None:
    assert list(client.count(number=3)) == [0, 1, 2]
    assert list(client.count.future(3).result(timeout=20)) == [0, 1, 2]
    assert list(client.with_options(retries=2, idempotent=True).count(3)) == [0, 1, 2]
    with pytest.raises(KeyError):
        list(client.with_options(retries=2).breaks(0))


def test_a_greenlet_killed_while_it_waits_for_an_item_ends_the_generator(
    client: mesh.Client, numbers: Numbers
) -> None:
    def consume() -> None:
        for _ in client.endless(0.05):
            pass

    consumer = gevent.spawn(consume)
    eventually(lambda: numbers.sent >= 2)
    consumer.kill()
    left(numbers)
