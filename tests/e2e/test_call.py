"""`mesh call`: results, streams, and all the ways in which a call goes wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.e2e.commands import ANY_PORT, MESH, Terminal, environment, failed, mesh, serving, shell, start
from tests.helpers.peers import nobody
from tests.helpers.processes import DIES_WITH_PARENT, PATIENCE, Process, eventually

pytestmark = pytest.mark.usefixtures("served")
Served = tuple[Process, str]


def out(folder: Path, *arguments: str) -> str:
    result = mesh("call", *arguments, cwd=folder)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def test_by_name_and_by_endpoint(folder: Path, served: Served) -> None:
    assert out(folder, "users", "get", "42") == "{'name': 'Ann'}\n"
    assert out(folder, served[1], "get", "42") == "{'name': 'Ann'}\n"


def test_arguments_are_strings(folder: Path) -> None:
    assert out(folder, "users", "add", "1", "2") == "12\n"


def test_arguments_are_json_with_j(folder: Path) -> None:
    assert out(folder, "users", "add", "-j", "1", "-2") == "-1\n"
    assert out(folder, "users", "get", "-j", "42", "--kw", "loud=true") == '{"name": "ANN"}\n'
    sent: Any = [None, True, -1.5, "ä", {"a": []}, {"$bytes": "AP8="}]
    arguments = [json.dumps(value) for value in sent]
    assert json.loads(out(folder, "users", "echo", "-j", *arguments)) == {"args": sent, "kwargs": {}}


def test_dashes_in_arguments(folder: Path) -> None:
    shown = out(folder, "users", "echo", "-1", "-", "--kw", "x=-a", "--", "-b", "--kw", "--")
    assert shown == "{'args': ['-1', '-', '-b', '--kw', '--'], 'kwargs': {'x': '-a'}}\n"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["nothing"], ""),
        (["nothing", "-j"], "null\n"),
        (["value", "a string"], "a string\n"),
        (["data", "-j"], '{"$bytes": "AAFyYXc="}\n'),
        (["data"], "\x00\x01raw"),
        (["ticks", "3", "0"], "0\n1\n2\n"),
        (["ticks", "-j", "3", "0"], "0\n1\n2\n"),
        (["ticks", "0"], ""),
    ],
)
def test_what_is_printed(folder: Path, arguments: list[str], shown: str) -> None:
    assert out(folder, "users", *arguments) == shown


def test_without_a_method_it_lists_them(folder: Path) -> None:
    lines = out(folder, "users").splitlines()
    assert "get\tThe user of that number." in lines and "nothing" in lines
    listed = json.loads(out(folder, "users", "-j"))
    assert listed["name"] == "Users" and listed["methods"]["get"]["signature"] == "(number, *, loud=False)"


def test_another_registry(folder: Path, served: Served, tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text(f"people: {served[1]}\n")
    assert out(folder, "people", "value", "x", "--services", str(tmp_path / "other.yml")) == "x\n"
    result = mesh("call", "people", "value", "x", cwd=folder, MESH_SERVICES=str(tmp_path / "other.yml"))
    assert result.stdout == "x\n"


def test_a_remote_exception_is_one_line(folder: Path) -> None:
    line = failed(mesh("call", "users", "fail", cwd=folder), 1)
    assert line == (
        "mesh: users: fail raised RuntimeError: first line second line (--debug shows the remote traceback)"
    )


@pytest.mark.parametrize(
    "arguments", [["--debug", "call", "users", "fail"], ["call", "users", "fail", "--debug"]]
)
def test_debug_shows_the_remote_traceback(folder: Path, arguments: list[str]) -> None:
    result = mesh(*arguments, cwd=folder)
    assert result.returncode == 1
    assert 'raise RuntimeError("first line\\nsecond line")' in result.stderr
    assert result.stderr.count("The remote traceback") == 1


def test_an_unknown_method_names_the_nearest(folder: Path) -> None:
    assert "no method 'gett'; did you mean 'get'?" in failed(mesh("call", "users", "gett", cwd=folder), 1)


def test_wrong_arguments_for_the_method(folder: Path) -> None:
    assert "TypeError" in failed(mesh("call", "users", "add", "1", cwd=folder), 1)


def test_an_unknown_service_names_the_nearest(folder: Path) -> None:
    line = failed(mesh("call", "user", "get", cwd=folder), 3)
    assert "no service 'user'" in line and "did you mean 'users'?" in line


def test_a_dead_host(folder: Path) -> None:
    endpoint = nobody()
    assert endpoint in failed(mesh("call", endpoint, "get", "--timeout", "0.5", cwd=folder), 3)


def test_a_host_without_an_address(folder: Path) -> None:
    quick = {"RES_OPTIONS": "timeout:1 attempts:1", "LOCALDOMAIN": ""}
    command = ["call", "tcp://no-such-host.invalid:1", "get", "--timeout", "6"]
    assert "host 'no-such-host.invalid' can't be resolved" in failed(mesh(*command, cwd=folder, **quick), 3)


def test_a_method_that_takes_too_long(folder: Path, served: Served) -> None:
    line = failed(mesh("call", "users", "nap", "30", "--timeout", "0.5", cwd=folder), 3)
    assert served[1] in line and "'nap' after 0.5 s" in line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["users", "add", "-j", "1", "abc"], "argument 2 is not JSON: abc"),
        (["users", "get", "-j", "--kw", "a={"], "--kw a is not JSON: {"),
        (["users", "get", "--kw", "a"], "--kw 'a' is not of the form NAME=VALUE"),
        (["users", "get", "--kw", "a=1", "--kw", "a=2"], "--kw a is given twice"),
        (["users", "--kw", "a=1"], "--kw needs a METHOD"),
        (["users", "--key", "a"], "--key needs a METHOD"),
        (["users", "--idempotent"], "--idempotent needs a METHOD"),
        (["users", "--retries", "0"], "--retries needs a METHOD"),
        (["users", "get", "--timout", "3"], "no option --timout: did you mean --timeout?"),
        (["users", "get", "-x"], "an ARG that begins with - goes after --"),
        (["users", "get", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["users", "get", "--timeout", "-1"], "'-1' is not a number of seconds"),
        ([], "Missing argument 'SERVICE'"),
        (["users:4242", "get"], "did you mean 'tcp://users:4242'?"),
        (["users", "value", "-j", "18446744073709551616"], "integer of more than 64 bits"),
        (["users", "value", "-j", "[" * 1500 + "]" * 1500], "nested more than 1000 levels deep"),
        (["users", "value", "-j", "[" * 100_000], "nested too deeply"),
        (["users", "get", "--services", "none.yml"], "none.yml: no such file"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], part: str) -> None:
    assert part in failed(mesh("call", *arguments, cwd=folder), 2)


def test_what_is_said_of_a_text_that_is_no_json_works_when_it_is_pasted(folder: Path) -> None:
    texts = ['he said "hi"\\, it\'s', "line\nfeed  $HOME", "é", ""]
    typed = []
    for text in texts:
        line = failed(mesh("call", "users", "echo", "-j", "--kw", f"text={text}", cwd=folder), 2)
        said = re.search("a string needs quotes: (.*), or leave out -j", line)
        assert said, line
        typed.append(said[1])
    command = f"exec {shlex.join(MESH)} call users echo -j {' '.join(typed)} --kw text={typed[0]}"
    done = shell(["sh", "-c", command], "", folder)
    assert json.loads(done.stdout) == {"args": texts, "kwargs": {"text": texts[0]}}, done


def test_a_typo_in_the_registry(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "services.yml"
    file.write_text("a: tcp://127.0.0.1:1\nusers: {adress: tcp://127.0.0.1:1}\n")
    line = failed(mesh("call", "users", "get", "--services", str(file), cwd=folder), 2)
    assert f"{file}:2" in line and "'address'" in line


def test_an_argument_that_is_not_utf_8(folder: Path) -> None:
    line = failed(mesh("call", "users", "value", os.fsdecode(b"\xff"), cwd=folder), 2)
    assert "argument 1 is not UTF-8" in line


def closed(process: Process) -> int:
    return process.stdout.count("ticks closed")


def test_ctrl_c_during_a_stream_ends_it_at_the_server(folder: Path, served: Served) -> None:
    before = closed(served[0])
    with start("call", "users", "ticks", cwd=folder) as process:
        process.wait_for("^2$")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr == ""
    eventually(lambda: closed(served[0]) > before, what="the end of the generator")


def test_ctrl_c_while_waiting(folder: Path, served: Served) -> None:
    before = served[0].stdout.count("napping")
    with start("call", "users", "nap", "20", cwd=folder) as process:
        eventually(lambda: served[0].stdout.count("napping") > before, what="the call")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert (process.stdout, process.stderr) == ("", "")


def test_a_closed_pipe_ends_the_stream_at_the_server(folder: Path, served: Served) -> None:
    before = closed(served[0])
    env = {**os.environ, **environment()}
    with Popen(
        [*DIES_WITH_PARENT, *MESH, "call", "users", "ticks"], cwd=folder, env=env, stdout=PIPE, stderr=PIPE
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""
    eventually(lambda: closed(served[0]) > before, what="the end of the generator")


def test_a_closed_pipe_ends_a_stream_that_is_silent(folder: Path, served: Served) -> None:
    before = closed(served[0])
    env = {**os.environ, **environment()}
    command = [*MESH, "call", "users", "ticks", "--timeout", "60", "9", "50"]
    with Popen([*DIES_WITH_PARENT, *command], cwd=folder, env=env, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""
    eventually(lambda: closed(served[0]) > before, what="the end of the generator")


def test_items_come_one_by_one_into_a_pipe(folder: Path) -> None:
    env = {**os.environ, **environment()}
    command = [*MESH, "call", "users", "ticks", "--timeout", "60", "2", "30"]
    with Popen([*DIES_WITH_PARENT, *command], cwd=folder, env=env, stdout=PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"0\n"
        process.kill()


def test_a_server_that_is_killed_fails_the_call_at_once(folder: Path) -> None:
    with (
        serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (server, endpoint),
        start("call", endpoint, "nap", "50", "--timeout", "60", cwd=folder) as process,
    ):
        server.wait_for("napping")
        server.kill()
        assert process.wait() == 3
        assert endpoint in process.stderr and process.stderr.count("\n") == 1


def test_in_a_terminal_of_60_columns(folder: Path) -> None:
    for arguments in (["users"], ["users", "echo", "a" * 20, "b" * 20, "c" * 20]):
        with Terminal([*MESH, "call", *arguments], columns=60, cwd=folder, NO_COLOR="1") as terminal:
            assert terminal.wait() == 0
            assert max(map(len, terminal.shown.splitlines())) <= 60
    with Terminal([*MESH, "call", "users", "value", "\x1b[31mred"], columns=60, cwd=folder) as terminal:
        assert terminal.wait() == 0
        assert terminal.shown == "\\x1b[31mred\n"


def test_ctrl_c_in_a_terminal(folder: Path) -> None:
    with Terminal([*MESH, "call", "users", "ticks"], columns=60, cwd=folder) as terminal:
        terminal.wait_for("1\n")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.shown and "KeyboardInterrupt" not in terminal.shown
