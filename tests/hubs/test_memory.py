"""Memory that a flood has left goes back to the system when nobody has to wait for it."""

from __future__ import annotations

import platform
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import usage
from hubs.memory import LOOK_EVERY, QUIET, WORTH, Memory
from tests.e2e.commands import environment
from tests.helpers.processes import eventually, python
from tests.hubs.cluster import Hub

FLOOD = Path(__file__).with_name("flood.py")
SOCKETS = 1_500


class Process:
    """Its clocks, its memory, and what of that it needs."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0
        self.size = self.needed = 100 * WORTH
        self.trimmed = 0
        self.memory = Memory(self.trim, lambda: self.size, lambda: self.now, lambda: self.cpu)

    def trim(self) -> None:
        self.trimmed += 1
        self.size = self.needed

    def look(self, *, after: float = LOOK_EVERY, busy: float = 0.0) -> int:
        self.now += after
        self.cpu += after * busy
        self.memory.look()
        return self.trimmed


def test_what_has_grown_is_given_back_once_it_is_quiet() -> None:
    process = Process()
    assert process.look() == 0
    process.size += WORTH
    assert process.look(busy=2 * QUIET) == 0
    assert process.look(busy=QUIET / 2) == 1
    assert process.look() == 1


def test_what_is_needed_is_asked_for_once() -> None:
    process = Process()
    process.size = process.needed = 110 * WORTH
    assert [process.look() for _ in range(3)] == [1, 1, 1]
    process.size = process.needed = 105 * WORTH  # free() has given some back by itself
    assert process.look() == 1
    process.size += WORTH
    assert process.look() == 2


def test_looks_that_follow_on_each_other_are_one() -> None:
    process = Process()
    process.size += WORTH
    assert [process.look(after=LOOK_EVERY / 4) for _ in range(4)] == [0, 0, 0, 1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have no malloc_trim")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hub_gives_back_what_a_flood_has_taken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hub = Hub(tmp_path, "one", "majordomo", stack, heartbeat=0.2)
        before = usage.rss(hub.process.pid)
        with python(FLOOD, hub.in_, hub.out, str(SOCKETS), env=environment(), stdin=True) as flood:
            eventually(
                lambda: usage.peak_rss(hub.process.pid) > before + 3 * WORTH,
                timeout=60,
                what="the hub to take in what it was sent",
            )
            flood.send_line("close")
            flood.wait_for("^flooded$", timeout=60)
        peak = usage.peak_rss(hub.process.pid)
        eventually(
            lambda: usage.rss(hub.process.pid) < before + 1.5 * WORTH,
            timeout=60,
            what=lambda: (
                f"{before / usage.MIB:.0f} MiB before, {peak / usage.MIB:.0f} at most, "
                f"{usage.rss(hub.process.pid) / usage.MIB:.0f} now"
            ),
        )
