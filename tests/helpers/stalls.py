"""Tells a machine that stood still from a program that is slow, and gives a test that it spoiled another try.

A virtual machine may get no processor for seconds. Then a promise on time, or an old peer's heartbeat,
fails though nothing is wrong. Whether it was so is measured: a timer on one of the processors was as late;
on any, for the program that a test waits for may run on another than the test. A test that fails without
that fails. The end of the run names those that were run again, and counts them in its
last line: a machine stands still in the midst of any test, so one that is named again and again has a fault.
"""

from __future__ import annotations

import os
import threading
import time

import pytest
from _pytest.runner import runtestprotocol

PAUSE = 0.05
STALL = 0.15
"""Seconds by which a timer of a busy machine is not late; more is not the tests' fault."""
TRIES = 4
AGAIN = "run again"


class Watch(threading.Thread):
    """longest: the most seconds by which its timer has been late since that was set to 0."""

    def __init__(self, processor: int) -> None:
        super().__init__(name=f"stalls of processor {processor}", daemon=True)
        self.longest = 0.0
        self._processor = processor

    def run(self) -> None:
        os.sched_setaffinity(threading.get_native_id(), {self._processor})
        while True:
            began = time.monotonic()
            time.sleep(PAUSE)
            self.longest = max(self.longest, time.monotonic() - began - PAUSE)


class Stalls:
    """The plugin. With xdist, tests are run by one in each worker, and told by the controller's."""

    def __init__(self) -> None:
        self._watches = [Watch(processor) for processor in os.sched_getaffinity(0)]

    def pytest_sessionstart(self) -> None:
        for watch in self._watches:
            watch.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._tried(item, nextitem):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count a test that was run again once more, as one that was, when its last try has ended."""
        if report.when == "teardown" and report.passed and _stalls(report):
            return AGAIN, "", ""
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        reports = terminalreporter.stats.get(AGAIN, [])
        if reports:
            terminalreporter.section(f"{AGAIN}, as the machine stood still")
        for report in reports:
            stood = ", ".join(f"{stall:.1f}" for stall in _stalls(report))
            terminalreporter.line(f"{report.nodeid} failed while the machine stood still for {stood} s")

    def _tried(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """The reports of the last try."""
        for left in reversed(range(TRIES)):
            for watch in self._watches:
                watch.longest = 0.0
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if not left or not any(report.failed for report in reports):
                return reports
            time.sleep(2 * PAUSE)  # one that has just ended is known after the next pause
            stall = max(watch.longest for watch in self._watches)
            if stall < STALL:
                return reports
            item.user_properties.append((AGAIN, stall))  # the reports of the next try bring it along
        raise AssertionError("unreachable")


def _stalls(report: pytest.TestReport) -> list[float]:
    """How long the machine stood still in those tries that were not the last, in seconds."""
    return [float(str(value)) for name, value in report.user_properties if name == AGAIN]
