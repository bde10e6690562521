"""One client in greenlets, native threads and processes, in programs of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.green.conftest import Program
from tests.helpers.processes import Process

THREADS = [
    "plain",
    "plain-threading",
    "plain-come-and-go",
    "plain-stream-moves",
    "gevent",
    "gevent-threadpool",
    "patched-threads",
    "patched-threading",
    "patched-first",
]
FORKS = [
    "plain-simple",
    "plain-both",
    "plain-thread",
    "plain-stream",
    "plain-exit",
    "plain-multiprocessing",
    "plain-server",
    "plain-handler",
    "plain-stopped",
    "gevent-simple",
    "gevent-both",
    "gevent-stopped",
    "patched-simple",
    "patched-both",
    "patched-greenlet",
    "patched-multiprocessing",
    "patched-server",
    "patched-handler",
    "patched-stopped",
]


@pytest.fixture
def endpoint(service: Callable[..., tuple[str, Process]]) -> str:
    return service("--heartbeat", 1.0)[0]


@pytest.mark.parametrize("way", THREADS)
def test_threads(program: Program, endpoint: str, way: str) -> None:
    process = program("threads", way, endpoint)
    assert process.wait(timeout=100) == 0, process.describe()
    assert process.stdout == "fine\n", process.describe()
    assert complaints(process) == []


@pytest.mark.parametrize("way", FORKS)
def test_forks(program: Program, endpoint: str, way: str) -> None:
    # Python 3.12 and later warn of every fork beside a thread, such as ZeroMQ's own.
    process = program("forks", way, endpoint, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    assert process.wait(timeout=100) == 0, process.describe()
    assert process.stdout == "fine\n", process.describe()
    assert complaints(process) == []


def complaints(process: Process) -> list[str]:
    """What it had to say, but that a fork has taken its time on a busy machine."""
    return [line for line in process.stderr.splitlines() if "has blocked the event loop" not in line]
