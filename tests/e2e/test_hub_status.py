"""`mesh hub-status`, and what `mesh services` tells of hubs."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from mesh.cli.hub_status import age
from mesh.core import majordomo as mdp
from tests.e2e.commands import MESH, Terminal, failed, mesh, serving, start
from tests.helpers.peers import nobody
from tests.helpers.processes import Process, eventually, python
from tests.hubs import commands
from tests.hubs.commands import Shown
from tests.hubs.wires import Wires

WORKER = Path(commands.__file__).with_name("worker.py")
ANY = "tcp://127.0.0.1:*"
MAJORDOMO = f"in: {ANY}\nout: {ANY}\ntype: majordomo\ndefault: users\nheartbeat: 0.5\n"


@contextmanager
def worker(hub: Shown, service: str = "users") -> Iterator[Process]:
    with python(WORKER, hub.out, service, "7") as process:
        process.wait_for("ready")
        yield process


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A majordomo hub with two workers of `users`, and one of `orders`, that has carried three calls."""
    folder = tmp_path_factory.mktemp("hub")
    with (
        commands.hub(MAJORDOMO, folder) as (_, shown),
        worker(shown),
        worker(shown),
        worker(shown, "orders"),
    ):
        eventually(lambda: sum(one["workers"] for one in status(folder, shown.in_)["services"]) == 3)
        for _ in range(3):
            assert mesh("call", shown.in_, "echo", "x", cwd=folder).returncode == 0
        yield shown


def status(folder: Path, *arguments: str) -> Any:
    result = mesh("hub-status", "-j", *arguments, cwd=folder)
    assert result.returncode == 0, result
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def test_json(tmp_path: Path, hub: Shown) -> None:
    values = status(tmp_path, hub.in_)
    assert (values["endpoint"], values["name"], values["type"]) == (hub.in_, "hub", "majordomo")
    users = next(one for one in values["services"] if one["name"] == "users")
    assert [users[key] for key in ("workers", "capacity", "busy", "calls", "errors")] == [2, 14, 0, 3, 0]
    assert sorted(one["service"] for one in values["workers"]) == ["orders", "users", "users"]


def test_in_a_pipe(tmp_path: Path, hub: Shown) -> None:
    result = mesh("hub-status", hub.in_, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    top, services, workers = result.stdout.split("\n\n")
    assert top.splitlines()[:3] == ["hub hub (majordomo)", f"in {hub.in_}", f"out {hub.out}"]
    head, orders, users = (line.split("\t") for line in services.splitlines())
    assert head[:4] == ["SERVICE", "WORKERS", "BUSY", "WAITING"]
    assert orders[:4] == ["orders", "1", "0/7", "0"]
    assert users[:4] == ["users", "2", "0/14", "0"]
    assert len(workers.splitlines()) == 4


def test_in_a_terminal_of_60_columns(tmp_path: Path, hub: Shown) -> None:
    with Terminal([*MESH, "hub-status", hub.in_], columns=60, cwd=tmp_path, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        assert "SERVICE  WORKERS  BUSY" in terminal.shown and "\x1b" not in terminal.shown
        assert max(map(len, terminal.shown.splitlines())) <= 60


def test_watch(tmp_path: Path) -> None:
    with (
        commands.hub(MAJORDOMO, tmp_path) as (_, shown),
        start("hub-status", "--watch", shown.in_, cwd=tmp_path) as watching,
    ):
        watching.wait_for("no services: no worker has registered")
        with worker(shown):
            watching.wait_for("^users\t1\t0/7\t")
        watching.signal(signal.SIGINT)
        assert watching.wait() == 130
        assert watching.stderr == ""


def test_watch_goes_on_while_the_hub_is_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = MAJORDOMO.replace(f"in: {ANY}", f"in: tcp://127.0.0.1:{port}")
    with commands.hub(text, tmp_path) as (first, shown):
        arguments = ("hub-status", "--watch", "-j", "--timeout", "0.5", shown.in_)
        with start(*arguments, cwd=tmp_path) as watching:
            watching.wait_for('"name": "hub"')
            first.kill()
            watching.wait_for('"error": "[^"]*nobody answers')
            with commands.hub(text, tmp_path) as (second, _):
                watching.wait_for(f'"pid": {second.pid},')


@pytest.mark.parametrize(("form", "awaited"), [([], "^hub hub "), (["-j"], '"name": "hub"')])
def test_watch_waits_for_a_hub_that_is_not_there_yet(tmp_path: Path, form: list[str], awaited: str) -> None:
    endpoint = nobody()
    with start("hub-status", "--watch", *form, "--timeout", "0.3", endpoint, cwd=tmp_path) as watching:
        watching.wait_for("nobody answers")
        with commands.hub(MAJORDOMO.replace(f"in: {ANY}", f"in: {endpoint}"), tmp_path):
            watching.wait_for(awaited)
        watching.signal(signal.SIGINT)
        assert watching.wait() == 130
        assert watching.stderr == ""


def test_a_name_that_is_reached_through_hubs_asks_each(tmp_path: Path, hub: Shown) -> None:
    dead = nobody()
    (tmp_path / "services.yml").write_text(f"users: {{hub: [{hub.in_}, {dead}]}}\ndirect: {dead}\n")
    result = mesh("hub-status", "-j", "users", "--timeout", "1", cwd=tmp_path)
    assert result.returncode == 0
    one, other = map(json.loads, result.stdout.splitlines())
    assert one["name"] == "hub"
    assert other["endpoint"] == dead and "nobody answers" in other["error"]
    assert result.stderr == ""
    result = mesh("hub-status", "users", "--timeout", "1", cwd=tmp_path)
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "hub hub (majordomo)")
    assert result.stdout.count("nobody answers") == 0
    assert result.stderr.startswith(f"mesh: {dead}: nobody answers")
    line = failed(mesh("hub-status", "direct", cwd=tmp_path), 2)
    assert "services.yml:2" in line and "not reached through a hub" in line


def test_nobody_is_there(tmp_path: Path) -> None:
    endpoint = nobody()
    line = failed(mesh("hub-status", endpoint, "--timeout", "0.3", cwd=tmp_path), 3)
    assert f"{endpoint}: nobody answers" in line and "forwarders, streamers and anonymous queues" in line


def test_nobody_is_there_in_json(tmp_path: Path) -> None:
    endpoint = nobody()
    result = mesh("hub-status", "-j", endpoint, "--timeout", "0.3", cwd=tmp_path)
    told = json.loads(result.stdout)
    assert (result.returncode, told["endpoint"]) == (3, endpoint)
    assert "nobody answers" in told["error"] and "nobody answers" in result.stderr


def test_what_a_worker_says_of_itself_breaks_no_line(tmp_path: Path) -> None:
    with commands.hub(MAJORDOMO, tmp_path) as (_, shown), Wires() as wires:
        bad = {"capacity": 1, "host": "a\tb\nc", "pid": 7, "version": "1\x1b[31m\t2", "kind": "x\ny"}
        peer = wires(zmq.DEALER, shown.out)
        peer.send_multipart(mdp.ready("users", bad))
        peer.recv_multipart()
        text = mesh("hub-status", shown.in_, cwd=tmp_path).stdout
        head, row = text.splitlines()[-2:]
        assert head.startswith("WORKER\t") and row.startswith("a b c:7\tusers\t")
        assert row.endswith("\tmesh 1 [31m 2 x y") and row.count("\t") == head.count("\t")


def test_what_answers_is_no_hub(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text("def get():\n    return 1\n")
    with serving("users", "--bind", ANY, cwd=tmp_path) as (_, endpoint):
        for more in ([], ["--watch"]):
            line = failed(mesh("hub-status", endpoint, *more, cwd=tmp_path), 3)
            assert f"{endpoint}: what answers is no hub" in line


def test_what_services_tells_of_hubs(tmp_path: Path, hub: Shown) -> None:
    dead = nobody()
    (tmp_path / "services.yml").write_text(
        f"users: {{hub: [{hub.in_}, {dead}]}}\nthumbs: {{hub: {hub.in_}}}\norders: {{hub: {hub.in_}}}\n"
    )
    result = mesh("services", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("users", "up", "2"),
        ("users", "down", "-"),
        ("thumbs", "no workers", "0"),
        ("orders", "up", "1"),
    ]
    found = json.loads(mesh("services", "-j", cwd=tmp_path).stdout)
    assert [one["workers"] for one in found] == [2, 0, 1]
    assert [end["workers"] for end in found[0]["endpoints"]] == [2, None]


def test_a_queue_hub_has_one_service_whatever_the_registry_calls_it(tmp_path: Path) -> None:
    text = MAJORDOMO.replace("majordomo\ndefault: users", "queue")
    with commands.hub(text, tmp_path) as (_, shown), worker(shown, "other"):
        (tmp_path / "services.yml").write_text(f"users: {{hub: {shown.in_}}}\n")

        def row() -> list[str]:
            return mesh("services", cwd=tmp_path).stdout.splitlines()[1].split("\t")

        eventually(lambda: (row()[1], row()[4]) == ("up", "1"))


def test_an_anonymous_queue_is_up_and_can_not_tell(tmp_path: Path) -> None:
    text = f"in: {ANY}\nout: {ANY}\ntype: queue\nworkers: anonymous\n"
    (tmp_path / "users.py").write_text("def get():\n    return 1\n")
    with commands.hub(text, tmp_path) as (_, shown):
        (tmp_path / "services.yml").write_text(f"users: {{hub: {shown.in_}}}\ndirect: {shown.in_}\n")

        def states() -> list[str]:
            return [
                one[1] + one[4] for one in map(str.split, mesh("services", cwd=tmp_path).stdout.splitlines())
            ]

        assert states()[1:] == ["silent-", "silent-"], "nobody is there who could answer"
        with start("serve", "users", "--connect", shown.out, cwd=tmp_path) as server:
            server.wait_for("^serving users")
            assert mesh("call", shown.in_, "get", cwd=tmp_path).stdout == "1\n"
            assert states()[1:] == ["up-", "up-"]
            line = failed(mesh("hub-status", "users", cwd=tmp_path), 3)
            assert "what answers is no hub that can be asked" in line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0, "0.0s"),
        (0.25, "0.2s"),
        (12.4, "12s"),
        (59.9, "1m00s"),
        (185, "3m05s"),
        (19_200, "5h20m"),
        (200_000, "2d07h"),
    ],
)
def test_ages(seconds: float | None, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize("anonymous", [True, False], ids=["anonymous", "two hubs"])
def test_services_that_are_full_as_calls_wait_at_their_worker(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, anonymous: bool
) -> None:
    """Of which no hub knows: each has given the worker no more than it takes."""
    kind = f"in: {ANY}\nout: {ANY}\ntype: queue\n" + ("workers: anonymous\n" if anonymous else "")
    with ExitStack() as stack:
        hubs = [
            stack.enter_context(commands.hub(kind, tmp_path_factory.mktemp(f"hub{number}")))[1]
            for number in range(1 if anonymous else 2)
        ]
        ends = [argument for hub in hubs for argument in ("--connect" if anonymous else "--hub", hub.out)]
        server = stack.enter_context(
            start("serve", "users:Users", *ends, "--service", "shop", "--pool-size", "1", cwd=folder)
        )
        server.wait_for("serving shop")
        (folder / "behind.yml").write_text(f"shop: {{hub: [{', '.join(hub.in_ for hub in hubs)}]}}\n")

        def states() -> set[str]:
            result = mesh("services", "--services", "behind.yml", "-j", cwd=folder)
            return {one["health"] for one in json.loads(result.stdout)[0]["endpoints"]}

        eventually(lambda: states() == {"up"})
        for hub in (hubs * 2)[:2]:
            stack.enter_context(start("call", hub.in_, "nap", "20", cwd=folder))
        eventually(lambda: states() == {"full"})
        assert "napping\nnapping" not in server.stdout
