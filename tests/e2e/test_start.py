"""Signals that come before a command serves do what they do later on, and are told."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ANY_PORT, MESH, Terminal, environment, start
from tests.helpers.processes import Process, eventually

SLOW = """
import os
import signal
import subprocess
import sys
import time


def get():
    return 1


def child():
    pid = os.fork()
    if not pid:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    print("the child ended by", os.WTERMSIG(os.waitpid(pid, 0)[1]), flush=True)


print("importing", flush=True)
try:
    child()
    time.sleep(60)
except BaseException:
    if "stubborn" in sys.argv[-1]:
        pass
    else:
        raise
"""
FIRST = """
import os, signal, sys
from mesh.cli import entry

assert not {"click", "zmq", "gevent", "yaml", "msgpack"} & set(sys.modules), sys.modules.keys()
hold = entry.hold

def hold_and_be_told():
    hold()
    os.kill(os.getpid(), int(os.environ["NUMBER"]))

entry.hold = hold_and_be_told
sys.exit(getattr(entry, os.environ["ENTRY"])())
"""
ENTRIES = {
    "mesh": ["--debug", "serve", "users:Users", "--bind", ANY_PORT],
    "mesh_register": ["users", "users:Users", "--hub", "tcp://127.0.0.1:9"],
}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slow.py, which takes long to import."""
    path = tmp_path_factory.mktemp("slow")
    (path / "slow.py").write_text(SLOW)
    return path


@pytest.mark.parametrize(("number", "code"), [("SIGHUP", 0), ("SIGTERM", 0), ("SIGINT", 130)])
def test_in_the_midst_of_an_import(slow: Path, number: str, code: int) -> None:
    with start("serve", "slow", "--bind", ANY_PORT, cwd=slow) as server:
        server.wait_for("the child ended by 15")
        server.signal(signal.Signals[number])
        assert server.wait(timeout=20) == code
        told = "" if code else f"mesh: ended by {number} before anything was served\n"
        assert server.stderr == told


def test_where_the_import_goes_on_all_the_same_it_ends_as_it_serves(slow: Path) -> None:
    with start("serve", "slow", "--bind", ANY_PORT, "--service", "stubborn", cwd=slow) as server:
        server.wait_for("the child ended by 15")
        server.signal(signal.SIGHUP)
        assert server.wait(timeout=20) == 0
        assert "finishing the running calls" in server.stderr


@pytest.mark.parametrize("entry", ENTRIES)
def test_at_the_first_moment(folder: Path, entry: str) -> None:
    command = [sys.executable, "-c", FIRST, *ENTRIES[entry]]
    with Process(command, cwd=folder, env=environment(ENTRY=entry, NUMBER="1")) as process:
        assert process.wait() == 0
        prog = entry.replace("_", "-")
        assert process.stderr == f"{prog}: ended by SIGHUP before anything was served\n"


def test_one_that_nohup_has_started_stays(slow: Path) -> None:
    with Terminal(["nohup", *MESH, "serve", "slow", "--bind", ANY_PORT], columns=100, cwd=slow) as terminal:
        path = slow / "nohup.out"
        eventually(lambda: path.exists() and "the child ended by" in path.read_text(), what="the import")
        terminal.close()
        terminal.kill(signal.SIGHUP)
        terminal.kill(signal.SIGTERM)
        assert terminal.end() == 0
        assert "ended by SIGTERM" in path.read_text()


def test_a_ctrl_c_at_the_first_moment_shows_no_traceback(folder: Path) -> None:
    command = [sys.executable, "-c", FIRST, "call", "users", "get"]
    with Process(command, cwd=folder, env=environment(ENTRY="mesh", NUMBER="2")) as process:
        assert (process.wait(), process.stdout, process.stderr) == (130, "", "")
