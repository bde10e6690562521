"""A test is run again where the machine stood still, and nowhere else; what a run says at its end."""

from __future__ import annotations

import re
import sys
from collections import Counter

import pytest

from tests.helpers.processes import ROOT, run

CONFTEST = """
from tests.helpers.stalls import Stalls


def pytest_configure(config):
    config.pluginmanager.register(Stalls())
"""
TESTS = """
import os
import signal
import subprocess
import time

import pytest

from tests.helpers.requirements import lacking

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


def test_skipped():
    lacking("no peer: run `make peers`")
"""


@pytest.fixture(scope="module")
def run_of_few(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Counter[str]]:
    """The lines of a run of them in a worker of xdist, with our settings; how often each has run."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_few.py").write_text(TESTS)
    quick = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]  # that one takes a second to import
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", folder, "-n", "1", *quick]
    done = run([sys.executable, "-m", "pytest", *settings, folder], env={"PYTHONPATH": str(ROOT), "CI": ""})
    return done.stdout.splitlines(), Counter((folder / "test_few.py.ran").read_text().split())


def test_only_what_a_stall_has_spoiled_is_run_again(run_of_few: tuple[list[str], Counter[str]]) -> None:
    """Also where the machine stands still under this test: each time it says so, and at last how many."""
    lines, ran = run_of_few
    again = re.findall(
        r"::test_(\w+) failed while the machine stood still for (.+) s$", "\n".join(lines), re.MULTILINE
    )
    stalls = {name.partition("_")[0]: [float(one) for one in each.split(", ")] for name, each in again}
    assert all(stall >= 0.1 for each in stalls.values() for stall in each), lines
    assert re.search(rf"\b2 failed, 1 passed, 1 skipped, {len(stalls)} run again in \S+s", lines[-1]), lines
    tries = {name: 1 + len(stalls.get(name, [])) for name in ("slow", "wrong", "spoiled")}
    assert ran == Counter(tries)
    assert ran["spoiled"] == 3


def test_what_is_skipped_is_told_in_the_last_lines(run_of_few: tuple[list[str], Counter[str]]) -> None:
    lines, _ = run_of_few
    assert any(re.match(r"SKIPPED \[1\] .*: no peer: run `make peers`$", line) for line in lines[-5:]), lines
