"""Commands that serve coroutines: on asyncio as it is, in processes, with threads, at signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesh import connect
from tests.e2e.commands import ANY_PORT, failed, mesh, serving

APP = """
import asyncio
import os
import socket
import threading


class Users:
    async def get(self, number):
        await asyncio.sleep(0)
        return [number, type(asyncio.get_running_loop()).__module__, os.getpid()]

    async def count(self, number):
        for one in range(number):
            yield one

    def where(self):
        return threading.current_thread().name

    async def nap(self, seconds):
        print("napping", flush=True)
        await asyncio.sleep(seconds)
        return "rested"

    async def patched(self):
        return socket.socket.__module__ != "socket"


class Plain:
    def get(self, number):
        return number


def made():
    return type("Made", (), {"get": Users.get})()


service = made()
users = Users()
table = {"get": users.get, "where": users.where}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "loop"),
    [
        ((), "asyncio"),
        (("--loop", "asyncio"), "asyncio"),
        (("--loop", "uvloop"), "uvloop"),
        (("--processes", "2"), "asyncio"),
        (("--processes", "2", "--loop", "uvloop"), "uvloop"),
        (("--threads", "2"), "asyncio"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_it_serves_coroutines(folder: Path, arguments: tuple[str, ...], loop: str) -> None:
    with (
        serving("app:Users", "--bind", ANY_PORT, *arguments, cwd=folder) as (process, endpoint),
        connect(endpoint, timeout=30) as client,
    ):
        number, module, pid = client.get(3)
        assert number == 3 and module.startswith(loop)
        assert (pid == process.pid) is ("--processes" not in arguments)
        assert list(client.count(300)) == list(range(300))
        assert client.where().startswith("mesh handlers") is ("--threads" in arguments)
        assert client.patched() is False
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.describe()
        assert "Traceback" not in process.stderr and "never" not in process.stderr


LOADS = """
import sys
from mesh.cli.serving import Plan, _make_server
_make_server(Plan("app:Users", None, None))
print([name for name in ("asyncio", "gevent") if name in sys.modules])
"""


def test_gevent_is_not_loaded_for_it(folder: Path) -> None:
    command = [sys.executable, "-c", LOADS]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "['asyncio']\n", ran.stdout + ran.stderr


def test_a_dict_of_bound_methods_is_served_as_it_is(folder: Path) -> None:
    with (
        serving("app:table", "--bind", ANY_PORT, cwd=folder) as (_, endpoint),
        connect(endpoint, timeout=30) as client,
    ):
        number, module, _ = client.get(3)
        assert number == 3 and module.startswith("asyncio")
    line = failed(mesh("serve", "app:table", "--bind", ANY_PORT, "--loop", "gevent", cwd=folder), 2)
    assert "get is a coroutine method (async def)" in line and "--loop asyncio" in line


def test_plain_code_runs_on_asyncio_where_that_is_said(folder: Path) -> None:
    with (
        serving("app:Plain", "--bind", ANY_PORT, "--loop", "asyncio", cwd=folder) as (_, endpoint),
        connect(endpoint, timeout=30) as client,
    ):
        assert client.get(3) == 3


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain(folder: Path, loop: str, number: signal.Signals) -> None:
    with (
        serving("app:Users", "--bind", ANY_PORT, "--loop", loop, cwd=folder) as (process, endpoint),
        connect(endpoint, timeout=30) as client,
    ):
        call = client.nap.future(0.5)
        process.wait_for("napping")
        process.signal(number)
        assert call.result() == "rested"
        assert process.wait() == (130 if number == signal.SIGINT else 0), process.describe()


def test_a_drain_that_is_over_cuts_off(folder: Path) -> None:
    with (
        serving("app:Users", "--bind", ANY_PORT, "--drain", "0.2", cwd=folder) as (process, endpoint),
        connect(endpoint, timeout=30) as client,
    ):
        call = client.nap.future(60)
        process.wait_for("napping")
        process.signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 1
        assert "1 calls still ran after 0.2 s and are given up: 'nap'" in process.stderr
        with pytest.raises(ConnectionError):
            call.result()


def test_gevents_loop_refuses_coroutines_in_one_line(folder: Path) -> None:
    for target, arguments in (("app:Users", ("--loop", "gevent")), ("app:service", ())):
        result = mesh("serve", target, "--bind", ANY_PORT, *arguments, cwd=folder)
        line = failed(result, 2)
        assert "is a coroutine method (async def)" in line and "--loop asyncio" in line


def test_an_unknown_loop_and_one_that_is_not_installed(folder: Path) -> None:
    result = mesh("serve", "app:Users", "--loop", "trio", cwd=folder)
    assert result.returncode == 2 and "'trio' is not one of" in result.stderr
    (folder / "uvloop.py").write_text("raise ImportError('not for this machine')")
    result = mesh("serve", "app:Users", "--bind", ANY_PORT, "--loop", "uvloop", cwd=folder)
    assert "pip install 'zeromesh[uvloop]'" in failed(result, 2)
