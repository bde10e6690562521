"""`make demo` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.commands import environment
from tests.helpers.processes import ROOT, Process, eventually
from tests.helpers.requirements import require_terminals

RUN = ROOT / "configs" / "demo" / "run.py"
DEMO = [sys.executable, str(RUN)]
ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]

AT_ITS_FIRST_CHILD = """\
import os, runpy, sys, time

demo = runpy.run_path(sys.argv[1])
demo["MODULES"]["mesh-hub"] = "stays"

class Servers(list):
    def append(self, server):
        print("started, not recorded", flush=True)
        os.kill(os.getpid(), int(sys.argv[2]))
        time.sleep(60)

def start(self, *command, **how):
    self.servers = Servers()
    return begin(self, *command, **how)

begin, demo["Demo"].start = demo["Demo"].start, start
sys.exit(demo["main"]())
"""


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(sid) == leader and state != "Z":
                members.append(int(entry.name))
    return members


def test_the_demo_comes_out_as_it_should() -> None:
    require_terminals()
    began = time.monotonic()
    with Process(DEMO, env=environment()) as demo:
        assert demo.wait(timeout=100.0) == 0, demo.describe()
        assert time.monotonic() - began < 80.0
        assert not session(demo.pid)
        assert demo.stderr == ""
        assert "(exit code 1)" in demo.stdout and "(exit code 3)" in demo.stdout
        assert "\x1b" not in demo.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_demo_ends_its_servers_when_it_is_stopped(number: int, code: int, tmp_path: Path) -> None:
    with Process(DEMO, env=environment(TMPDIR=str(tmp_path))) as demo:
        demo.wait_for("serving urls through")
        assert len(session(demo.pid)) > 4
        demo.signal(number)
        assert demo.wait() == code, demo.describe()
        eventually(lambda: not session(demo.pid), what="the end of the servers")
        assert "Traceback" not in demo.stderr
        assert number == signal.SIGKILL or not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_server_that_has_just_been_started_ends_with_the_demo(
    number: int, code: int, tmp_path: Path
) -> None:
    (tmp_path / "stays.py").write_text("import time; time.sleep(600)")
    command = [sys.executable, "-c", AT_ITS_FIRST_CHILD, RUN, str(int(number))]
    with Process(command, env=environment(PYTHONPATH=str(tmp_path))) as demo:
        assert demo.wait() == code, demo.describe()
        assert "started, not recorded" in demo.stdout
        eventually(lambda: not session(demo.pid), what="the end of the server")
