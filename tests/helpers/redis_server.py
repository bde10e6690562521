"""A real Redis for tests, on a port of its own, that keeps nothing on a disk."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.peers import free_port
from tests.helpers.processes import Process, eventually
from tests.helpers.requirements import lacking


def require_redis() -> str:
    """The path of redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        lacking("Redis is not installed: on Debian, apt-get install redis-server")
    if importlib.util.find_spec("redis") is None:
        lacking("redis-py is not installed: pip install 'zeromesh[redis]'")
    return program


@contextmanager
def running(folder: Path, port: int | None = None, *more: str) -> Iterator[tuple[Process, int]]:
    """A Redis that takes connections, and its port. more: of its options."""
    program = require_redis()
    port = port or free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Process([program, *options, "--dir", str(folder), "--daemonize", "no", *more]) as process:
        eventually(lambda: _takes(port), what=process.describe)
        yield process, port


def _takes(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
