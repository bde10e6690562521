"""A test is run again where the machine stood still, and nowhere else."""

from __future__ import annotations

import sys
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


def test_spoiled(fresh):
    fresh.append(1)
    runs.append("spoiled")
    if runs.count("spoiled") < 3:
        subprocess.Popen(["sh", "-c", f"sleep 0.6; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    assert runs.count("spoiled") == 3
    assert fresh == [1]


def test_slow_by_itself():
    runs.append("slow")
    time.sleep(0.6)
    assert False


def test_wrong():
    runs.append("wrong")
    assert False


def test_what_ran():
    assert runs == ["spoiled"] * 3 + ["slow", "wrong"]
"""


def test_only_what_a_stall_has_spoiled_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_few.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", tmp_path]
    done = run(command, env={"PYTHONPATH": str(ROOT)})
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    assert done.stderr.count("failed while the machine stood still for 0.") == 2, done.stderr
