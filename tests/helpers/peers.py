"""The old zerorpc, for Python and Node, as real processes: servers to call, clients to be called by.

Without the peer a test is skipped, and fails where CI is set. Knows nothing of mesh.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import msgpack

from tests.helpers.processes import PATIENCE, ROOT, Process, eventually
from tests.helpers.requirements import lacking

Language = Literal["python", "node"]
SCRIPTS = ROOT / "tests" / "peers"
NODE_MODULES = ROOT / ".peers" / "node" / "node_modules"
LOCAL = "tcp://127.0.0.1"


def require(language: Language) -> None:
    """Skip the test that runs, or fail it in CI, when the old peer is not installed."""
    if language == "python":
        there = importlib.util.find_spec("zerorpc") is not None
    else:
        there = shutil.which("node") is not None and (NODE_MODULES / "zerorpc").is_dir()
    if not there:
        lacking(f"the old zerorpc for {language} is not installed: run `make peers`")


@cache
def _ports() -> Iterator[int]:
    """Those of this process, each once before any comes again. Tests side by side have others each."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(12_000 + number, 32_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    random.SystemRandom().shuffle(ports)  # in no order that a seed of a test gives all of them
    return cycle(ports)


def free_port() -> int:
    """A port that is free and will be for a while, for peers that can't tell which one they got.

    Not one that the system would give away by itself: tests run side by side.
    """
    while True:
        port = next(_ports())
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def nobody() -> str:
    """An endpoint that refuses connections."""
    return f"{LOCAL}:{free_port()}"


class Server(Process):
    """A server process that prints its endpoint when it is ready."""

    def __init__(self, command: list[str | Path]) -> None:
        super().__init__(command, env={"NODE_PATH": str(NODE_MODULES)})
        try:
            self.endpoint = self.wait_for(r"^ready (\S+)$")[1]
        except BaseException:
            self.close()
            raise


def old_server(language: Language, *, heartbeat: float = 1.0, endpoint: str | None = None) -> Server:
    require(language)
    if language == "python":
        command: list[str | Path] = [sys.executable, SCRIPTS / "python_server.py", endpoint or f"{LOCAL}:*"]
    else:
        command = ["node", "--no-deprecation", SCRIPTS / "node" / "server.js", endpoint or nobody()]
    return Server([*command, str(heartbeat)])


def mesh_server(*, heartbeat: float = 1.0, endpoint: str = f"{LOCAL}:*") -> Server:
    """The same service, served by mesh."""
    return Server([sys.executable, SCRIPTS / "mesh_server.py", endpoint, str(heartbeat)])


@dataclass(slots=True)
class Remote:
    """What an old client saw of a remote error; or of one of its own, with `name` None for Python."""

    kind: str
    name: str | None
    message: str
    traceback: str | None


@dataclass(slots=True)
class Answer:
    seconds: float
    value: Any = None
    items: list[Any] = field(default_factory=list)
    error: Remote | None = None


class OldClient(Process):
    """A client process that carries out one order at a time."""

    def __init__(
        self, language: Language, endpoint: str, *, heartbeat: float = 1.0, timeout: float = PATIENCE
    ) -> None:
        require(language)
        command: list[str | Path] = [sys.executable, SCRIPTS / "python_client.py"]
        if language == "node":
            command = ["node", "--no-deprecation", SCRIPTS / "node" / "client.js"]
        super().__init__(
            [*command, endpoint, str(heartbeat), str(timeout)],
            env={"NODE_PATH": str(NODE_MODULES)},
            stdin=True,
        )
        self._answers = 0

    def call(self, method: str, *args: Any) -> Answer:
        return self.order(do="call", method=method, args=args)

    def many(self, method: str, *each: list[Any]) -> Answer:
        """Calls that are open at the same time."""
        return self.order(do="many", method=method, each=each)

    def stream(self, method: str, *args: Any, **how: Any) -> Answer:
        """how: take, pause; see peers/python_client.py."""
        return self.order(do="stream", method=method, args=args, **how)

    def order(self, **order: Any) -> Answer:
        self.begin(**order)
        return self.answer()

    def begin(self, **order: Any) -> None:
        self.send_line(msgpack.packb(order, datetime=True).hex())

    def answer(self) -> Answer:
        """The answer to the oldest order that has none yet."""

        def arrived() -> list[str]:
            if self.returncode is not None:
                raise AssertionError(f"the old client ended: {self.describe()}")
            lines = self.stdout.splitlines(keepends=True)
            answers = [line[7:] for line in lines if line.startswith("answer ") and line.endswith("\n")]
            return answers[self._answers :]

        (line, *_) = eventually(arrived, timeout=2 * PATIENCE, what=lambda: f"an answer of {self.describe()}")
        self._answers += 1
        raw = msgpack.unpackb(bytes.fromhex(line), strict_map_key=False, timestamp=3)
        error = raw.pop("error", None)
        return Answer(**raw, error=Remote(*error) if error else None)
