"""Real hubs that may be killed and started again, and the mesh workers that register with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import gevent

import mesh
from tests.e2e.commands import environment
from tests.helpers.peers import nobody
from tests.helpers.processes import Process, eventually, python
from tests.hubs import commands

WORKER = Path(__file__).with_name("mesh_worker.py")
HEARTBEAT = 0.5


class Hub:
    """A `mesh-hub` of one file, on fixed ports. The processes end with the stack. fresh: as for Process."""

    def __init__(
        self, folder: Path, name: str, kind: str, stack: ExitStack, *, fresh: bool = False, **more: object
    ) -> None:
        self._fresh = fresh
        self.in_, self.out = nobody(), nobody()
        self._stack, self._folder, self._file = stack, folder, f"{name}.yml"
        keys = {"in": self.in_, "out": self.out, "type": kind, "heartbeat": HEARTBEAT, **more}
        (folder / self._file).write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        self.start()

    def start(self) -> None:
        self.process = self._stack.enter_context(
            commands.start(self._file, cwd=self._folder, fresh=self._fresh)
        )
        commands.shown(self.process)


@contextmanager
def worker(*hubs: Hub, service: str = "users", pool_size: int = 0) -> Iterator[Process]:
    """A mesh worker that is about to register with all these hubs."""
    arguments = [service, str(HEARTBEAT), str(pool_size), *(hub.out for hub in hubs)]
    with python(WORKER, *arguments, env=environment()) as process:
        process.wait_for("^ready$")
        yield process


@contextmanager
def connected(
    folder: Path,
    *endpoints: str,
    service: str = "users",
    heartbeat: float = 5.0,
    balance: str | None = None,
) -> Iterator[mesh.Client]:
    """A client of the service through hubs whose in sides are these."""
    name = "-".join(endpoint.rpartition(":")[2] for endpoint in endpoints)
    registry = folder / f"services-{name}.yml"
    registry.write_text(f"{service}: {{hub: [{', '.join(map(repr, endpoints))}]}}\n")
    with mesh.connect(
        service, services=str(registry), timeout=30, heartbeat=heartbeat, balance=balance
    ) as client:
        yield client


def until_served_by(client: mesh.Client, workers: set[int], *, timeout: float = 30.0) -> None:
    """Wait until calls of this client have come to all these processes."""
    patient = client.with_options(retries=100, idempotent=True)
    seen: set[int] = set()

    def all_seen() -> bool:
        # Many at once: a lone call always goes to the worker that has the most room.
        calls = [gevent.spawn(patient.pid) for _ in range(20)]
        seen.update(call.get(timeout=timeout) for call in calls)
        return seen == workers

    eventually(all_seen, timeout=timeout, what=lambda: f"{workers}, seen {seen}")
