"""`mesh inspect` and `mesh services`, for people and for programs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.commands import MESH, Terminal, failed, mesh, start
from tests.helpers.peers import Language, nobody, old_server
from tests.helpers.processes import Process

Served = tuple[Process, str]
GET = "get(number, *, loud=False)"
LONG = "    A second paragraph, which says more than anybody wants to know in a list of all methods.\n"


def inspect(folder: Path, *arguments: str) -> str:
    result = mesh("inspect", *arguments, cwd=folder)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


@pytest.mark.usefixtures("served")
class TestInspect:
    def test_one_line_a_method_in_a_pipe(self, folder: Path) -> None:
        lines = inspect(folder, "users").splitlines()
        assert "get\t(number, *, loud=False)\tThe user of that number." in lines
        assert "fail\t()" in lines

    def test_all_of_one_method(self, folder: Path) -> None:
        assert inspect(folder, "users", "get") == f"{GET}\n\n    The user of that number.\n\n{LONG}"

    def test_json(self, folder: Path) -> None:
        all_of_it = json.loads(inspect(folder, "users", "-j"))
        one = json.loads(inspect(folder, "users", "get", "-j"))
        assert one == {"name": "get", **all_of_it["methods"]["get"]}
        assert one["args"] == [{"name": "number"}, {"name": "loud", "default": False}]
        assert one["signature"] == "(number, *, loud=False)"

    def test_in_a_terminal_of_60_columns(self, folder: Path) -> None:
        for arguments in (["users"], ["users", "get"]):
            with Terminal([*MESH, "inspect", *arguments], columns=60, cwd=folder, NO_COLOR="1") as terminal:
                assert terminal.wait() == 0
                assert GET in terminal.shown and "\x1b" not in terminal.shown
                assert max(map(len, terminal.shown.splitlines())) <= 60

    def test_a_long_signature_in_a_terminal(self, folder: Path) -> None:
        with Terminal([*MESH, "inspect", "users", "long"], columns=40, cwd=folder, NO_COLOR="") as terminal:
            assert terminal.wait() == 0
        first, *others = terminal.shown.splitlines()
        assert first.startswith("\x1b[36m\x1b[1mlong\x1b[0m(first_of_all=")
        assert others and all(line.startswith(" " * 8) and len(line) <= 40 for line in others)

    def test_what_is_not_exposed(self, folder: Path) -> None:
        lines = inspect(folder, "users", "--all").splitlines()
        assert "fail\t()" in lines
        assert lines[-1] == "Error\t\tnot exposed: it is a class"
        all_of_it = json.loads(inspect(folder, "users", "--all", "-j"))
        assert set(all_of_it) == {"name", "methods", "left_out"}
        assert all_of_it["left_out"] == {"Error": "is a class"}
        with Terminal([*MESH, "inspect", "users", "--all"], columns=60, cwd=folder, NO_COLOR="1") as terminal:
            assert terminal.wait() == 0
        assert terminal.shown.splitlines()[-3:] == ["not exposed: 1", "Error", "    it is a class"]
        assert "leave METHOD out" in failed(mesh("inspect", "users", "get", "--all", cwd=folder), 2)
        assert "no method 'Error', for that is a class" in failed(
            mesh("inspect", "users", "Error", cwd=folder), 1
        )

    def test_an_unknown_method(self, folder: Path) -> None:
        assert "did you mean 'get'?" in failed(mesh("inspect", "users", "gett", cwd=folder), 1)

    def test_an_unknown_service(self, folder: Path) -> None:
        assert "no service 'nobody'" in failed(mesh("inspect", "nobody", cwd=folder), 3)

    def test_a_dead_host(self, folder: Path) -> None:
        endpoint = nobody()
        assert endpoint in failed(mesh("inspect", endpoint, "--timeout", "0.5", cwd=folder), 3)


@pytest.mark.parametrize(("language", "method"), [("python", "echo\t(…)"), ("node", "echo\t(value")])
def test_inspect_of_an_old_server(folder: Path, language: Language, method: str) -> None:
    with old_server(language) as server:
        assert method in inspect(folder, server.endpoint)
        result = mesh("inspect", server.endpoint, "--all", cwd=folder)
    assert result.returncode == 0 and method in result.stdout
    assert f"{server.endpoint} does not tell what it leaves out" in result.stderr


def write_registry(folder: Path, endpoint: str) -> str:
    dead = nobody()
    file = folder / "all.yml"
    file.write_text(
        f"users: {endpoint}\n"
        f"twins: [{endpoint}, {dead}]\n"
        "events: {address: tcp://127.0.0.1:7002, type: pub}\n"
        f"orders: {{hub: {dead}}}\n"
        "a-service-with-a-long-name: tcp://a-host-with-a-long-name.example:4242\n"
    )
    return str(file)


def test_services_in_a_pipe(folder: Path, served: Served) -> None:
    file = write_registry(folder, served[1])
    result = mesh("services", "--services", file, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    head, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    told = "NAME HEALTH MS TYPE WORKERS SHARE PRIORITY WEIGHT TTL ENDPOINT SOURCE"
    assert head == told.split()
    seen = [(row[0], row[1], row[3], row[10]) for row in rows]
    assert seen == [
        ("users", "up", "router", f"{file}:1"),
        ("twins", "up", "router", f"{file}:2"),
        ("twins", "down", "router", f"{file}:2"),
        ("events", "-", "pub", f"{file}:3"),
        ("orders", "down", "hub", f"{file}:4"),
        ("a-service-with-a-long-name", "down", "router", f"{file}:5"),
    ]
    assert [row[5:9] for row in rows[:4]] == [
        ["100%", "0", "1", "-"],
        ["100%", "0", "1", "-"],
        ["0%", "0", "1", "-"],
        ["-", "0", "1", "-"],
    ]
    assert rows[0][9] == served[1] and float(rows[0][2]) > 0 and rows[2][2] == "-"


def test_services_as_json(folder: Path, served: Served) -> None:
    file = write_registry(folder, served[1])
    found = json.loads(mesh("services", "-j", "--services", file, cwd=folder).stdout)
    assert [service["name"] for service in found][:2] == ["users", "twins"]
    assert [e["health"] for e in found[1]["endpoints"]] == ["up", "down"]
    assert found[0]["endpoints"][0]["ms"] > 0 and found[0]["source"] == f"{file}:1"


def test_services_in_a_terminal_of_60_columns(folder: Path, served: Served) -> None:
    file = write_registry(folder, served[1])
    command = [*MESH, "services", "--services", file]
    with Terminal(command, columns=60, cwd=folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        lines = terminal.shown.splitlines()
    assert max(map(len, lines)) <= 60
    assert served[1] in lines[1] and "…" in lines[-1]


def test_watch_follows_the_file_until_ctrl_c(folder: Path, served: Served) -> None:
    file = folder / "watched.yml"
    file.write_text(f"users: {served[1]}\n")
    with start("services", "--watch", "--services", str(file), cwd=folder) as process:
        process.wait_for("^users\tup\t")
        file.write_text(f"people: {served[1]}\n")
        process.wait_for("^people\tup\t")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr == ""


def test_watch_in_a_terminal_stays_on_the_screen(folder: Path, served: Served) -> None:
    file = folder / "tall.yml"
    file.write_text("".join(f"s{n}: {served[1]}\n" for n in range(20)))
    command = [*MESH, "services", "--watch", "--services", str(file)]
    with Terminal(command, columns=60, cwd=folder, lines=10) as terminal:
        terminal.wait_for("more\n")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        (first, *_) = terminal.shown.split("\x1b[H\x1b[2J")[1:]
        assert first.count("\n") < 10


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("users: tcp://127.0.0.1\n", ":1"),
        ("users: [tcp://127.0.0.1:1\n", ":"),
        ("users: {address: tcp://127.0.0.1:1, tpye: pub}\n", "'type'"),
    ],
)
def test_a_typo_in_the_registry(folder: Path, content: str, part: str) -> None:
    file = folder / "typo.yml"
    file.write_text(content)
    line = failed(mesh("services", "--services", str(file), cwd=folder), 2)
    assert f"{file}:1" in line and part in line


def test_no_registry_at_all(tmp_path: Path) -> None:
    result = mesh("services", cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path), XDG_CONFIG_DIRS=str(tmp_path))
    assert result.returncode == 0
    assert "no services.yml" in result.stderr
