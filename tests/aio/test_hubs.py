"""Servers of asyncio as registered workers of a hub."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
import mesh.aio
from tests.e2e.commands import environment
from tests.helpers.computing import compute_a_moment
from tests.helpers.processes import PATIENCE, Process, eventually
from tests.hubs.cluster import HEARTBEAT, Hub, connected
from tests.scenarios.drivers import LoopThread


class Worker:
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.begun = threading.Event()

    async def echo(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    def plain(self, value: Any) -> Any:
        return value

    async def count(self, number: int) -> AsyncIterator[int]:
        for one in range(number):
            yield one

    async def nap(self, seconds: float) -> str:
        self.begun.set()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.ended.append("nap")
        return "rested"

    async def compute(self, seconds: float) -> str:
        self.begun.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return "computed"


@pytest.fixture
def hub(tmp_path: Path, ends: ExitStack) -> Iterator[Hub]:
    yield Hub(tmp_path, "users", "queue", ends)


@pytest.fixture
def client(hub: Hub, tmp_path: Path, ends: ExitStack) -> mesh.Client:
    return ends.enter_context(connected(tmp_path, hub.in_))


def registered(loop: LoopThread, hub: Hub, ends: ExitStack, **options: Any) -> tuple[Worker, mesh.aio.Server]:
    worker = Worker()
    server = mesh.aio.Server(worker, name="users", **options)
    server.register("users", hub.out, heartbeat=HEARTBEAT)
    running = loop.begin(server.serve)

    def stop() -> None:
        loop.do(server.stop, 0.2)
        running.result(PATIENCE)

    ends.callback(stop)
    return worker, server


def answered(client: mesh.Client) -> None:
    eventually(lambda: _echoes(client))


def _echoes(client: mesh.Client) -> bool:
    try:
        return bool(client.with_options(timeout=5).echo(True))
    except mesh.MeshError:
        return False


def test_calls_and_streams(loop: LoopThread, hub: Hub, client: mesh.Client, ends: ExitStack) -> None:
    registered(loop, hub, ends)
    answered(client)
    calls = [client.echo.future(number) for number in range(300)]
    assert [call.result() for call in calls] == list(range(300))
    calls = [client.plain.future(number) for number in range(300)]
    assert [call.result() for call in calls] == list(range(300))
    assert list(client.count(500)) == list(range(500))


def test_a_cancelled_call_and_a_stream_that_is_left(
    loop: LoopThread, hub: Hub, client: mesh.Client, ends: ExitStack
) -> None:
    worker, server = registered(loop, hub, ends, pool_size=1)
    answered(client)
    call = client.nap.future(60)
    eventually(worker.begun.is_set)
    call.cancel()
    eventually(lambda: worker.ended == ["nap"])
    answered(client)
    stream = client.count(1_000_000)
    assert next(stream) == 0
    stream.close()
    answered(client)
    # The answer leaves before its call gives its place back.
    eventually(lambda: server._slots.running == 0)


def test_it_beats_while_a_coroutine_computes(
    loop: LoopThread, hub: Hub, client: mesh.Client, ends: ExitStack
) -> None:
    """For longer than the hub's patience."""
    registered(loop, hub, ends)
    answered(client)
    assert client.compute(4 * HEARTBEAT) == "computed"
    assert client.echo(1) == 1


def test_a_drain_loses_no_call(loop: LoopThread, hub: Hub, client: mesh.Client, ends: ExitStack) -> None:
    """Another worker takes over while calls come without a pause."""
    _, leaving = registered(loop, hub, ends)
    answered(client)
    registered(loop, hub, ends)
    nap = client.nap.future(0.5)
    gevent.sleep(0.1)
    ending = loop.begin(leaving.stop)
    numbers = []
    while not ending.done():
        numbers.append(client.echo(len(numbers)))
        gevent.sleep(0.005)
    assert numbers == list(range(len(numbers)))
    assert nap.result() == "rested"
    assert client.echo(1) == 1


def test_a_command_that_registers_coroutines(
    hub: Hub, client: mesh.Client, tmp_path: Path, ends: ExitStack
) -> None:
    (tmp_path / "app.py").write_text("class Users:\n    async def echo(self, value):\n        return value\n")
    command = [sys.executable, "-m", "mesh.cli.register", "users", "app:Users", "--hub", hub.out]
    process = ends.enter_context(Process(command, cwd=tmp_path, env=environment()))
    answered(client)
    process.signal(15)
    assert process.wait() == 0, process.describe()
