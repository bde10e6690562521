"""Programs of one's own at SIGTERM and Ctrl-C: `run()` drains, and gives the signals back."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

import mesh
from tests.green.conftest import Connect, Program
from tests.helpers.processes import Process, eventually

TERM, INT = signal.SIGTERM, signal.SIGINT
BOTH = [TERM, INT]


def napping(
    program: Program, connect: Connect, way: str, method: str = "nap", seconds: float = 0.5
) -> tuple[Process, Any]:
    """A program in the midst of a call, and the answer to come."""
    process = program("signals", way)
    client = connect(process.wait_for(r"serving (\S+)")[1])
    client(method, 0.0)
    pending = getattr(client, method).future(seconds)
    eventually(lambda: process.stdout.count("napping") == 2, what="the call")
    return process, pending


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("way", ["plain-run", "patched-run", "plain-threads", "plain-inside"])
def test_the_running_call_is_answered(
    program: Program, connect: Connect, way: str, number: signal.Signals
) -> None:
    process, pending = napping(program, connect, way)
    process.signal(number)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0
    assert "Traceback" not in process.stderr, process.describe()
    assert "ended, put back True" in process.stdout
    assert ("left the block" in process.stdout) is (way == "plain-inside")


@pytest.mark.parametrize("number", BOTH)
def test_a_call_that_computes_is_answered_too(
    program: Program, connect: Connect, number: signal.Signals
) -> None:
    process, pending = napping(program, connect, "plain-run", "burn")
    process.signal(number)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0
    assert "ended, put back True" in process.stdout and "Traceback" not in process.stderr


@pytest.mark.parametrize("number", BOTH)
def test_one_that_is_idle_ends_at_once(program: Program, number: signal.Signals) -> None:
    process = program("signals", "plain-run")
    process.wait_for("serving")
    time.sleep(0.1)
    process.signal(number)
    assert process.wait(timeout=10) == 0
    assert "ended, put back True" in process.stdout


@pytest.mark.parametrize(
    ("first", "second", "code"), [(INT, INT, -INT), (TERM, INT, -INT), (TERM, TERM, -TERM)]
)
def test_a_second_one_ends_it(
    program: Program, connect: Connect, first: signal.Signals, second: signal.Signals, code: int
) -> None:
    process, pending = napping(program, connect, "plain-run", seconds=60)
    process.signal(first)
    time.sleep(0.4)
    assert process.returncode is None
    process.signal(second)
    assert process.wait(timeout=10) == code
    with pytest.raises(mesh.LostRemote):
        pending.result(timeout=20)


def test_a_sigterm_that_comes_twice_at_once_counts_once(program: Program, connect: Connect) -> None:
    process, pending = napping(program, connect, "plain-run")
    process.signal(TERM)
    process.signal(TERM)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0


def test_it_drains_no_longer_than_it_is_told(program: Program, connect: Connect) -> None:
    process, pending = napping(program, connect, "plain-short", seconds=60)
    process.signal(TERM)
    assert process.wait(timeout=10) == 0
    with pytest.raises(mesh.LostRemote):
        pending.result(timeout=20)
    assert "1 calls still ran after 0.2 s and are given up: 'nap' for" in process.stderr
    assert "from 127.0.0.1" in process.stderr


@pytest.mark.parametrize(
    ("way", "number", "code", "said"),
    [
        ("gevent-beside", TERM, -TERM, ""),
        ("gevent-beside", INT, 0, "interrupted"),
        ("gevent-greenlet", TERM, -TERM, ""),
        ("gevent-greenlet", INT, -INT, ""),
    ],
)
def test_a_program_that_goes_on_gets_the_signal_after_the_drain(
    program: Program, connect: Connect, way: str, number: signal.Signals, code: int, said: str
) -> None:
    process, pending = napping(program, connect, way)
    process.signal(number)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == code, process.describe()
    assert said in process.stdout


@pytest.mark.parametrize(
    ("way", "number"), [("plain-own", TERM), ("gevent-gevents", TERM), ("gevent-gevents", INT)]
)
def test_a_handler_that_the_program_has_set_is_left_to_it(
    program: Program, connect: Connect, way: str, number: signal.Signals
) -> None:
    process, pending = napping(program, connect, way)
    process.signal(number)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0, process.describe()
    assert "its own" in process.stdout and "ended, put back True" in process.stdout


def test_the_other_signal_drains_where_one_is_the_programs(program: Program, connect: Connect) -> None:
    process, pending = napping(program, connect, "plain-own")
    process.signal(INT)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0, process.describe()
    assert "its own" not in process.stdout and "ended, put back True" in process.stdout


@pytest.mark.parametrize("way", ["plain-off", "plain-thread"])
def test_signals_are_the_programs_where_it_says_so_and_in_threads(
    program: Program, connect: Connect, way: str
) -> None:
    process, pending = napping(program, connect, way, seconds=60)
    process.signal(TERM)
    assert process.wait(timeout=10) == -TERM
    with pytest.raises(mesh.LostRemote):
        pending.result(timeout=20)


def test_ctrl_c_leaves_a_block_which_drains(program: Program, connect: Connect) -> None:
    process, pending = napping(program, connect, "plain-block")
    process.signal(INT)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0
    assert "ended, put back True" in process.stdout


@pytest.mark.parametrize("way", ["plain-run", "plain-threads"])
def test_the_children_of_a_handler_end_at_a_signal(program: Program, connect: Connect, way: str) -> None:
    process = program("signals", way, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    client = connect(process.wait_for(r"serving (\S+)")[1])
    assert client.terminated() == [-TERM] * 4
    pending = client.nap.future(0.3)
    process.wait_for("napping")
    process.signal(TERM)
    assert pending.result(timeout=20) == "rested"
    assert process.wait() == 0


@pytest.mark.parametrize("number", BOTH)
def test_a_puller_finishes_its_job(program: Program, number: signal.Signals) -> None:
    process = program("signals", "plain-puller")
    with mesh.Pusher(process.wait_for(r"serving (\S+)")[1]) as pusher:
        pusher.nap(0.5)
        process.wait_for("napping")
        process.signal(number)
        assert process.wait() == 0
    assert "rested" in process.stdout and "ended, put back True" in process.stdout
    assert "Traceback" not in process.stderr
