"""`mesh serve`: what it tells, how it ends, and how it spreads over processes and threads."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import zmq
from zmq.devices import ThreadDevice

from mesh import connect
from tests.e2e.commands import ANY_PORT, MESH, failed, mesh, serving, shell, start
from tests.helpers.peers import LOCAL, free_port
from tests.helpers.processes import eventually


def call(endpoint: str, *arguments: str, cwd: Path) -> str:
    result = mesh("call", endpoint, *arguments, cwd=cwd)
    assert result.returncode == 0, result
    return result.stdout


def test_it_prints_one_line_with_the_real_endpoint(folder: Path) -> None:
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (process, endpoint):
        process.wait_for(r"\n\Z")  # what was seen of it may have been its beginning
        assert process.stdout == f"serving Users on {endpoint}\n"
        assert not endpoint.endswith(("*", ":0"))


def test_a_module_of_the_standard_library(folder: Path) -> None:
    with serving("urllib.parse", "--bind", ANY_PORT, "--service", "urls", cwd=folder) as (process, endpoint):
        assert process.stdout.startswith("serving urls on ")
        assert call(endpoint, "quote", "a b", cwd=folder) == "a%20b\n"


def test_several_endpoints_and_a_host_name(folder: Path, tmp_path: Path) -> None:
    ipc = f"ipc://{tmp_path}/s"
    with start("serve", "users:Users", "--bind", "tcp://localhost:*", "--bind", ipc, cwd=folder) as process:
        process.wait_for(f"on {ipc}$")
        tcp = process.wait_for(r"on (tcp://\S+:\d+)$")[1]
        for endpoint in (tcp, ipc):
            assert call(endpoint, "value", "x", cwd=folder) == "x\n"


def test_a_path_has_its_mode_and_is_gone_at_the_end(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    arguments = ("users:Users", "--bind", f"ipc://{path}", "--bind", ANY_PORT, "--mode", "0600")
    with start("serve", *arguments, cwd=folder) as process:
        process.wait_for(f"on ipc://{path}$")
        assert path.stat().st_mode & 0o777 == 0o600
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mode", "0666"], "--mode is for the path of a --bind ipc://PATH, and there is none"),
        (["--group", "www", "--bind", ANY_PORT], "--group is for the path of a --bind ipc://PATH"),
        (["--mode", "rw"], "'rw' is not the permissions of a file as chmod takes them, from 0600 to 0777"),
    ],
)
def test_a_mode_that_means_nothing(folder: Path, arguments: list[str], says: str) -> None:
    assert says in failed(mesh("serve", "users:Users", *arguments, cwd=folder), 2)


def test_the_registry_gives_each_server_its_address(folder: Path, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    file = tmp_path / "services.yml"
    file.write_text(f"twins: [{LOCAL}:{ports[0]}, {LOCAL}:{ports[1]}]\n")
    arguments = ("users:Users", "--service", "twins", "--services", str(file))
    with serving(*arguments, cwd=folder) as (_, first), serving(*arguments, cwd=folder) as (_, second):
        assert [first, second] == [f"{LOCAL}:{port}" for port in ports]
        line = failed(mesh("serve", *arguments, cwd=folder), 2)
        assert "none of the addresses of twins" in line and "in use already" in line


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_in_use(folder: Path, processes: str) -> None:
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (_, endpoint):
        result = mesh("serve", "users:Users", "--bind", endpoint, "--processes", processes, cwd=folder)
        line = failed(result, 2)
        assert endpoint in line and "in use already" in line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["userz:Users"], "no module 'userz'"),
        (["users:User"], "did you mean 'Users'?"),
        (["users.py:Users"], "for a file give its module: users:Users"),
        (["users:Users", "--processes", "2", "--bind", "ipc:///tmp/x"], "--processes needs tcp"),
        (["users:User", "--processes", "3", "--bind", ANY_PORT], "did you mean 'Users'?"),
        (["users:Users", "--bind", "4242"], "'4242' is no endpoint"),
        (["users:Users", "--hub", "127.0.0.1:1"], "did you mean 'tcp://127.0.0.1:1'?"),
        (["users:Users", "--threads", "0"], "'--threads': '0' is not a whole number from 1 up"),
        (["users:Users", "--processes", "1.5"], "'--processes': '1.5' is not a whole number from 1 up"),
        (["users:Users", "--heartbeat", "0"], "'0' is not a number of seconds above 0"),
        (["users:Users", "--max-message", "0"], "'0' is no number of bytes, such as 65536 or 64MiB"),
        (["users:Users", "--max-message", "64MB"], "'64MB' is no number of bytes"),
        (["users:Users", "--max-elements", "0"], "'0' is not a whole number from 1 up"),
        (["users:Users", "--service", ""], "'' is no name of a service: a name is 1 to 62"),
        (["users:Users", "--service", "a b"], "'a b' is no name of a service: a name is 1 to 62"),
        (["users:Users", "--service", "mmi.service"], "belong to the hubs themselves"),
        (["users:Users", *["--hub", f"{LOCAL}:1"] * 2], f"{LOCAL}:1 is given twice"),
        (["users:Users", *["--connect", f"{LOCAL}:1"] * 2], f"{LOCAL}:1 is given twice"),
        (["users:Users", "--mdp", "0.1"], "--mdp is for hubs: give --hub EP, too"),
        (["users:Users", "--label", "version"], "'version' is not KEY=VALUE, such as version=2"),
        (["users:Users", "--label", "Version=2"], "'Version' is no name of a label"),
        (["users:Users", *["--label", "zone=eu"] * 2], "'zone' is given twice"),
        (["users:Users", "--log-level", "loud"], "'loud' is not one of 'debug', 'info'"),
        (["users:Users", "--log-format", "xml"], "'xml' is not one of 'text', 'json'"),
        ([], "Missing argument 'TARGET'"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], part: str) -> None:
    assert part in failed(mesh("serve", *arguments, cwd=folder), 2)


@pytest.mark.parametrize("how", ["--processes=1", "--processes=2", "--threads=2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_the_running_call_finish(
    folder: Path, how: str, number: signal.Signals, code: int
) -> None:
    with serving("users:Users", "--bind", ANY_PORT, how, cwd=folder) as (server, endpoint):
        with start("call", endpoint, "nap", "1", cwd=folder) as process:
            server.wait_for("napping")
            os.killpg(server.pid, number)
            at_once = "SIGINT (Ctrl-C)" if number == signal.SIGTERM else "Ctrl-C again"
            eventually(lambda: f"the running calls; {at_once} stops at once\n" in server.stderr)
            assert (process.wait(), process.stdout) == (0, "rested\n"), process.stderr
        assert server.wait() == code


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_ctrl_c_does_not_wait(folder: Path, processes: str) -> None:
    arguments = ("users:Users", "--bind", ANY_PORT, "--processes", processes)
    with (
        serving(*arguments, cwd=folder) as (server, endpoint),
        start("call", endpoint, "burn", "60", cwd=folder) as process,
    ):
        server.wait_for("burning")
        server.signal(signal.SIGINT)
        server.wait_for("Ctrl-C again stops at once")
        server.signal(signal.SIGINT)
        assert server.wait() == 130
        assert process.wait() == 3


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_sigterm_does_nothing_more(folder: Path, processes: str) -> None:
    arguments = ("users:Users", "--bind", ANY_PORT, "--processes", processes)
    with (
        serving(*arguments, cwd=folder) as (server, endpoint),
        start("call", endpoint, "nap", "1", cwd=folder) as process,
    ):
        server.wait_for("napping")
        server.signal(signal.SIGTERM)
        server.wait_for("stops at once")
        server.signal(signal.SIGTERM)
        assert (process.wait(), process.stdout) == (0, "rested\n"), process.stderr
        assert server.wait() == 0


def test_a_handler_that_waits_lets_others_run(folder: Path) -> None:
    with (
        serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (server, endpoint),
        start("call", endpoint, "nap", "60", cwd=folder),
    ):
        server.wait_for("napping")
        assert call(endpoint, "value", "x", cwd=folder) == "x\n"


def test_threads_run_handlers_in_native_threads(folder: Path) -> None:
    arguments = ("users:Users", "--bind", ANY_PORT, "--threads", "2")
    with (
        serving(*arguments, cwd=folder) as (server, endpoint),
        start("call", endpoint, "burn", "60", cwd=folder),
    ):
        server.wait_for("burning")
        assert call(endpoint, "thread", cwd=folder).strip() != "MainThread"


def test_what_one_message_may_be(folder: Path) -> None:
    options = ("--max-message", "64KiB", "--max-elements", "1000")
    with (
        serving("users:Users", "--bind", ANY_PORT, *options, cwd=folder) as (_, endpoint),
        connect(endpoint, timeout=10) as client,
    ):
        assert client.value("x" * 60_000) == "x" * 60_000
        with pytest.raises(ValueError, match="the limit is 65536"):
            client.value("x" * 65_530)
        with pytest.raises(ValueError, match="holds more than 1000 values"):
            client.value([0] * 1_000)


def pids(endpoint: str, most: int) -> set[int]:
    """The processes that answer, seen until there are `most` of them, by a new connection each time."""
    seen: set[int] = set()

    def look() -> bool:
        with connect(endpoint, timeout=20) as client:
            seen.add(client.pid())
        return len(seen) >= most

    eventually(look, what=f"{most} processes that answer")
    return seen


def test_processes_share_the_connections_and_are_replaced(folder: Path) -> None:
    arguments = ("users:Users", "--bind", ANY_PORT, "--processes", "2")
    with serving(*arguments, cwd=folder) as (server, endpoint):
        assert server.stdout.strip() == f"serving Users on {endpoint}"
        victim = pids(endpoint, most=2).pop()
        os.kill(victim, signal.SIGKILL)
        assert victim not in pids(endpoint, most=2)
        assert f"process {victim} was killed by SIGKILL" in server.stderr
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_stream_and_json_through_processes(folder: Path) -> None:
    arguments = ("users:Users", "--bind", ANY_PORT, "--processes", "2", "--service", "many")
    with serving(*arguments, cwd=folder) as (_, endpoint):
        assert call(endpoint, "ticks", "-j", "3", "0", cwd=folder) == "0\n1\n2\n"
        assert json.loads(call(endpoint, "-j", cwd=folder))["name"] == "many"


def test_connect_serves_a_plain_device(folder: Path) -> None:
    device = ThreadDevice(zmq.QUEUE, zmq.ROUTER, zmq.DEALER)
    clients = device.bind_in_to_random_port(LOCAL)
    workers = device.bind_out_to_random_port(LOCAL)
    device.start()
    with start("serve", "users:Users", "--connect", f"{LOCAL}:{workers}", cwd=folder) as server:
        server.wait_for(f"^serving Users through {LOCAL}:{workers}$")
        assert call(f"{LOCAL}:{clients}", "value", "x", cwd=folder) == "x\n"


def test_the_log_tells_a_remote_exception(folder: Path) -> None:
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (server, endpoint):
        assert mesh("call", endpoint, "fail", cwd=folder).returncode == 1
        assert "Users.fail raised" in server.stderr and "users.py" in server.stderr


def test_the_log_as_json_has_an_object_a_line(folder: Path) -> None:
    options = ("--log-format", "json", "--log-level", "warning")
    with serving("users:Users", "--bind", ANY_PORT, *options, cwd=folder) as (server, endpoint):
        said = mesh("call", endpoint, "fail", "--trace", cwd=folder)
        server.wait_for(r"\}\n")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        [line] = map(json.loads, server.stderr.splitlines())
        assert (line["level"], line["logger"]) == ("ERROR", "mesh.server")
        assert line["message"].startswith("Users.fail [TraceID: ") and "users.py" in line["message"]
        assert f"TraceID: {line['trace_id']}\n" in said.stderr


def test_standard_error_has_what_programs_ask_of_it(folder: Path) -> None:
    (folder / "loud.py").write_text(
        """
import sys

sys.stderr.buffer.write(b"bytes\\n")
sys.stderr.write(f"in {sys.stderr.encoding}, ")
sys.stderr.flush()


def done():
    sys.stderr.write("done\\n")
"""
    )
    with serving("loud", cwd=folder) as (server, endpoint):
        server.wait_for(r"^bytes\nin utf-8, ")
        assert mesh("call", endpoint, "done", cwd=folder).returncode == 0
        server.wait_for("done$")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = shell(["sh", "-c", command, "sh", *MESH, "serve", "urllib.parse"], "", tmp_path)
    assert "the current folder can't be used: No such file or directory; change to another" in failed(done, 2)
