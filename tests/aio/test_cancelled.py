"""Callers that go, or give up: the task of their handler is cancelled, and its `finally` runs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
from tests.aio.conftest import Connect, Serve
from tests.helpers.processes import ROOT, Process, eventually, python

ClientOf = Callable[..., mesh.Client]


class Desk:
    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    async def echo(self, value: Any) -> Any:
        return value

    async def slow(self, seconds: float, value: Any) -> Any:
        self.begun.append(value)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("finally")
        return value

    async def slow_to_end(self) -> None:
        """Its `finally` takes its time."""
        self.begun.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            self.ended.append("cleaned up")

    async def stubborn(self) -> str:
        """Goes on for a while after it was cancelled."""
        self.begun.append(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        self.ended.append("went on")
        return "nobody hears this"

    async def ticks(self) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(0.005)
        finally:
            self.ended.append("finally")

    async def blocked(self) -> AsyncIterator[int]:
        """One item, then a wait without end."""
        try:
            yield 1
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("finally")

    async def blocked_at_once(self) -> AsyncIterator[int]:
        self.begun.append(1)
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            self.ended.append("finally")

    def plain_ticks(self) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.ended.append("finally")

    async def obstinate(self) -> AsyncIterator[int]:
        """Ignores that nobody wants more."""
        try:
            yield 1
            await asyncio.sleep(60)
        except (GeneratorExit, asyncio.CancelledError):
            yield 2


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def single(desk: Desk, client_of: ClientOf) -> mesh.Client:
    """A client of a server that carries out one call at a time."""
    return client_of(desk, pool_size=1)


def test_a_call_that_is_cancelled(single: mesh.Client, desk: Desk) -> None:
    call = single.slow.future(60, 1)
    eventually(lambda: desk.begun)
    call.cancel()
    assert single.echo(1) == 1
    assert desk.ended == ["cancelled", "finally"]


def test_a_call_that_takes_too_long(single: mesh.Client, desk: Desk) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.3).slow(60, 1)
    assert single.echo(1) == 1
    assert desk.ended == ["cancelled", "finally"]


def test_a_call_that_is_cancelled_before_it_has_begun_never_begins(single: mesh.Client, desk: Desk) -> None:
    first = single.slow.future(0.3, 1)
    eventually(lambda: desk.begun)
    second = single.slow.future(60, 2)
    gevent.sleep(0.05)
    second.cancel()
    assert first.result() == 1
    assert single.echo(3) == 3
    assert desk.begun == [1]


def test_a_burst_of_calls_that_are_cancelled_at_once_leaves_every_place_free(
    serve: Serve, connect: Connect, desk: Desk
) -> None:
    """Some of them between their task's making and its first step."""
    served = serve(desk, pool_size=5)
    client = connect(served.endpoint)
    for _ in range(20):
        calls = [client.slow.future(60, 1) for _ in range(10)]
        gevent.sleep(0)
        for call in calls:
            call.cancel()
    assert client.echo(1) == 1
    eventually(lambda: served.server._slots.running == 0)
    eventually(lambda: not served.server._workers._tasks)


def test_a_cleanup_that_takes_its_time_is_waited_for(single: mesh.Client, desk: Desk) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.2).slow_to_end()
    assert single.echo(1) == 1
    assert desk.ended == ["cleaned up"]


def test_one_that_goes_on_keeps_its_place_until_it_ends_and_answers_nobody(
    single: mesh.Client, desk: Desk
) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.2).stubborn()
    assert single.echo(1) == 1
    assert desk.ended == ["went on"]


@pytest.mark.parametrize("method", ["ticks", "blocked", "plain_ticks"])
def test_a_stream_that_is_left(single: mesh.Client, desk: Desk, method: str) -> None:
    stream = single(method)
    next(stream)
    gevent.sleep(0.05)
    stream.close()
    assert single.echo(1) == 1
    assert desk.ended == (["cancelled", "finally"] if method == "blocked" else ["finally"])


def test_a_stream_that_never_came_to_its_first_item(single: mesh.Client, desk: Desk) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        list(single.with_options(timeout=0.2).blocked_at_once())
    assert single.echo(1) == 1
    assert desk.ended == ["finally"]


def test_a_generator_that_goes_on_nevertheless(single: mesh.Client) -> None:
    stream = single.obstinate()
    assert next(stream) == 1
    gevent.sleep(0.05)
    stream.close()
    assert single.echo(1) == 1


def test_nothing_is_advanced_that_the_reader_has_no_room_for(client_of: ClientOf) -> None:
    advanced: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(100_000):
            advanced.append(number)
            yield number

    client = client_of({"numbers": numbers})
    stream = client.numbers()
    assert next(stream) == 0
    seen = -1
    while seen != len(advanced):  # it comes to rest
        seen = len(advanced)
        gevent.sleep(0.1)
    assert seen < 5_000, "as far as the window goes, and not one item further"
    for expected in range(1, seen):
        assert next(stream) == expected
    stream.close()


@pytest.fixture
def caller(tmp_path: Path) -> Callable[[str], Process]:
    """A program that does that with `mesh`."""

    def start(code: str) -> Process:
        program = tmp_path / "caller.py"
        program.write_text(f"import mesh\n{code}\n")
        return python(program, env={"PYTHONPATH": str(ROOT)})

    return start


@pytest.mark.parametrize("method", ["hold", "ticks"])
def test_a_client_that_is_killed(
    serve: Serve, desk: Desk, caller: Callable[[str], Process], method: str
) -> None:
    endpoint = serve({"hold": lambda: desk.slow(60, 1), "ticks": desk.blocked_at_once}).endpoint
    with caller(f"list(mesh.connect({endpoint!r}, timeout=60)({method!r}) or [])") as process:
        eventually(lambda: desk.begun)
        process.signal(signal.SIGKILL)
        eventually(lambda: "finally" in desk.ended)


def test_a_client_that_falls_silent_is_given_up(
    serve: Serve, desk: Desk, caller: Callable[[str], Process]
) -> None:
    endpoint = serve(desk, heartbeat=0.2).endpoint
    with caller(f"mesh.connect({endpoint!r}, timeout=60, heartbeat=0.2).slow(60, 1)") as process:
        eventually(lambda: desk.begun)
        process.signal(signal.SIGSTOP)
        began = time.monotonic()
        eventually(lambda: desk.ended == ["cancelled", "finally"])
        assert time.monotonic() - began < 15
        process.signal(signal.SIGKILL)
