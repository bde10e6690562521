"""When the watchdog looks at a loop, with a clock of the test's own."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest

import mesh
from mesh.transport import native
from mesh.transport.watchdog import PERIOD, Watchdog
from tests.green.conftest import Connect
from tests.helpers.processes import Process, eventually

Service = Callable[..., tuple[str, Process]]


class Loop:
    """Guarded: one that turns, or stands still from a time on. looks: when it was stood in for."""

    def __init__(self, patience: float = 0.5) -> None:
        self.lock = native.allocate_lock()
        self.thread = native.get_ident()
        self.turn = 0.0
        self.patience = patience
        self.looks: list[float] = []

    def overdue(self, now: float) -> bool:
        return now - self.turn > self.patience

    def stand_in(self, now: float) -> None:
        self.looks.append(now)

    def blocked_in(self, frame: FrameType | None) -> str:
        return "Users.report"


class Nights:
    """Clock and sleep: each sleep takes what was asked for and as much more as the next of `late`.

    turns: at which sleeps the loop turns right after. The last sleep ends the watchdog.
    """

    def __init__(self, loop: Loop, late: list[float], turns: set[int]) -> None:
        self.now = 0.0
        self.watchdog = Watchdog(lambda: self.now, self.sleep)
        self._loop, self._late, self._turns = loop, late, turns
        self._slept = 0
        self.watchdog._watched.add(loop)
        self.watchdog._running = True

    def sleep(self, seconds: float) -> None:
        if self._slept == len(self._late):
            self.watchdog.forget(self._loop)
            return
        if self._slept in self._turns:
            self._loop.turn = self.now
        self.now += seconds + self._late[self._slept]
        self._slept += 1


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mesh.guard"]


def looks(loop: Loop, late: list[float], turns: set[int] | None = None) -> list[float]:
    nights = Nights(loop, late, set(range(len(late))) if turns is None else turns)
    nights.watchdog._run()
    assert not nights.watchdog._running
    return loop.looks


def test_a_process_that_stood_still_blocks_no_loop(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert looks(Loop(), [0.0, 6.5, 0.0, 0.0, 0.6, 0.0]) == []
    assert reports(caplog) == []


def test_a_loop_that_is_blocked_after_it_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = looks(Loop(), [0.0, 6.5, *[0.0] * 7], turns={0})
    assert found[:2] == pytest.approx([6.5 + 3 * PERIOD, 6.5 + 4 * PERIOD])
    (line,) = reports(caplog)
    assert line.startswith("Users.report has blocked the event loop for 0.6 s, now at ")


def test_a_loop_that_turns_late_after_the_process_stood_still_was_not_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        looks(Loop(), [0.0, 6.5, 0.0, 0.0, 0.0, 0.0], turns={0, 5})
    assert reports(caplog) == []


def test_a_loop_that_turned_before_the_watchdog_woke_has_turned(caplog: pytest.LogCaptureFixture) -> None:
    """Stopped, for an instant not, and stopped again: the loop may be the first of the two to run."""
    loop = Loop()
    nights = Nights(loop, [0.0, 1.0, 1.0, 0.0], turns={0, 3})
    sleep = nights.watchdog._sleep

    def turn_first(seconds: float) -> None:
        sleep(seconds)
        if nights.now == pytest.approx(1.0 + 2 * PERIOD):
            loop.turn = nights.now - 0.001

    nights.watchdog._sleep = turn_first
    with caplog.at_level(logging.WARNING):
        nights.watchdog._run()
    assert loop.looks == []
    assert reports(caplog) == []


def test_a_process_that_is_stopped_at_a_look_blocks_no_loop(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    nights = Nights(loop, [0.0, 0.0, 0.0], turns={0, 1, 2})
    clock = nights.watchdog._clock
    told = 0

    def stopped_after_the_second() -> float:
        nonlocal told
        now = clock()
        told += 1
        if told == 2:
            nights.now += 1.0
        return now

    nights.watchdog._clock = stopped_after_the_second
    with caplog.at_level(logging.WARNING):
        nights.watchdog._run()
    assert loop.looks == []
    assert reports(caplog) == []


def test_a_watchdog_that_always_comes_late_leaves_out_one_look_only() -> None:
    assert looks(Loop(), [1.0, 1.0, 1.0], turns={0}) == pytest.approx([2 * (1 + PERIOD), 3 * (1 + PERIOD)])


def test_a_little_late_is_not_stood_still() -> None:
    assert len(looks(Loop(), [0.2] * 5, turns={0})) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
def test_a_server_that_was_stopped_reports_no_handler(service: Service, connect: Connect) -> None:
    endpoint, running = service("--heartbeat", 0.5)
    client: mesh.Client = connect(endpoint, heartbeat=None, timeout=30)
    waiting = client.slow.future(4.0)
    eventually(lambda: client.echo(1) == 1)
    for _ in range(3):
        running.signal(signal.SIGSTOP)
        time.sleep(1.0)  # what is tested: a process that stands still for so long
        running.signal(signal.SIGCONT)
        assert client.echo(2) == 2
    assert waiting.result() == running.pid
    assert "has blocked" not in running.stderr
