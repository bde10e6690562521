"""`mesh top`, `graph`, `tap` and `why` of a small mesh of real programs, which tell a real collector."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.commands import ANY_PORT, MESH, UNREAD, Terminal, environment, failed, mesh, serving, start
from tests.helpers.peers import nobody
from tests.helpers.processes import Process, eventually, python
from tests.helpers.requirements import require_textual

SHOP = """
import os
import time

import mesh


class Stock:
    def take(self, item):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return {"tea": 1}[item]


class Orders:
    def __init__(self):
        self.stock = mesh.connect("stock")

    def place(self, item):
        return self.stock.take(item)
"""
LOAD = """
import time

import mesh

with mesh.connect("orders") as orders:
    number = 0
    while True:
        number += 1
        try:
            orders.place("jam" if number % 5 == 0 else "tea")
        except KeyError:
            pass
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, int]]:
    """A program that calls orders, which call two servers of stock, one of them slow: the folder, the
    collector's endpoint and the slow one's process id.
    """
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP)
    (folder / "load.py").write_text(LOAD)
    with ExitStack() as stack:
        collector = stack.enter_context(start("collect", "--bind", ANY_PORT, "--store", "memory", cwd=folder))
        where = collector.wait_for(r"^collecting on (\S+) into ")[1]
        told = {"MESH_TRACE": where, "MESH_TRACE_RATE": "1"}
        stock = ("shop:Stock", "--service", "stock", "--bind", ANY_PORT)
        quick, slow = (
            stack.enter_context(serving(*stock, cwd=folder, PAUSE=pause, **told)) for pause in ("0", "0.05")
        )
        names = f"stock: {{address: [{quick[1]}, {slow[1]}], balance: round_robin}}\n"
        (folder / "services.yml").write_text(names)
        orders = ("shop:Orders", "--service", "orders", "--bind", ANY_PORT)
        _, endpoint = stack.enter_context(serving(*orders, cwd=folder, **told))
        (folder / "services.yml").write_text(f"{names}orders: {endpoint}\n")
        stack.enter_context(python(folder / "load.py", cwd=folder, env=environment(**told)))
        eventually(lambda: "stock.take" in mesh("top", "--once", "--collector", where, cwd=folder).stdout)
        yield folder, where, slow[0].pid


def test_top(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop

    def rows() -> dict[tuple[str, str], dict[str, float]]:
        result = mesh("top", "--once", "-j", cwd=folder, MESH_TRACE=where)
        told = [json.loads(line) for line in result.stdout.splitlines()]
        return {(row["caller"], row["method"]): row for row in told if row["rate"]}

    eventually(lambda: set(rows()) == {("load", "place"), ("orders", "take")})
    eventually(lambda: rows()["orders", "take"]["errors"] > 0)
    row = rows()["orders", "take"]
    assert 0.04 < row["p99"] < 2.0 and row["p50"] > 0
    result = mesh("top", "--once", "--by", "method", "stock", "--collector", where, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    head, line = (text.split("\t") for text in result.stdout.splitlines())
    assert (head[:3], line[:2]) == (["CALLER", "CALL", "RATE"], ["*", "stock.take"])
    assert mesh("trace", line[-1], "--collector", where, cwd=folder).returncode == 0
    (folder / "none.yml").write_text(f"collector: {where}\n")
    nothing = mesh("top", "--once", "nix", "--services", "none.yml", cwd=folder)
    assert (nothing.returncode, nothing.stderr) == (0, "nobody has told of such calls\n")
    # The registry has a collector, too; what is asked of it is no call of the programs.
    with start("top", "-j", "--collector", where, cwd=folder, MESH_SERVICES="none.yml") as process:
        eventually(lambda: len({json.loads(one)["at"] for one in process.stdout.splitlines()[:-1]}) > 1)
        process.signal(signal.SIGINT)
        assert process.wait() == 130
    assert set(rows()) == {("load", "place"), ("orders", "take")}


def test_the_live_screen(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop
    assert "--once prints one table" in failed(mesh("top", "--collector", where, cwd=folder), 2)
    with Terminal([*MESH, "top", "--collector", where], 200, folder, TERM="dumb") as terminal:
        assert terminal.wait() == 2
        assert "the live screen needs a terminal that can draw, and TERM is dumb: --once" in terminal.shown
        assert "\x1b" not in terminal.shown
    with Terminal([*MESH, "graph", "--collector", where], 100, folder, TERM="dumb") as terminal:
        assert terminal.wait() == 0
        assert "stock" in terminal.shown and "\x1b" not in terminal.shown
    require_textual()
    with Terminal([*MESH, "top", "--collector", where], 100, folder) as terminal:
        terminal.wait_for("stock.take")
        terminal.wait_for("Filter")
        terminal.type(b"q")
        assert terminal.wait() == 0
    with Terminal([*MESH, "top", "--collector", where], 100, folder) as terminal:
        terminal.wait_for("stock.take")
        terminal.kill(signal.SIGTERM)
        assert terminal.wait() == 143
        assert "\x1b[?1049l" in terminal.shown  # what was on the terminal before is there again
    with Terminal([*MESH, "top", "--collector", where], 100, folder) as terminal:
        terminal.wait_for("stock.take")
        terminal.type(b"\x03")
        assert terminal.wait() == 130


def test_the_live_screen_without_textual(shop: tuple[Path, str, int]) -> None:
    """As where the extra is not installed."""
    folder, where, _ = shop
    program = "import sys; sys.modules['textual'] = None; from mesh.cli.main import main; sys.exit(main())"
    with Terminal([sys.executable, "-c", program, "top", "--collector", where], 200, folder) as terminal:
        assert terminal.wait() == 2
        assert (
            "the live screen needs textual, which is an extra: pip install 'zeromesh[top]'" in terminal.shown
        )


def test_graph(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop

    def tree() -> list[str]:
        result = mesh("graph", "--minutes", "1", "--collector", where, cwd=folder)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.splitlines()

    # Each process tells when its own second is over.
    lines = eventually(lambda: found if len(found := tree()) == 3 and "fail" in found[-1] else None)
    assert [line.strip(" └─").split()[0] for line in lines] == ["load", "orders", "stock"]
    dot = mesh("graph", "--format", "dot", "--collector", where, cwd=folder).stdout
    assert '"orders" -> "stock" [label="' in dot
    result = mesh("graph", "-o", "graph.svg", "--collector", where, cwd=folder)
    assert (result.returncode, result.stdout) == (0, "")
    assert "stock" in (folder / "graph.svg").read_text()
    ElementTree.parse(folder / "graph.svg")
    mesh("graph", "-o", "graph.mmd", "--collector", where, cwd=folder)
    assert (folder / "graph.mmd").read_text().startswith("flowchart LR\n")
    told = json.loads(mesh("graph", "-j", "--collector", where, cwd=folder).stdout)
    edges = {(edge["caller"], edge["service"]) for edge in told["edges"]}
    assert edges == {("load", "orders"), ("orders", "stock")}
    assert {node["service"] for node in told["nodes"]} == {"load", "orders", "stock"}
    mesh("graph", "-j", "-o", "graph.json", "--collector", where, cwd=folder)
    assert set(json.loads((folder / "graph.json").read_text())) == set(told)
    line = failed(mesh("graph", "-j", "--format", "dot", "--collector", where, cwd=folder), 2)
    assert "--format and --json exclude each other" in line
    line = failed(mesh("graph", "-o", "no/graph.svg", "--collector", where, cwd=folder), 2)
    assert line == "mesh: no/graph.svg can't be written: No such file or directory"


def test_tap(shop: tuple[Path, str, int]) -> None:
    folder, where, slow = shop
    result = mesh("tap", "stock", "take", "--limit", "20", "-j", "--collector", where, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(told) == 20
    whole = [one for one in told if one["caller"] and one["callee"]]
    assert len(whole) > 10 and all(one["took"] >= one["served"] for one in whole)
    assert f":{slow}" in "".join(one["callee"] for one in whole)
    assert {one["outcome"] for one in told} <= {"OK", "KeyError"}
    result = mesh("tap", "orders", "--limit", "1", "--collector", where, cwd=folder)
    assert "  orders.place  " in result.stdout and " → orders@" in result.stdout
    quiet = mesh("tap", "nix", "--seconds", "2.5", "--timeout", "0.5", "--collector", where, cwd=folder)
    assert (quiet.returncode, quiet.stderr) == (0, "no recorded call of nix passed in 2.5 s\n")
    nothing = mesh("tap", "nix", "--seconds", "0.5", "--collector", where, cwd=folder)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "no recorded call of nix passed in 0.5 s\n"


def test_top_ends_with_its_reader_also_while_it_has_nothing_to_say(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop
    command = [*MESH, "top", "-j", "nix", "--collector", where]
    with Process([sys.executable, "-c", UNREAD, *command], cwd=folder, env=environment()) as process:
        assert (process.wait(), process.stderr) == (141, "")


def test_a_minute_that_is_no_number_is_refused(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop
    line = failed(mesh("graph", "--minutes", "nan", "--collector", where, cwd=folder), 2)
    assert "'nan' is no number within bounds" in line


def test_tap_ends_with_its_reader_and_by_ctrl_c(shop: tuple[Path, str, int]) -> None:
    folder, where, _ = shop
    command = [*MESH, "tap", "stock", "--collector", where]
    with Process([sys.executable, "-c", UNREAD, *command], cwd=folder, env=environment()) as process:
        assert process.wait() == 141
        assert process.stderr == ""

    def looking_on() -> int:
        return int(json.loads(mesh("call", where, "status", "-j", cwd=folder).stdout)["taps"])

    eventually(lambda: not looking_on())
    with start("tap", "nix", "--collector", where, cwd=folder) as silent:
        eventually(looking_on)
        with start("tap", "stock", "--collector", where, cwd=folder) as process:
            process.wait_for("stock.take")
            process.signal(signal.SIGINT)
            assert process.wait() == 130
        silent.signal(signal.SIGINT)
        assert (silent.wait(), silent.stderr) == (130, "")


def test_why(shop: tuple[Path, str, int]) -> None:
    folder, where, slow = shop

    def told() -> dict[str, object]:
        result = mesh("why", "stock", "take", "--slower", "0.04", "-j", "--collector", where, cwd=folder)
        assert (result.returncode, result.stderr) == (0, "")
        found: dict[str, object] = json.loads(result.stdout)
        return found

    found = eventually(lambda: one if "slow calls went to stock@" in str((one := told())["says"]) else None)
    assert f":{slow}" in str(found["says"])
    options = ("--slower", "0.04", "--collector", where)
    result = mesh("why", "stock", "take", *options, cwd=folder)
    assert "failing: KeyError" in result.stdout
    assert re.search(rf"^worker\tstock@\S+:{slow}\t\d+%\t\d+%$", result.stdout, re.MULTILINE)
    with Terminal([*MESH, "why", "stock", "take", *options], 60, folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert max(map(len, terminal.shown.splitlines())) <= 60
    nothing = mesh("why", "stock", "nix", "--collector", where, cwd=folder)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "no call of stock.nix was recorded in the last 60 min\n"


@pytest.mark.parametrize("command", [["top", "--once"], ["graph"], ["tap", "stock"]])
def test_sixty_columns(shop: tuple[Path, str, int], command: list[str]) -> None:
    folder, where, _ = shop
    more = ["--limit", "2"] if command[0] == "tap" else []
    with Terminal([*MESH, *command, *more, "--collector", where], 60, folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "stock" in terminal.shown
        assert max(map(len, terminal.shown.splitlines())) <= 60


@pytest.mark.parametrize(
    "command", [["top", "--once"], ["graph"], ["tap", "stock"], ["why", "stock", "take"]]
)
def test_nobody_there(tmp_path: Path, command: list[str]) -> None:
    failed(mesh(*command, "--collector", nobody(), "--timeout", "0.3", cwd=tmp_path), 3)
    assert "set MESH_TRACE=EP" in failed(mesh(*command, cwd=tmp_path), 2)
