"""A test is run again where the machine stood still, and nowhere else."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from tests.helpers.processes import ROOT, run

CONFTEST = """
from tests.helpers.stalls import Stalls


def pytest_configure(config):
    config.pluginmanager.register(Stalls(2))
"""
TESTS = """
import os
import signal
import subprocess
import time

import pytest

runs = []


@pytest.fixture
def fresh():
    return []


def ran(name):
    with open(__file__ + ".ran", "a") as file:
        file.write(name + "\\n")
    runs.append(name)
    return runs.count(name)


def test_spoiled(fresh):
    fresh.append(1)
    times = ran("spoiled")
    if times < 3:
        subprocess.Popen(["sh", "-c", f"sleep 0.6; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    assert times >= 3
    assert fresh == [1]


def test_slow_by_itself():
    ran("slow")
    time.sleep(0.6)
    assert False


def test_wrong():
    ran("wrong")
    assert False
"""


def test_only_what_a_stall_has_spoiled_is_run_again(tmp_path: Path) -> None:
    """Also where the machine stands still under this test: each time it says so."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_few.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", tmp_path]
    done = run(command, env={"PYTHONPATH": str(ROOT)})
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    ran = Counter((tmp_path / "test_few.py.ran").read_text().split())
    again = re.findall(r"::test_(\w+) failed while the machine stood still for (\S+) s: again", done.stderr)
    assert all(float(stall) >= 0.2 for _, stall in again), done.stderr
    said = Counter(name.partition("_")[0] for name, _ in again)
    assert ran == Counter(["spoiled", "slow", "wrong"]) + said
    assert ran["spoiled"] == 3
