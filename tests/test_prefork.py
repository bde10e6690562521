"""A program that is forked is the one that would have been started, and ends when the tests do."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT, Process, Result, eventually, run

PROGRAM = """
import atexit, json, os, signal, sys, threading, warnings

main = sys.modules["__main__"]
descriptors = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
state = dict(
    argv=sys.argv, path=sys.path, name=__name__, file=__file__, main=vars(main) is globals(),
    env=dict(os.environ), cwd=os.getcwd(), leads=os.getsid(0) == os.getpid(),
    # Debian's ctypes (of Python 3.14) keeps its library open, and a fork has ctypes.
    descriptors=sum(os.path.lexists(file) and "libffi" not in os.readlink(file) for file in descriptors),
    signals=[str(signal.getsignal(number)).partition(" at ")[0] for number in range(1, 32)],
    wakeup=signal.set_wakeup_fd(-1), blocked=list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    stdin=sys.stdin.read(), threads=threading.active_count(),
    encodings=[sys.stdout.encoding, sys.stderr.errors],
    warnings=[sys.warnoptions, list(map(str, warnings.filters[:2]))],
)
print(json.dumps(state))
atexit.register(print, "at exit")
threading.Thread(target=lambda: (threading.main_thread().join(), print("a thread goes on"))).start()
"""
ENDS = [
    "",
    "raise SystemExit(3)",
    "raise SystemExit('a word')",
    "raise KeyError(1)",
    "raise KeyboardInterrupt",
    "os.kill(os.getpid(), signal.SIGTERM)",
    "os._exit(7)",
    "import not_there",
]
STARTS = """
import os, signal, subprocess
from tests.helpers.processes import Process, _forks

with Process({command}, fresh={fresh}) as process, Process({command}, fresh={fresh}) as other:
    print(process.pid, process.wait_for("^begun$")[0])
    if not {fresh}:  # the end of the other is heard of when nobody is left to be told
        forks = _forks()._process.pid
        os.kill(forks, signal.SIGSTOP)
        subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -CONT {{forks}}"], start_new_session=True)
    os.killpg(other.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("how", "end"),
    [*(("a file", end) for end in ENDS), ("a module", ENDS[3]), *(("with mesh", end) for end in ENDS[:5])],
)
def test_a_fork_is_what_would_have_been_started(how: str, end: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(f"{'import mesh; mesh.connect' if how == 'with mesh' else ''}\n{PROGRAM}{end}")
    command = [sys.executable, "-m", "program"] if how == "a module" else [sys.executable, file]
    env = {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}/elsewhere",
        "PYTHONWARNINGS": "ignore::UserWarning,ignore::DeprecationWarning",
        "ONLY": "here\udcff",
    }
    fresh, forked = (
        run([*command, "one", ""], env=env, fresh=True),
        run([*command, "one", ""], env=env),
    )
    assert forked.returncode == fresh.returncode
    assert json.loads(forked.stdout.splitlines()[0]) == json.loads(fresh.stdout.splitlines()[0])
    assert forked.stdout == fresh.stdout
    assert last_lines(forked) == last_lines(fresh)


def last_lines(result: Result) -> list[str]:
    """Of standard error, without the path that a traceback has taken to the program."""
    return result.stderr.splitlines()[-2:]


@pytest.mark.parametrize("fresh", [True, False])
def test_programs_end_when_the_tests_are_killed(fresh: bool, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("print('begun')\nimport time\ntime.sleep(600)")
    command = [sys.executable, str(program)]
    with Process([sys.executable, "-c", STARTS.format(command=command, fresh=fresh)], cwd=ROOT) as tests:
        assert tests.wait() == -signal.SIGKILL, tests.describe()
        pid = int(tests.stdout.split()[0])
    eventually(lambda: not Path(f"/proc/{pid}").exists() or ended(pid), what="the end of the program")


def ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
