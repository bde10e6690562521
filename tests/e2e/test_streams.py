"""Commands whose standard output is closed or can't be written."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import BROKEN, MESH, UNREAD, environment, mesh, shell
from tests.helpers.peers import LOCAL, free_port
from tests.helpers.processes import Process, Result, eventually

NOBODY_READS = "mesh: nobody reads standard output any more; serving without it"


@pytest.mark.parametrize(("end", "reason"), BROKEN)
@pytest.mark.parametrize(
    "arguments", [["call", "users", "ticks", "5", "0"], ["call", "users", "long"], ["inspect", "users"],
                  ["services", "-j"], ["--version"], ["call", "--help"]]
)  # fmt: skip
@pytest.mark.usefixtures("served")
def test_a_command_says_that_it_can_t_print(
    folder: Path, end: str, reason: str, arguments: list[str]
) -> None:
    result = shell([*MESH, *arguments], end, folder)
    assert result.returncode == 2, result
    assert result.stderr == f"mesh: standard output can't be written: {reason}\n"


@pytest.mark.usefixtures("served")
def test_what_prints_nothing_needs_no_output(folder: Path) -> None:
    assert shell([*MESH, "call", "users", "nothing"], ">&-", folder) == Result(0, "", "")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("end", ["2>&-", "<&-"])
def test_the_other_streams_may_be_closed(folder: Path, end: str) -> None:
    assert shell([*MESH, "call", "users", "add", "1", "2"], end, folder) == Result(0, "12\n", "")
    assert shell([*MESH, "call", "users", "fail"], "2>&-", folder) == Result(1, "", "")


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(("end", "reason"), BROKEN)
def test_a_server_runs_on_without_output(folder: Path, end: str, reason: str, processes: str) -> None:
    endpoint = f"{LOCAL}:{free_port()}"
    command = [*MESH, "serve", "users:Users", "--bind", endpoint, "--processes", processes]
    with Process(["sh", "-c", f'exec "$@" {end}', "sh", *command], cwd=folder, env=environment()) as server:
        line = server.wait_for("^mesh: .*")[0]
        assert line == f"mesh: standard output can't be written: {reason}; serving without it"
        # Its handler prints, too.
        eventually(lambda: mesh("call", endpoint, "nap", "0", cwd=folder).stdout == "rested\n")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_server_runs_on_when_nobody_reads_its_output(folder: Path, processes: str) -> None:
    endpoint = f"{LOCAL}:{free_port()}"
    command = [*MESH, "serve", "users:Users", "--bind", endpoint, "--processes", processes]
    with Process([sys.executable, "-c", UNREAD, *command], cwd=folder, env=environment()) as server:
        assert server.wait_for("^mesh: .*")[0] == NOBODY_READS
        eventually(lambda: mesh("call", endpoint, "nap", "0", cwd=folder).stdout == "rested\n")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.stderr


@pytest.mark.parametrize("more", [["users:Users"], ["users:Users", "--processes", "2"], ["ipc://nobody"]])
def test_a_worker_runs_on_when_nobody_reads_its_output(folder: Path, more: list[str]) -> None:
    command = [sys.executable, "-m", "mesh.cli.register", "users", *more, "--hub", "ipc://no-hub"]
    with Process([sys.executable, "-c", UNREAD, *command], cwd=folder, env=environment()) as worker:
        assert worker.wait_for("^mesh: .*")[0] == NOBODY_READS
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.stderr
