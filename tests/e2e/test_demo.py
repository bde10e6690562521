"""`make demo` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.commands import MESH, environment
from tests.helpers.processes import ROOT, Process, eventually, run
from tests.helpers.requirements import require_terminals

RUN = ROOT / "configs" / "demo" / "run.py"
DEMO = [sys.executable, str(RUN)]
ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]

AT_ITS_FIRST_CHILD = """\
import os, sys, time

sys.path.insert(0, sys.argv[1])
import run, stage

number = int(sys.argv.pop())
stage.ENTRIES["mesh"] = "stays:run"

class Servers(list):
    def append(self, server):
        print("started, not recorded", flush=True)
        os.kill(os.getpid(), number)
        time.sleep(60)

def start(self, *command, **how):
    self.servers = Servers()
    return begin(self, *command, **how)

begin, stage.Demo.start = stage.Demo.start, start
sys.argv.pop()
sys.exit(run.main())
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
        shown = told(demo.stdout.splitlines(), socket.gethostname())
        for line in told(docs_of_the_shop(), "box") - {"…"}:
            assert line in shown, f"docs/tracing.md shows a line like {line!r}, and the demo none"


def docs_of_the_shop() -> list[str]:
    """The lines that the page shows of the demo."""
    page = (ROOT / "docs" / "tracing.md").read_text()
    section = page.partition("\n## A shop to look at\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def told(lines: list[str], host: str) -> set[str]:
    """What lines tell beside numbers, times and what is left out where it is narrow or nothing waited."""
    found = set()
    for line in lines:
        if re.match(r" *[\d.]+s  ", line):  # of mesh ps: without trace, caller and callee
            cells = re.split(" {2,}", line.strip())
            line = f"{cells[1]} waits for {cells[-1]}"
        line = re.sub(r"\((held|hub|queue|credit) [^)]*\)", "", line.replace(f"@{host}", "@HOST"))
        found.add(" ".join(re.sub(r"\b([0-9a-f]{8,}|\d[\d.,:]*( ?m?s\b)?)", "#", line).split()))
    return found


@pytest.mark.soak
def test_the_shop_stays_open_for_whoever_looks_on(tmp_path: Path) -> None:
    require_terminals()
    with Process([*DEMO, "--stay"], env=environment(TMPDIR=str(tmp_path))) as demo:
        exported = demo.wait_for(r"export MESH_SERVICES=(\S+) MESH_TRACE=(\S+)\n")
        env = environment(MESH_SERVICES=exported[1], MESH_TRACE=exported[2])

        def customers_are_seen() -> bool:
            traces = run([*MESH, "traces", "--method", "order"], env=env)
            return "customers.trace" in traces.stdout

        eventually(customers_are_seen, what="a trace of a customer's order")
        calls = run([*MESH, "ps"], env=env)
        assert calls.returncode == 0, calls.stderr
        demo.signal(signal.SIGINT)
        assert demo.wait() == 130, demo.describe()
        assert not session(demo.pid) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_demo_ends_its_servers_when_it_is_stopped(number: int, code: int, tmp_path: Path) -> None:
    with Process(DEMO, env=environment(TMPDIR=str(tmp_path))) as demo:
        demo.wait_for("serving payments through")
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
    command = [sys.executable, "-c", AT_ITS_FIRST_CHILD, RUN.parent, str(int(number))]
    with Process(command, env=environment(PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))) as demo:
        assert demo.wait() == code, demo.describe()
        assert "started, not recorded" in demo.stdout
        eventually(lambda: not session(demo.pid), what="the end of the server")
