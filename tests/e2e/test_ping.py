"""`mesh ping`, and `mesh services NAME`: whether a service is there, be it busy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import ANY_PORT, failed, mesh, serving, start
from tests.helpers.peers import nobody, old_server
from tests.helpers.processes import Process, eventually
from tests.helpers.raw import RawClient
from tests.hubs import commands
from tests.hubs.commands import Shown

Served = tuple[Process, str]


@contextmanager
def busy(endpoint: str, method: str = "nap", calls: int = 2, **header: Any) -> Iterator[None]:
    """Calls that take their time are open there, for as long as their client gives heartbeats or so."""
    with RawClient(endpoint) as client:
        for number in range(calls):
            client.send({"message_id": f"call {number}", "v": 3, **header}, method, ["30"])
        yield


@pytest.fixture(scope="module")
def full(folder: Path) -> Iterator[str]:
    """The endpoint of a server whose only place is taken, while a call waits."""
    with serving("users:Users", "--bind", ANY_PORT, "--pool-size", "1", cwd=folder) as (process, endpoint):
        (folder / "full.yml").write_text(f"users: {endpoint}\n")
        with busy(endpoint):
            process.wait_for("^napping$")
            yield endpoint


def test_a_ping_tells_who_answers_and_how_busy_it_is(folder: Path, full: str) -> None:
    result = mesh("ping", "users", "--services", "full.yml", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    head, row = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["ENDPOINT", "NAME", "MS", "RUNNING", "WAITING"]
    assert [*row[:2], *row[3:]] == [full, "Users", "1/1", "1"] and float(row[2]) >= 0
    told = json.loads(mesh("ping", full, "-j", cwd=folder).stdout)
    assert told.pop("ms") > 0
    assert told == {"endpoint": full, "name": "Users", "running": 1, "most": 1, "waiting": 1}


def test_a_full_service_is_up(folder: Path, full: str) -> None:
    result = mesh("services", "users", "--services", "full.yml", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1].split("\t")[:2] == ["users", "full"]
    (found,) = json.loads(mesh("services", "-j", "--services", "full.yml", cwd=folder).stdout)
    assert found["endpoints"][0]["health"] == "full"


def test_a_handler_that_blocks_the_loop_holds_up_no_ping(folder: Path) -> None:
    with serving("users:Users", "--bind", ANY_PORT, "--pool-size", "1", cwd=folder) as (process, endpoint):
        with busy(endpoint, "burn", heartbeat=200):
            process.wait_for("^burning$")
            assert mesh("ping", endpoint, cwd=folder).returncode == 0
        process.kill()


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Shown]:
    """A majordomo hub with one worker of one place."""
    text = f"in: {ANY_PORT}\nout: {ANY_PORT}\ntype: majordomo\nheartbeat: 0.5\n"
    with commands.hub(text, folder) as (_, shown):
        (folder / "hubs.yml").write_text(f"users: {{hub: {shown.in_}}}\norders: {{hub: {shown.in_}}}\n")
        arguments = ("users:Users", "--service", "users", "--hub", shown.out, "--pool-size", "1")
        with start("serve", *arguments, cwd=folder) as worker:
            worker.wait_for("^serving users")
            yield shown
            worker.kill()


def test_through_a_hub_whose_workers_are_full(folder: Path, hub: Shown) -> None:
    def health() -> str:
        return (
            mesh("services", "users", "--services", "hubs.yml", cwd=folder)
            .stdout.splitlines()[1]
            .split("\t")[1]
        )

    eventually(lambda: mesh("ping", "users", "--services", "hubs.yml", cwd=folder).returncode == 0)
    assert health() == "up"
    with busy(hub.in_, service="users"):
        eventually(lambda: health() == "full")
        told = json.loads(mesh("ping", "users", "-j", "--services", "hubs.yml", cwd=folder).stdout)
        assert (told["endpoint"], told["name"], told["running"], told["most"]) == (hub.in_, "users", 1, 1)


@pytest.mark.usefixtures("hub")
def test_a_hub_without_a_worker_of_it(folder: Path) -> None:
    line = failed(mesh("ping", "orders", "--services", "hubs.yml", "--timeout", "1", cwd=folder), 3)
    assert "has no worker of 'orders'" in line
    result = mesh("services", "orders", "--services", "hubs.yml", cwd=folder)
    assert (result.returncode, result.stderr) == (3, "mesh: not up: orders (no workers)\n")


@pytest.mark.parametrize("language", ["python", "node"])
def test_an_old_server_tells_no_load(folder: Path, language: Any) -> None:
    with old_server(language) as server:
        row = mesh("ping", server.endpoint, cwd=folder).stdout.splitlines()[1].split("\t")
        assert row[0] == server.endpoint and row[3:] == ["-", "-"]


def test_one_answer_of_several_is_enough(folder: Path, served: Served) -> None:
    dead = nobody()
    (folder / "twins.yml").write_text(f"twins: [{dead}, {served[1]}]\n")
    result = mesh("ping", "twins", "--services", "twins.yml", "--timeout", "1", cwd=folder)
    assert result.returncode == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()[1:]] == [served[1]]
    assert result.stderr.startswith("mesh: ") and dead in result.stderr
    result = mesh("ping", "twins", "-j", "--services", "twins.yml", "--timeout", "1", cwd=folder)
    one, other = map(json.loads, result.stdout.splitlines())
    assert (one["endpoint"], "could not be sent" in one["error"]) == (dead, True)
    assert (other["endpoint"], other["name"]) == (served[1], "Users")


def test_nobody_answers(folder: Path) -> None:
    one, other = nobody(), nobody()
    assert one in failed(mesh("ping", one, "--timeout", "0.5", cwd=folder), 3)
    (folder / "dead.yml").write_text(f"dead: [{one}, {other}]\n")
    line = failed(mesh("ping", "dead", "--services", "dead.yml", "--timeout", "0.5", cwd=folder), 3)
    assert one in line and other in line


@pytest.mark.usefixtures("served")
class TestNames:
    """What is asked for by name."""

    def write(self, folder: Path, served: Served) -> str:
        (folder / "names.yml").write_text(
            f"users: {served[1]}\n"
            f"twins: [{nobody()}, {served[1]}]\n"
            f"dead: {nobody()}\n"
            "events: {address: tcp://127.0.0.1:7002, type: pub}\n"
            'locked: {address: tcp://127.0.0.1:7003, key: "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"}\n'
        )
        return "names.yml"

    def services(self, folder: Path, served: Served, *names: str) -> tuple[int, list[str], str]:
        result = mesh("services", *names, "--services", self.write(folder, served), cwd=folder)
        rows = [line.split("\t")[0] for line in result.stdout.splitlines()[1:]]
        return result.returncode, rows, result.stderr

    def test_only_those_are_shown_and_one_endpoint_is_enough(self, folder: Path, served: Served) -> None:
        found = self.services(folder, served, "twins", "users", "twins")
        assert found == (0, ["twins", "twins", "users"], "")

    def test_one_that_is_not_up(self, folder: Path, served: Served) -> None:
        code, rows, errors = self.services(folder, served, "users", "dead", "events")
        assert (code, rows) == (3, ["users", "dead", "events"])
        assert errors == "mesh: not up: dead (down), events (can't be asked)\n"

    def test_an_unknown_name(self, folder: Path, served: Served) -> None:
        file = self.write(folder, served)
        for command in ("services", "ping"):
            line = failed(mesh(command, "user", "--services", file, cwd=folder), 3)
            assert "no service 'user'" in line and "did you mean 'users'?" in line

    def test_wrong_usage(self, folder: Path, served: Served) -> None:
        file = self.write(folder, served)
        assert "for an endpoint there is mesh ping" in failed(
            mesh("services", served[1], "--services", file, cwd=folder), 2
        )
        assert "of type 'pub'" in failed(mesh("ping", "events", "--services", file, cwd=folder), 2)
        assert "has a key" in failed(mesh("ping", "locked", "--services", file, cwd=folder), 2)
        assert "Missing argument" in failed(mesh("ping", cwd=folder), 2)
        assert "seconds above 0" in failed(mesh("ping", "users", "--timeout", "0", cwd=folder), 2)
