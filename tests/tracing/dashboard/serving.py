"""A collector that knows the shop, and the dashboard over it, as real processes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mesh
from tests.e2e.commands import start
from tests.helpers.peers import free_port
from tests.helpers.processes import Process
from tests.helpers.shop import Shop


@contextmanager
def collecting(port: int, cwd: Path) -> Iterator[Process]:
    """`mesh collect` there."""
    with start("collect", "--bind", f"tcp://127.0.0.1:{port}", "--store", "memory", cwd=cwd) as process:
        process.wait_for(r"^collecting on ")
        yield process


@contextmanager
def showing(port: int, cwd: Path, *arguments: str) -> Iterator[tuple[Process, str]]:
    """`mesh dashboard` of the collector at a port, and the address of the page."""
    where = ("--bind", "127.0.0.1:0", "--collector", f"tcp://127.0.0.1:{port}")
    with start("dashboard", *where, *arguments, cwd=cwd) as process:
        yield process, process.wait_for(r"^dashboard on (\S+)")[1]


@dataclass
class Scene:
    """port: of the collector. page: the dashboard's address. declined, report, stuck: ids of traces: of a
    checkout whose card was declined, of one of 10,000 equal calls, and of one that waits.
    """

    port: int
    page: str
    shop: Shop
    declined: str
    report: str
    stuck: str


@contextmanager
def scene(cwd: Path) -> Iterator[Scene]:
    """All of it, with some seconds of the shop."""
    port = free_port()
    with (
        collecting(port, cwd),
        mesh.connect(f"tcp://127.0.0.1:{port}") as client,
        showing(port, cwd) as (_, page),
    ):
        shop = Shop(client.records)
        declined, report = shop.checkout_now(declined=True), shop.report(10_000)
        stuck = shop.stuck()
        for _ in range(3):
            shop.second()
        yield Scene(port, page, shop, declined, report, stuck)


def get(page: str, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    """(status, headers, body as JSON or bytes) of an answer of the dashboard."""
    connection = http.client.HTTPConnection(page.removeprefix("http://").rstrip("/"), timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, dict(answer.getheaders()), json.loads(body) if is_json and body else body
    finally:
        connection.close()
