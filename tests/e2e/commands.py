"""The real commands as processes: in a pipe, in a terminal, and servers that they talk to."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen, run

import gevent

from tests.helpers.processes import PATIENCE, ROOT, Process, Result
from tests.helpers.requirements import require_terminals

MESH = [sys.executable, "-m", "mesh.cli.main"]
ANY_PORT = "tcp://127.0.0.1:*"
BROKEN = [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")]
"""What a shell leaves of standard output, and why that can't be written."""
UNREAD = "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.execvp(sys.argv[1], sys.argv[1:])"
"""A program that runs a command whose standard output is a pipe without a reader."""

SERVICE = '''
import sys
import time

from tests.helpers.computing import compute_a_moment


class Users:
    """Users for tests."""

    Error = KeyError

    def get(self, number, *, loud=False):
        """The user of that number.

        A second paragraph, which says more than anybody wants to know in a list of all methods.
        """
        name = {"42": "Ann", 42: "Ann"}[number]
        return {"name": name.upper() if loud else name}

    def echo(self, *args, **kwargs):
        return {"args": list(args), "kwargs": kwargs}

    def add(self, a, b):
        return a + b

    def value(self, value):
        return value

    def long(self, first_of_all='some text', second_of_all='some more text'):
        return b"x" * 100_000

    def nothing(self):
        return None

    def data(self):
        return b"\\x00\\x01raw"

    def fail(self):
        raise RuntimeError("first line\\nsecond line")

    def nap(self, seconds):
        print("napping", flush=True)
        time.sleep(float(seconds))
        return "rested"

    def burn(self, seconds):
        print("burning", flush=True)
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            compute_a_moment()

    def ticks(self, most="1000000", pause="0.05"):
        """Count for ever."""
        try:
            for number in range(int(most)):
                yield number
                time.sleep(float(pause))
        finally:
            print("ticks closed", flush=True)

    def pid(self):
        import os
        return os.getpid()

    def thread(self):
        import threading
        return threading.current_thread().name
'''


def environment(**more: str) -> dict[str, str]:
    """The tests' own, without what would change the commands' output."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "MESH_SERVICES": "", "COLUMNS": "", "LINES": "", **more}


def start(*arguments: str, cwd: Path, **more: str) -> Process:
    """Begin `mesh ARGUMENTS` in a folder."""
    return Process([*MESH, *arguments], cwd=cwd, env=environment(**more))


def mesh(*arguments: str, cwd: Path, **more: str) -> Result:
    """Run `mesh ARGUMENTS` in a folder to its end."""
    with start(*arguments, cwd=cwd, **more) as process:
        return Result(process.wait(), process.stdout, process.stderr)


def shell(command: list[str], end: str, cwd: Path, before: str = "") -> Result:
    """Run a command to its end with its streams redirected so. before: what the shell does first."""
    done = run(
        ["sh", "-c", f'{before} {"" if "|" in end else "exec"} "$@" {end}', "sh", *command],
        cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment()}, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def failed(result: Result, code: int) -> str:
    """The one line on standard error of a command that had to end with `code` and no output."""
    assert result.returncode == code, result
    assert result.stdout == "", result
    (line,) = result.stderr.splitlines()
    assert line.startswith("mesh: ")
    return line


def endpoint_of(process: Process) -> str:
    return process.wait_for(r"^serving \S+ on (\S+)$")[1]


@contextmanager
def serving(*arguments: str, cwd: Path, **more: str) -> Iterator[tuple[Process, str]]:
    """A running `mesh serve ARGUMENTS`, and its endpoint."""
    with start("serve", *arguments, cwd=cwd, **more) as process:
        yield process, endpoint_of(process)


class Terminal:
    """A command in a terminal of that many columns. A context manager."""

    def __init__(self, command: Sequence[str], columns: int, cwd: Path, lines: int = 40, **more: str) -> None:
        require_terminals()
        self._screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {**os.environ, **environment(**more), "TERM": more.get("TERM", "xterm")}
        env.pop("COLUMNS")
        self._popen = Popen(
            command, cwd=cwd, env=env, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inner)
        os.set_blocking(self._screen, False)
        self.shown = ""

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert self._read() and time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"

    def wait(self) -> int:
        """The exit code; all that was shown is in `shown`, with plain line ends."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"still running: {self.shown!r}"
        return self._popen.wait(PATIENCE)

    def close(self) -> None:
        """As its window is closed: who runs in it gets SIGHUP."""
        os.close(self._screen)
        self._screen = -1

    def kill(self, number: int) -> None:
        self._popen.send_signal(number)

    def end(self) -> int:
        """The exit code of a command whose terminal is closed."""
        deadline = time.monotonic() + PATIENCE
        while (code := self._popen.poll()) is None:
            assert time.monotonic() < deadline, f"still running: {self.shown!r}"
            gevent.sleep(0.01)
        return code

    def _read(self) -> bool:
        """Take in what has come; False at the end."""
        try:
            data = os.read(self._screen, 65536)
        except BlockingIOError:
            gevent.sleep(0.01)
            return True
        except OSError as error:
            if error.errno == errno.EIO:  # Linux: nobody has the other side open
                return False
            raise
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(PATIENCE)
        if self._screen >= 0:
            os.close(self._screen)
