"""How `mesh serve` ends whatever its handlers do, and what it says of the calls that it waits for."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.commands import ANY_PORT, MESH, Terminal, endpoint_of, mesh, serving, start
from tests.helpers.processes import eventually

ODD = '''
import asyncio
import ctypes
import multiprocessing
import os
import signal
import threading
import time

from tests.helpers.computing import compute_a_moment


def forever():
    """Python code that never returns."""
    print("running", flush=True)
    while True:
        compute_a_moment()


def without_errors():
    """As forever, where the program has a standard error of its own, as many loggers do."""
    import sys

    class Quiet:
        def write(self, text):
            return len(text)

        def flush(self):
            pass

    sys.stderr = Quiet()
    forever()


def in_c():
    """A C function that never returns, in which no signal is heard."""
    libc, mutex = ctypes.CDLL(None), (ctypes.c_char * 128)()
    libc.pthread_mutex_lock(mutex)
    print("running", flush=True)
    libc.pthread_mutex_lock(mutex)


def asleep():
    """It waits for what never comes."""
    print("running", flush=True)
    threading.Event().wait()


async def _stubborn():
    print("running", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass


def stubborn():
    """A coroutine that no cancellation ends."""
    return _stubborn()


async def _task_stays():
    asyncio.create_task(_stubborn()).add_done_callback(print)
    await asyncio.sleep(0)


def leaves_a_task():
    """The same, of which no server knows."""
    return _task_stays()


def leaves_a_thread():
    """A thread that no program ends without."""
    threading.Thread(target=time.sleep, args=(600,), name="left", daemon=False).start()
    print("running", flush=True)


def terminated():
    codes = []
    for pause in (0.0, 0.0, 0.1):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(pause)
        child.terminate()
        child.join(20)
        codes.append(child.exitcode)
    return codes


def handlers():
    """What a child has for the signals that end its parent."""
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, repr([signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)]).encode())
        os._exit(0)
    return os.read(reader, 1000).decode()
'''


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with odd.py."""
    path = tmp_path_factory.mktemp("odd")
    (path / "odd.py").write_text(ODD)
    return path


TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
# Those that compute come last: they slow down the others.
CASES = [
    ("asleep", "--threads=2", TERM, 1, "given up: 'asleep' for"),
    ("asleep", "--pool-size=5", INT, 1, "given up: 'asleep' for"),
    ("in_c", "--pool-size=5", HUP, 1, "in the midst of 1 calls: 'in_c' for"),
    ("in_c", "--threads=2", TERM, 1, "given up: 'in_c' for"),
    ("leaves_a_thread", "--threads=2", TERM, 0, "threads of the program's own still run: left"),
    ("in_c", "--loop=uvloop", TERM, 1, "in the midst of 1 calls: 'in_c' for"),
    ("stubborn", "--loop=asyncio", TERM, 1, "handlers that were cancelled and go on: 'stubborn' for"),
    ("leaves_a_task", "--loop=uvloop", TERM, 0, "ended though the main thread still runs: "),
    ("leaves_a_thread", "--pool-size=2", INT, 130, ""),
    ("forever", "--threads=2", HUP, 1, "given up: 'forever' for"),
    ("forever", "--processes=2", TERM, 1, "in the midst of 1 calls: 'forever' for"),
]


def test_it_ends_whatever_its_handlers_do(odd: Path) -> None:
    """All of them at the same time, for each takes the drain and two seconds."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(start("serve", "odd", "--bind", ANY_PORT, "--drain", "0.5", how, cwd=odd))
            for _, how, *_ in CASES
        ]
        for (method, *_), server in zip(CASES, servers, strict=True):
            stack.enter_context(start("call", endpoint_of(server), method, "--timeout", "60", cwd=odd))
        for server in servers:
            server.wait_for("running")
        for (_, _, number, _, _), server in zip(CASES, servers, strict=True):
            os.killpg(server.pid, number)
        for (method, how, _, code, said), server in zip(CASES, servers, strict=True):
            assert server.wait() == code, (method, how, server.describe())
            assert said in server.stderr, (method, how, server.describe())
            assert code != 1 or "from 127.0.0.1" in server.stderr, server.describe()


@pytest.mark.parametrize("how", ["--processes=1", "--processes=2"])
def test_with_no_time_to_drain_it_gives_up_at_once_what_runs(folder: Path, how: str) -> None:
    options = ["--bind", ANY_PORT, "--drain", "0", how]
    with (
        serving("users:Users", *options, cwd=folder) as (server, endpoint),
        start("call", endpoint, "nap", "60", cwd=folder) as call,
    ):
        server.wait_for("napping")
        server.signal(TERM)
        assert server.wait(timeout=20) == 1
        assert "given up: 'nap' for" in server.stderr
        assert call.wait() == 3


def test_it_says_whom_it_waits_for(folder: Path) -> None:
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (server, endpoint), ExitStack() as stack:
        # On a busy machine the second begins long after the first.
        calls = [stack.enter_context(start("call", endpoint, "nap", "4", cwd=folder)) for _ in range(2)]
        eventually(lambda: server.stdout.count("napping") == 2, what="both calls")
        server.signal(TERM)
        server.wait_for(
            r"Users: waits for 2 calls, for at most 25 s: 'nap' for [\d.]+ s from 127.0.0.1; 'nap' for "
        )
        assert [call.wait() for call in calls] == [0, 0]
        assert server.wait() == 0
        assert "given up" not in server.stderr


def test_a_second_ctrl_c_ends_it_also_where_a_handler_is_in_c(odd: Path) -> None:
    with (
        serving("odd", "--bind", ANY_PORT, cwd=odd) as (server, endpoint),
        start("call", endpoint, "in_c", cwd=odd),
    ):
        server.wait_for("running")
        server.signal(INT)
        time.sleep(0.3)
        assert server.returncode is None
        server.signal(INT)
        assert server.wait(timeout=10) == 130


@pytest.mark.parametrize("how", ["--threads=2", "--pool-size=5"])
def test_the_children_of_a_handler_end_at_a_signal(odd: Path, how: str) -> None:
    with serving("odd", "--bind", ANY_PORT, how, cwd=odd) as (server, endpoint):
        result = mesh("call", endpoint, "terminated", "-j", cwd=odd)
        assert result.stdout == "[-15, -15, -15]\n", result
        handlers = mesh("call", endpoint, "handlers", cwd=odd)
        assert handlers.stdout == f"{[signal.SIG_DFL, signal.SIG_DFL]}\n", handlers
        server.signal(TERM)
        assert server.wait() == 0
        assert "finishing" in server.stderr


@pytest.mark.parametrize("how", ["--processes=1", "--processes=2"])
def test_a_terminal_that_closes_lets_the_running_call_finish(folder: Path, how: str) -> None:
    command = [*MESH, "serve", "users:Users", "--bind", ANY_PORT, how]
    with Terminal(command, columns=100, cwd=folder) as terminal:
        terminal.wait_for("serving Users on tcp://")
        terminal.wait_for("\n")
        endpoint = terminal.shown.split("serving Users on ")[1].split()[0]
        with start("call", endpoint, "nap", "1", cwd=folder) as call:
            terminal.wait_for("napping\n")  # its end is written by itself: not to a terminal that is gone
            terminal.close()
            assert (call.wait(), call.stdout) == (0, "rested\n"), call.stderr
        assert terminal.end() == 0


@pytest.mark.parametrize("how", ["--processes=1", "--processes=2"])
def test_one_that_nohup_has_started_stays(folder: Path, how: str) -> None:
    command = ["nohup", *MESH, "serve", "users:Users", "--bind", ANY_PORT, how]
    with Terminal(command, columns=100, cwd=folder) as terminal:
        path = folder / "nohup.out"
        terminal.wait_for("nohup.out")
        eventually(lambda: path.exists() and "serving Users on" in path.read_text(), what="the server")
        endpoint = path.read_text().rpartition("serving Users on ")[2].split()[0]
        path.unlink()
        terminal.close()
        time.sleep(0.3)
        assert mesh("call", endpoint, "value", "x", cwd=folder).stdout == "x\n"
        terminal.kill(TERM)
        assert terminal.end() == 0


def test_it_ends_also_where_the_program_has_a_standard_error_of_its_own(odd: Path) -> None:
    with (
        serving("odd", "--drain", "0", cwd=odd) as (server, endpoint),
        start("call", endpoint, "without_errors", cwd=odd),
    ):
        server.wait_for("^running$")
        server.signal(TERM)
        assert server.wait(timeout=20) == 1
