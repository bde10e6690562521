"""Servers and clients that end with their test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

import mesh
from tests.helpers.processes import PATIENCE, ROOT, Process

PROGRAMS = Path(__file__).parent / "programs"


class Serve(Protocol):
    def __call__(self, target: Any, **options: Any) -> str:
        """Serve in a native thread; gives the endpoint."""
        ...


class Connect(Protocol):
    def __call__(self, target: Any, **options: Any) -> mesh.Client: ...


class Program(Protocol):
    def __call__(self, name: str, *arguments: object, env: dict[str, str] | None = None) -> Process:
        """Run programs/NAME.py."""
        ...


@pytest.fixture
def _ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(_ends: ExitStack) -> Serve:
    def start(target: Any, **options: Any) -> str:
        server = mesh.Server(target, **options)
        endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        _ends.callback(server.stop, timeout=0.2)
        return endpoint

    return start


@pytest.fixture
def connect(_ends: ExitStack) -> Connect:
    def start(target: Any, **options: Any) -> mesh.Client:
        options.setdefault("timeout", PATIENCE)
        return _ends.enter_context(mesh.connect(target, **options))

    return start


@pytest.fixture
def client_of(serve: Serve, connect: Connect) -> Callable[..., mesh.Client]:
    """A client of a server of `target` that runs in this process."""
    return lambda target, **options: connect(serve(target, **options))


@pytest.fixture
def program(_ends: ExitStack) -> Program:
    def start(name: str, *arguments: object, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, PROGRAMS / f"{name}.py", *map(str, arguments)]
        paths = {"PYTHONPATH": str(ROOT), **(env or {})}
        return _ends.enter_context(Process(command, env=paths))

    return start


@pytest.fixture
def service(program: Program) -> Callable[..., tuple[str, Process]]:
    """A process that serves programs/service.py; gives its endpoint and the process."""

    def start(*arguments: object) -> tuple[str, Process]:
        process = program("service", *arguments)
        return process.wait_for(r"^serving (\S+)$")[1], process

    return start
