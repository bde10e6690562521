"""Servers of asyncio, in a loop that turns in a thread of its own, and clients that end with their test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import uvloop

import mesh
import mesh.aio
from tests.helpers.processes import PATIENCE, ROOT, Process, eventually
from tests.scenarios.drivers import LoopThread

PROGRAMS = Path(__file__).parent / "programs"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Served(NamedTuple):
    """A server that runs, and where."""

    endpoint: str
    server: Any


class Serve(Protocol):
    def __call__(self, target: Any, **options: Any) -> Served:
        """Serve in the loop thread."""
        ...


class Connect(Protocol):
    def __call__(self, target: Any, **options: Any) -> mesh.Client: ...


class Program(Protocol):
    def __call__(self, name: str, *arguments: object, env: dict[str, str] | None = None) -> Process:
        """Run programs/NAME.py."""
        ...


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, ends: ExitStack) -> LoopThread:
    thread = LoopThread(LOOPS[request.param])
    ends.callback(thread.close)
    return thread


@pytest.fixture
def serve(loop: LoopThread, ends: ExitStack) -> Serve:
    def start(target: Any, **options: Any) -> Served:
        server = mesh.aio.Server(target, **options)
        endpoint = server.bind("tcp://127.0.0.1:*")
        running = loop.begin(server.serve)
        eventually(lambda: server._main is not None)

        def stop() -> None:
            loop.do(server.stop, 0.2)
            running.result(PATIENCE)

        ends.callback(stop)
        return Served(endpoint, server)

    return start


@pytest.fixture
def connect(ends: ExitStack) -> Connect:
    def start(target: Any, **options: Any) -> mesh.Client:
        options.setdefault("timeout", PATIENCE)
        return ends.enter_context(mesh.connect(target, **options))

    return start


@pytest.fixture
def client_of(serve: Serve, connect: Connect) -> Callable[..., mesh.Client]:
    """A client of a server of `target`."""
    return lambda target, **options: connect(serve(target, **options).endpoint)


@pytest.fixture
def program(ends: ExitStack) -> Program:
    def start(name: str, *arguments: object, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, PROGRAMS / f"{name}.py", *map(str, arguments)]
        paths = {"PYTHONPATH": str(ROOT), **(env or {})}
        return ends.enter_context(Process(command, env=paths))

    return start
