"""`make demo` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.commands import environment
from tests.helpers.processes import ROOT, Process, eventually

DEMO = [sys.executable, str(ROOT / "configs" / "demo" / "run.py")]


def group(leader: int) -> list[int]:
    """The living processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(pgrp) == leader and state != "Z":
                members.append(int(entry.name))
    return members


def test_the_demo_comes_out_as_it_should() -> None:
    began = time.monotonic()
    with Process(DEMO, env=environment()) as demo:
        assert demo.wait(timeout=100.0) == 0, demo.describe()
        assert time.monotonic() - began < 80.0
        assert not group(demo.pid)
        assert demo.stderr == ""
        assert "(exit code 1)" in demo.stdout and "(exit code 3)" in demo.stdout
        assert "\x1b" not in demo.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_demo_ends_its_servers_when_it_is_stopped(number: signal.Signals, code: int) -> None:
    with Process(DEMO, env=environment()) as demo:
        demo.wait_for("serving urls through")
        os.kill(demo.pid, number)
        assert demo.wait() == code, demo.describe()
        eventually(lambda: not group(demo.pid), what="the end of the servers")
        assert "Traceback" not in demo.stderr
