"""A server of asyncio whose loop a handler keeps is busy, not dead; and what floods and rubbish do."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gevent
import pytest

import mesh
import mesh.aio
from tests.aio.conftest import Connect, Serve
from tests.helpers.computing import compute_a_moment
from tests.helpers.processes import eventually
from tests.helpers.raw import RawClient
from tests.scenarios.drivers import LoopThread

ClientOf = Callable[..., mesh.Client]
BEAT = 0.2


class Service:
    async def echo(self, value: Any) -> Any:
        return value

    async def compute(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return "computed"

    def compute_plain(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return "computed"

    async def compute_later(self, seconds: float) -> str:
        """After its first wait, so that it is the loop that goes on with it."""
        await asyncio.sleep(0.01)
        return await self.compute(seconds)

    async def rows(self, seconds: float) -> AsyncIterator[str]:
        yield "first"
        yield await self.compute(seconds)

    async def blobs(self, size: int) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * size


@pytest.mark.parametrize("method", ["compute", "compute_plain", "compute_later"])
def test_one_that_computes_gives_heartbeats_and_the_log_names_it(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    client = connect(serve(Service(), name="svc", heartbeat=BEAT).endpoint, heartbeat=BEAT)
    assert client.echo(1) == 1
    with caplog.at_level(logging.WARNING):
        assert client(method, 6 * BEAT) == "computed"
        eventually(lambda: f"svc.{method} has blocked the event loop for" in caplog.text)
    assert client.echo(1) == 1


def test_calls_that_wait_meanwhile_are_not_lost(serve: Serve, connect: Connect) -> None:
    endpoint = serve(Service(), heartbeat=BEAT).endpoint
    first, second = connect(endpoint, heartbeat=BEAT), connect(endpoint, heartbeat=BEAT)
    assert second.echo(1) == 1
    busy = first.compute.future(6 * BEAT)
    gevent.sleep(0.1)
    assert second.echo(2) == 2
    assert busy.result() == "computed"


def test_a_stream_whose_item_takes_its_time(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Service(), heartbeat=BEAT).endpoint, heartbeat=BEAT)
    assert list(client.rows(6 * BEAT)) == ["first", "computed"]


def test_a_task_beside_the_server_that_keeps_the_loop(
    loop: LoopThread, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(serve(Service(), name="svc", heartbeat=BEAT).endpoint, heartbeat=BEAT)
    with caplog.at_level(logging.WARNING):
        computing = loop.begin(time.sleep, 8 * BEAT)
        gevent.sleep(0.05)
        assert client.echo(1) == 1
        computing.result(20)
        eventually(lambda: "a task beside svc has blocked the event loop for" in caplog.text)


def test_a_reader_that_never_reads_keeps_nobody_else(serve: Serve, connect: Connect) -> None:
    endpoint = serve(Service()).endpoint
    slow, other = connect(endpoint), connect(endpoint)
    stream = slow.blobs(100_000)
    assert len(next(stream)) == 100_000
    assert [other.echo(number) for number in range(50)] == list(range(50))
    stream.close()


def test_rubbish_is_answered_or_dropped(serve: Serve, connect: Connect) -> None:
    endpoint = serve(Service()).endpoint
    with RawClient(endpoint) as raw:
        raw.send_payload(b"\xc1")
        raw.send({"message_id": b"1", "v": 3}, "echo", {"no": "array"})
        assert raw.answer()[1] == "ERR"
        raw.send({"message_id": b"2", "v": 3, "kwargs": [1]}, "echo", [1])
        assert raw.answer()[1] == "ERR"
        raw.send({"message_id": b"3", "v": 3}, "echo", [1])
        assert raw.answer()[1:] == ("OK", [1])
    assert connect(endpoint).echo(1) == 1


def test_nothing_is_left_of_calls_and_clients_that_have_ended(serve: Serve) -> None:
    served = serve(Service())
    tracked = ("ServerCall", "Task", "Future", "Context")

    def census() -> dict[str, int]:
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects()]
        return {name: kinds.count(name) for name in tracked}

    def use() -> None:
        with mesh.connect(served.endpoint, timeout=20) as client:
            assert client.echo(1) == 1
            assert list(client.rows(0.0)) == ["first", "computed"]
            stream = client.blobs(10)
            next(stream)

    for _ in range(5):
        use()
    eventually(lambda: not served.server._endpoint.session.channels)
    before = census()
    for _ in range(30):
        use()
    eventually(lambda: not served.server._endpoint.session.channels)
    eventually(lambda: all(census()[name] <= before[name] + 5 for name in tracked))
    assert not served.server._workers._tasks
