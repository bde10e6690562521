"""`mesh ps` and `mesh status`: what is open now, asked of real servers and hubs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import mesh as library
from mesh.core.wire import OPEN_CALLS
from tests.e2e.commands import ANY_PORT, MESH, Terminal, environment, failed, mesh, serving, start
from tests.helpers.peers import nobody, old_server
from tests.helpers.processes import Process, eventually
from tests.helpers.raw import RawClient
from tests.hubs import commands

SHOP = """
import asyncio
import time

import gevent
import mesh

from tests.helpers.computing import compute_a_moment


class Pay:
    def charge(self, amount):
        gevent.sleep(60)


class Rows:
    def export(self):
        while True:
            yield 1


class Orders(Rows):
    def __init__(self):
        self.pay = mesh.connect("pay", timeout=60)

    def place(self, amount):
        return self.pay.charge(amount)


class Thumbs:
    def make(self, seconds):
        resize(seconds)


def resize(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compute_a_moment()


class Waits:
    async def one(self, seconds):
        await deeper(seconds)

    async def many(self, seconds):
        for number in range(3):
            await asyncio.sleep(seconds)
            yield number


async def deeper(seconds):
    await asyncio.sleep(seconds)


class Threads:
    def work(self, seconds):
        time.sleep(seconds)
"""
LONG = ["--timeout", "10"]
"""For each answer, on a machine that is busy."""


def line_of(text: str) -> int:
    """The number of this line of SHOP."""
    return SHOP.splitlines().index(text) + 1


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose services.yml has `pay` behind a hub, with two workers of a place each, and servers of
    each kind."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP)
    hub = f"in: {ANY_PORT}\nout: {ANY_PORT}\ntype: queue\nheartbeat: 0.5\n"
    with ExitStack() as stack:
        _, shown = stack.enter_context(commands.hub(hub, folder))
        registry = {"pay": f"{{hub: {shown.in_}}}"}

        def registered() -> None:
            arguments = ("shop:Pay", "--service", "pay", "--hub", shown.out, "--pool-size", "1")
            worker = stack.enter_context(start("serve", *arguments, cwd=folder))
            worker.wait_for("^serving pay")
            stack.callback(worker.kill)

        def served(name: str, target: str, *more: str) -> None:
            arguments = (target, "--bind", ANY_PORT, "--service", name, *more)
            process, endpoint = stack.enter_context(
                serving(*arguments, cwd=folder, MESH_SERVICES=str(folder / "services.yml"))
            )
            stack.callback(process.kill)
            registry[name] = endpoint

        registered()
        registered()
        (folder / "services.yml").write_text(f"pay: {registry['pay']}\n")
        served("orders", "shop:Orders")
        served("thumbs", "shop:Thumbs")
        served("waits", "shop:Waits")
        served("threads", "shop:Threads", "--threads", "1")
        lines = [f"{name}: {where}\n" for name, where in registry.items()]
        (folder / "services.yml").write_text("".join(lines))
        yield folder


@contextmanager
def calls(folder: Path, *asked: tuple[str, str, Any]) -> Iterator[None]:
    """These calls are open, each of a service by name, from this process."""
    with ExitStack() as stack:
        pending = []
        for service, method, argument in asked:
            client = stack.enter_context(
                library.connect(service, services=str(folder / "services.yml"), timeout=60)
            )
            pending.append(getattr(client, method).future(argument))
        yield


def rows(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    result = mesh("ps", "-j", *LONG, *arguments, cwd=folder)
    assert result.returncode == 0, result
    return [json.loads(line) for line in result.stdout.splitlines()]


def found(folder: Path, wanted: dict[str, int], *arguments: str) -> list[dict[str, Any]]:
    """The calls that somebody waits for, as soon as there are so many of each method.

    Handlers of tests before may run on for nobody.
    """
    seen: list[dict[str, Any]] = []

    def all_there() -> bool:
        seen[:] = [row for row in rows(folder, *arguments) if not row["unwanted"]]
        return all(sum(row["method"] == name for row in seen) == number for name, number in wanted.items())

    eventually(all_there, timeout=30)
    return seen


def test_a_handlers_call_through_a_hub(shop: Path) -> None:
    at = f"shop.py:{line_of('        gevent.sleep(60)')} in charge"

    def seen_at_rest() -> list[dict[str, Any]]:
        """Once what waits for a moment has begun."""
        rows = found(shop, {"orders.place": 3, "pay.charge": 3}, "orders", "pay")
        return rows if sum(row["waits"] == at for row in rows) == 2 else []

    with calls(shop, *[("orders", "place", number) for number in range(3)]):
        seen = eventually(seen_at_rest)
        placed = {row["id"]: row for row in seen if row["method"] == "orders.place"}
        charged = [row for row in seen if row["method"] == "pay.charge"]
        assert {row["parent"] for row in charged} == set(placed)
        assert all(row["waits"] == "pay.charge" and row["kind"] == "calls" for row in placed.values())
        assert all(re.fullmatch(r".+:\d+", row["caller"]) for row in placed.values())
        waits = sorted(row["waits"] for row in charged)
        assert waits == ["a worker: 0 of 2 free, 1 waits", at, at]
        (waiting,) = [row for row in charged if row["kind"] == "worker"]
        assert (waiting["to"], waiting["hub"]) == ("hub hub", "hub")
        assert all(row["to"].startswith("pay@") for row in charged if row is not waiting)
        stuck = found(shop, {"orders.place": 1, "pay.charge": 1}, "orders", "pay", "--stuck")
        assert [row["kind"] for row in stuck] == ["calls", "worker"]


def test_a_stream_that_nobody_reads_and_handlers_of_each_kind(shop: Path) -> None:
    services = str(shop / "services.yml")
    with (
        library.connect("orders", services=services) as orders,
        calls(
            shop,
            ("waits", "one", 60),
            ("waits", "many", 60),
            ("threads", "work", 60),
            ("threads", "work", 60),
        ),
    ):
        stream = orders.export()
        assert next(stream) == 1
        waits: dict[tuple[str, str], str] = {}

        def all_wait() -> bool:
            """One may have come to its thread, and not to its line."""
            waits.clear()
            seen = rows(shop, "orders", "waits", "threads")
            waits.update({(row["method"], row["kind"]): row["waits"] for row in seen})
            methods = [("waits.one", "line"), ("waits.many", "line"), ("threads.work", "line")]
            return {*methods, ("orders.export", "credit"), ("threads.work", "worker")} <= set(waits)

        eventually(all_wait, timeout=30)
        assert re.fullmatch(r"its client reads nothing \(\d+\.\ds\)", waits["orders.export", "credit"])
        one = line_of("    await asyncio.sleep(seconds)")
        many = line_of("            await asyncio.sleep(seconds)")
        assert waits["waits.one", "line"] == f"shop.py:{one} in deeper"
        assert waits["waits.many", "line"] == f"shop.py:{many} in many"
        assert waits["threads.work", "line"] == f"shop.py:{line_of('        time.sleep(seconds)')} in work"
        assert waits["threads.work", "worker"] == "a place in its pool: 1 of 1 run, 1 waits"
        stream.close()


def test_a_handler_that_blocks_its_loop_is_told_by_its_line(shop: Path) -> None:
    with calls(shop, ("thumbs", "make", 20)):
        (row,) = found(shop, {"thumbs.make": 1}, "thumbs")
        assert re.fullmatch(r"blocks its loop, shop\.py:\d+ in resize", row["waits"])
        with Terminal([*MESH, "ps", *LONG, "thumbs"], columns=60, cwd=shop, NO_COLOR="1") as terminal:
            assert terminal.wait() == 0
            (line,) = terminal.shown.splitlines()
            assert re.search(r"thumbs\.make  .*blocks its loop, shop", line) and len(line) <= 60


def test_all_services_and_who_does_not_answer(shop: Path, tmp_path: Path) -> None:
    with old_server("python") as server:
        old = server.endpoint
        text = (shop / "services.yml").read_text().replace("thumbs:", "x-thumbs:")
        (tmp_path / "services.yml").write_text(f"{text}old: {old}\naway: {nobody()}\n")
        result = mesh("ps", "--timeout", "3", cwd=tmp_path)
        assert result.returncode == 0, result
        lines = result.stderr.splitlines()
        assert any(old in line and "not of mesh" in line for line in lines), lines
        assert any("nobody answers" in line for line in lines) and len(lines) == 2, lines
        failed(mesh("ps", "away", "--timeout", "0.3", cwd=tmp_path), 3)


def test_status_of_a_server_and_of_a_hub(shop: Path) -> None:
    with calls(shop, ("pay", "charge", 1), ("waits", "one", 30)):
        found(shop, {"pay.charge": 1, "waits.one": 1}, "pay", "waits")
        result = mesh("status", "waits", cwd=shop)
        assert (result.returncode, result.stderr) == (0, "")
        head, line = result.stdout.splitlines()
        assert re.fullmatch(r"waits at \S+:\d+: 1 of 10000 handlers run, 0 waiting, 1 open call", head)
        assert "waits.one" in line and "in deeper" in line
        head, *lines = mesh("status", "pay", cwd=shop).stdout.splitlines()
        assert re.fullmatch(r"hub hub \(queue\) at \S+:\d+: 2 workers, \d open calls?", head)
        assert all("pay.charge" in line for line in lines)
        (told,) = map(json.loads, mesh("status", "pay", "-j", cwd=shop).stdout.splitlines())
        assert {call["method"] for call in told["calls"]} == {"charge"} and len(told["workers"]) == 2
    failed(mesh("status", nobody(), "--timeout", "0.3", cwd=shop), 3)
    failed(mesh("ps", "nothing-of-that-name", cwd=shop), 3)


def test_an_old_client_may_ask_as_well(shop: Path) -> None:
    endpoint = re.search(r"^orders: (.*)$", (shop / "services.yml").read_text(), re.MULTILINE)
    assert endpoint is not None
    with RawClient(endpoint[1]) as client:
        client.send({"message_id": "q", "v": 3}, OPEN_CALLS, [])
        _, name, args = client.receive()
        assert name == "OK" and args[0]["server"] == "orders"


@pytest.fixture(scope="module")
def majordomo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Process]]]:
    """A folder whose services all are behind one hub, and their workers by name; `side` is a server of mesh
    with a sidecar beside it."""
    folder = tmp_path_factory.mktemp("majordomo")
    (folder / "shop.py").write_text(SHOP)
    hub = f"in: {ANY_PORT}\nout: {ANY_PORT}\ntype: majordomo\nheartbeat: 10\n"
    with ExitStack() as stack:
        _, shown = stack.enter_context(commands.hub(hub, folder))
        server, endpoint = stack.enter_context(
            serving("shop:Rows", "--bind", ANY_PORT, "--service", "side", cwd=folder)
        )
        workers = {"server": server}
        for name, target in [("waits", "shop:Waits"), ("thumbs", "shop:Thumbs"), ("side", endpoint)]:
            command = [sys.executable, "-m", "mesh.cli.register", name, target, "--hub", shown.out]
            workers[name] = stack.enter_context(Process(command, cwd=folder, env=environment()))
            workers[name].wait_for(f"^serving {name}")
        for worker in workers.values():
            stack.callback(worker.kill)
        lines = [f"{name}: {{hub: {shown.in_}}}\n" for name in ("waits", "thumbs", "side")]
        (folder / "services.yml").write_text("".join(lines))
        yield folder, workers


def test_workers_of_each_kind_by_one_hub(majordomo: tuple[Path, dict[str, Process]]) -> None:
    """One that waits, one that blocks its loop, and one behind a sidecar."""
    folder, workers = majordomo
    with (
        calls(folder, ("waits", "one", 60), ("thumbs", "make", 15)),
        library.connect("side", services=str(folder / "services.yml")) as side,
    ):
        stream = side.export()
        assert next(stream) == 1
        seen = found(folder, {"waits.one": 1, "thumbs.make": 1, "side.export": 1})
        told = {row["method"]: row for row in seen}
        assert len({row["caller"] for row in seen}) == 1 and seen[0]["caller"].endswith(f":{os.getpid()}")
        assert told["waits.one"]["waits"].endswith("in deeper")
        assert told["thumbs.make"]["waits"].startswith("blocks its loop, shop.py:")
        assert told["side.export"]["kind"] == "credit"
        assert told["side.export"]["to"].endswith(f":{workers['server'].pid}"), "not the sidecar"
        some = {row["method"] for row in rows(folder, "side", "thumbs")}
        assert some == {"side.export", "thumbs.make"}, "the services that are named, and not all of their hub"
        stream.close()


def test_a_worker_that_does_not_answer_is_told_to_be_silent(
    majordomo: tuple[Path, dict[str, Process]],
) -> None:
    folder, workers = majordomo
    with calls(folder, ("waits", "one", 61)):
        found(folder, {"waits.one": 1})
        workers["waits"].signal(signal.SIGSTOP)
        try:
            result = mesh("ps", "--timeout", "1.5", cwd=folder)
        finally:
            workers["waits"].signal(signal.SIGCONT)
        assert result.returncode == 0, result
        assert re.search(r"waits\.one .* → waits@.* its worker is silent, last heard \S+s ago", result.stdout)
        assert re.search(r"mesh: waits@\S+ at hub hub: it is silent, was last heard \S+ s ago", result.stderr)
