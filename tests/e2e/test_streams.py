"""Commands whose standard output is closed or can't be written."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from mesh import connect
from tests.e2e.commands import BROKEN, MESH, UNREAD, environment, mesh, shell
from tests.helpers.peers import LOCAL, free_port, nobody
from tests.helpers.processes import DIES_WITH_PARENT, PATIENCE, Process, Result, eventually
from tests.hubs.commands import full_pipe

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


@contextmanager
def full(command: list[str], folder: Path) -> Iterator[Popen[bytes]]:
    """A server both of whose outputs take nothing any more."""
    reader, writer = full_pipe()
    env = {**os.environ, **environment()}
    with Popen([*DIES_WITH_PARENT, *command], cwd=folder, env=env, stdout=writer, stderr=writer) as process:
        os.close(writer)
        try:
            yield process
        finally:
            process.kill()
            os.close(reader)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_server_waits_for_nobody_who_reads_its_log(folder: Path, processes: str) -> None:
    endpoint = f"{LOCAL}:{free_port()}"
    command = [*MESH, "serve", "users:Users", "--bind", endpoint, "--processes", processes]
    with full(command, folder) as server, connect(endpoint, timeout=PATIENCE) as client:
        assert client.add(1, 2) == 3
        for _ in range(3):
            with pytest.raises(RuntimeError):  # which is logged
                client.fail()
        assert client.add(1, 2) == 3
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0


def test_a_sidecar_waits_for_nobody_who_reads_its_log(folder: Path) -> None:
    command = [sys.executable, "-m", "mesh.cli.register", "users", "ipc://nobody", "--hub", nobody()]
    with full(command, folder) as sidecar:
        status = Path(f"/proc/{sidecar.pid}/status")
        eventually(lambda: _catches(status.read_text(), signal.SIGTERM))
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(PATIENCE) == 0


def _catches(status: str, number: int) -> bool:
    caught = int(status.partition("\nSigCgt:\t")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_a_signal_that_came_before_the_start_waits_for_nobody_who_reads_either(folder: Path) -> None:
    code = (
        "import os, signal, sys; from mesh.cli import entry; entry.hold();"
        " os.kill(os.getpid(), signal.SIGTERM); sys.exit(entry.mesh_register())"
    )
    command = [sys.executable, "-c", code, "users", "ipc://nobody", "--hub", nobody()]
    with full(command, folder) as sidecar:
        assert sidecar.wait(PATIENCE) == 0


@pytest.mark.usefixtures("served")
def test_what_is_written_in_part_is_no_success(folder: Path) -> None:
    """As on a disk that gets full, where Python's own streams take the part for the whole."""
    result = shell(
        [*MESH, "call", "users", "long"], "> cut", folder, before="export PYTHONUNBUFFERED=1; ulimit -f 40;"
    )
    assert result.returncode == 2, result
    assert result.stderr == "mesh: standard output can't be written: File too large\n"


@pytest.mark.usefixtures("served")
def test_a_pipe_that_was_made_non_blocking_gets_all(folder: Path) -> None:
    quick = "import os, sys; os.set_blocking(1, False); os.execvp(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", quick, *MESH, "call", "users", "long"]
    result = shell(command, "| (sleep 0.5; wc -c)", folder, before="export PYTHONUNBUFFERED=1;")
    assert result.stdout.strip() == "100000", result


@pytest.mark.usefixtures("served")
def test_a_fifo_that_is_open_for_both_ways_is_no_reader_that_went(folder: Path) -> None:
    os.mkfifo(folder / "both")
    result = shell([*MESH, "call", "users", "ticks", "3", "0.1"], ">&7", folder, before="exec 7<>both;")
    assert result == Result(0, "", "")


@pytest.mark.usefixtures("served")
def test_ctrl_c_ends_a_command_whose_reader_has_stopped(folder: Path) -> None:
    reader, writer = os.pipe()
    command = [*MESH, "call", "users", "ticks", "1000000", "0"]
    env = {**os.environ, **environment()}
    env.pop("PYTHONUNBUFFERED", None)
    with Popen([*DIES_WITH_PARENT, *command], cwd=folder, env=env, stdout=writer) as process:
        os.close(writer)
        try:
            eventually(
                lambda: Path(f"/proc/{process.pid}/wchan").read_text() in ("anon_pipe_write", "pipe_write")
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE) == 130
        finally:
            process.kill()
            os.close(reader)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_whatever_the_encoding(folder: Path, encoding: str) -> None:
    text = "é € \U0001f600"
    result = mesh("call", "users", "value", "-j", json.dumps(text), cwd=folder, PYTHONIOENCODING=encoding)
    assert json.loads(result.stdout) == text
