"""Clients of mesh.aio on either loop, of servers that run in native threads with gevent's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import gevent
import gevent.event
import pytest
import uvloop

import mesh
from tests.helpers.processes import PATIENCE


class Desk:
    """What is served. begun, ended: what was, in order; of what ends, the streams."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.made = 0
        """Items of all streams."""

    def echo(self, value: Any) -> Any:
        return value

    def keywords(self, one: Any, *, two: Any = None) -> list[Any]:
        return [one, two]

    def slow(self, seconds: float, value: Any = None) -> Any:
        self.begun.append(value)
        gevent.sleep(seconds)
        return value

    def fail(self, text: str) -> None:
        raise KeyError(text)

    def count(self, number: int) -> Iterator[int]:
        for one in range(number):
            self.made = one + 1
            yield one

    def broken(self) -> Iterator[int]:
        yield 1
        raise KeyError("after the first")

    def ticks(self, pause: float = 0.01) -> Iterator[int]:
        number = 0
        self.begun.append("ticks")
        try:
            while True:
                yield number
                number += 1
                gevent.sleep(pause)
        finally:
            self.ended.append("ticks")

    def blocked(self) -> Iterator[int]:
        """One item, then a wait without an end."""
        self.begun.append("blocked")
        try:
            yield 1
            gevent.event.Event().wait()
        finally:
            self.ended.append("blocked")


class Run(Protocol):
    def __call__(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run it in a loop of its own, which is closed then."""
        ...


class Serve(Protocol):
    def __call__(self, target: Any, **options: Any) -> str:
        """Serve in a native thread; gives the endpoint."""
        ...


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def in_time(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, 2 * PATIENCE))

    return in_time


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(ends: ExitStack) -> Serve:
    def start(target: Any, **options: Any) -> str:
        server = mesh.Server(target, **options)
        endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        ends.callback(server.stop, timeout=0.2)
        return endpoint

    return start


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def endpoint(desk: Desk, serve: Serve) -> str:
    return serve(desk)


async def until(condition: Callable[[], object], what: str | Callable[[], str] = "that") -> None:
    """Let the loop turn until then."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited for {what() if callable(what) else what}"
        await asyncio.sleep(0.005)
