"""The parent of several processes: restarts, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.processes import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Backoff
from tests.helpers.processes import Process, eventually, python

PARENT = """
import os, signal, sys, time
from mesh.cli.processes import Supervisor

def work(lifeline):
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
    elif MODE != "default":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0 if MODE != "cuts" else 1))
    if MODE == "drains":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("asked", flush=True)))
    print(f"child {os.getpid()}", flush=True)
    if MODE == "fails":
        return 2
    lifeline.ready("a note")
    if MODE == "short":
        return 7
    while True:
        time.sleep(0.01)

MODE = sys.argv[1]
if MODE == "no third":
    fork, number = os.fork, 0

    def fork_but_once():
        global number
        number += 1
        if number == 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    os.fork = fork_but_once
sys.exit(Supervisor(2, work, lambda note: print("ready", note, flush=True), drain=float(sys.argv[2])).run())
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[object]:
    """A function that starts a parent with two children, of one of the modes above."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    started: list[Process] = []

    def start(mode: str, drain: float = 20.0) -> Process:
        path = os.pathsep.join(p for p in sys.path if p)
        started.append(python(script, mode, str(drain), env={"PYTHONPATH": path}))
        return started[-1]

    yield start
    for process in started:
        process.close()


def children(process: Process) -> list[int]:
    return [int(line.split()[1]) for line in process.stdout.splitlines() if line.startswith("child ")]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def both(process: Process) -> list[int]:
    return eventually(lambda: len(children(process)) >= 2 and children(process), what="two children")


def test_the_pause_grows_while_a_child_dies_young() -> None:
    backoff = Backoff()
    pauses = [backoff.pause(0, lived=0.5) for _ in range(12)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert backoff.pause(1, lived=0.5) == FIRST_PAUSE
    assert backoff.pause(0, lived=STEADY) == FIRST_PAUSE


def test_the_others_start_once_the_first_is_ready(supervised) -> None:
    process = supervised("serves")
    both(process)
    assert process.stdout.index("ready a note") < process.stdout.rindex("child ")
    assert process.stdout.count("ready") == 1


def test_sigterm_ends_all_with_0(supervised) -> None:
    process = supervised("serves")
    pids = both(process)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not any(map(alive, pids))


def test_ctrl_c_ends_all_with_130(supervised) -> None:
    process = supervised("serves")
    both(process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130


def test_a_child_that_dies_is_replaced(supervised) -> None:
    process = supervised("serves")
    victim = both(process)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(children(process)) == 3, what="a third child")
    assert f"process {victim} was killed by SIGKILL; starting another" in process.stderr


def test_children_that_end_by_themselves_are_replaced_with_pauses(supervised) -> None:
    process = supervised("short")
    process.wait_for("ended with exit code 7; starting another in 0.2 s")
    process.signal(signal.SIGTERM)
    assert process.wait() in (0, 1), "1 where another of them ended by itself in just that moment"


def test_a_first_child_that_fails_ends_it_all(supervised) -> None:
    process = supervised("fails")
    assert process.wait() == 2
    assert len(children(process)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", ["cuts", "default"])
def test_the_exit_code_tells_that_a_child_did_not_end_well(
    supervised, mode: str, number: signal.Signals
) -> None:
    process = supervised(mode)
    both(process)
    process.signal(number)
    assert process.wait() == 1


def test_a_terminal_that_closes_ends_all_with_0(supervised) -> None:
    process = supervised("serves")
    pids = both(process)
    os.killpg(process.pid, signal.SIGHUP)  # as the kernel does, to all of them
    assert process.wait() == 0
    assert not any(map(alive, pids))


def test_a_stubborn_child_is_killed_after_the_drain(supervised) -> None:
    process = supervised("stubborn", drain=0.3)
    both(process)
    process.signal(signal.SIGTERM)
    assert process.wait() == 1
    assert "did not end in 0.3 s and are killed" in process.stderr


def test_a_second_ctrl_c_kills_at_once(supervised) -> None:
    process = supervised("stubborn", drain=60.0)
    pids = both(process)
    process.signal(signal.SIGINT)
    eventually(lambda: process.stdout.count("asked") == 2, what="both children asked to stop")
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert not any(map(alive, pids))


def test_children_are_asked_to_end_when_their_parent_is_killed(supervised) -> None:
    process = supervised("drains")
    pids = both(process)
    process.signal(signal.SIGKILL)
    eventually(lambda: not any(map(alive, pids)), what="the end of the children")
    assert process.stdout.count("asked") == 2


def test_stubborn_children_are_killed_after_the_drain_when_their_parent_is_killed(supervised) -> None:
    process = supervised("stubborn", drain=0.3)
    pids = both(process)
    process.signal(signal.SIGKILL)
    eventually(lambda: not any(map(alive, pids)), what="the end of the children")
    assert process.stdout.count("asked") == 2


def test_a_system_without_room_for_a_process_costs_none_of_the_others(supervised) -> None:  # type: ignore[no-untyped-def]
    parent = supervised("no third")
    eventually(lambda: len(children(parent)) == 2)
    first, other = children(parent)
    os.kill(first, signal.SIGRTMIN + 1)
    eventually(lambda: len(children(parent)) == 3)
    os.kill(other, 0)
    assert f"process {first} was killed by signal {signal.SIGRTMIN + 1}" in parent.stderr
    assert "no process can be started now, but in 0.2 s: Resource temporarily unavailable" in parent.stderr
    parent.signal(signal.SIGTERM)
    assert parent.wait() == 0


def test_any_number_of_seconds_may_be_given_for_the_drain(supervised) -> None:  # type: ignore[no-untyped-def]
    parent = supervised("ends", 1e10)
    eventually(lambda: len(children(parent)) == 2)
    parent.signal(signal.SIGTERM)
    assert parent.wait() == 0, parent.stderr
