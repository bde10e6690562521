"""Real processes for tests: started in a group of their own, awaited with a deadline, always killed.

What they print goes to files without a name, so that there is no reader thread and no full pipe. Waiting
yields to other greenlets, so that a client or server in the test itself stays alive.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, TypeVar

import gevent

from tests.helpers import prefork

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds that a test waits for something that should happen at once, on a busy machine."""

# What a command begins with so that it ends also where the run itself is killed, and nobody closes anything.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()

T = TypeVar("T")


def eventually(
    probe: Callable[[], T], *, timeout: float = PATIENCE, what: str | Callable[[], str] = "that"
) -> T:
    """The first true value of `probe()`; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s for {what() if callable(what) else what}")
        gevent.sleep(0.01)


@cache
def _forks() -> prefork.Forks:
    return prefork.Forks()


class Process:
    """A program that runs beside the test. A context manager; also ended by `close()`.

    fresh: an interpreter of its own, also where a fork would be the same, as helpers/prefork.py tells.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bool = False,
        fresh: bool = False,
    ) -> None:
        self.command = [str(part) for part in command]
        self._files = [_unnamed_file(), _unnamed_file()]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._popen: prefork.Program | subprocess.Popen[bytes]
        if not fresh and prefork.forkable(self.command, environment):
            self._popen = _forks().start(self.command, cwd or ROOT, environment, stdin, self._files)
        else:
            self._popen = subprocess.Popen(
                [*DIES_WITH_PARENT, *self.command],
                cwd=cwd or ROOT,
                env=environment,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=self._files[0],
                stderr=self._files[1],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    @property
    def stdout(self) -> str:
        return _content(self._files[0])

    @property
    def stderr(self) -> str:
        return _content(self._files[1])

    def wait_for(self, pattern: str, *, timeout: float = PATIENCE) -> re.Match[str]:
        """The first match of `pattern` in what the process printed, on either stream, line by line."""
        compiled = re.compile(pattern, re.MULTILINE)

        def probe() -> re.Match[str] | None:
            ended = self.returncode is not None
            found = compiled.search(self.stdout) or compiled.search(self.stderr)
            if found is None and ended:
                raise AssertionError(f"ended without printing {pattern!r}: {self.describe()}")
            return found

        found = eventually(probe, timeout=timeout, what=lambda: f"{pattern!r} of {self.describe()}")
        assert found is not None
        return found

    def send_line(self, line: str) -> None:
        assert self._popen.stdin is not None, "started without stdin=True"
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def wait(self, *, timeout: float = PATIENCE) -> int:
        """The exit code."""
        eventually(
            lambda: self.returncode is not None,
            timeout=timeout,
            what=lambda: f"the end of {self.describe()}",
        )
        assert self.returncode is not None
        return self.returncode

    def signal(self, number: int) -> None:
        """To the process alone, not to its children."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group, and reap."""
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait(PATIENCE)

    def close(self) -> None:
        self.kill()
        if self._popen.stdin is not None:
            try:
                self._popen.stdin.close()
            except BrokenPipeError:
                pass
        for file in self._files:
            file.close()

    def describe(self) -> str:
        state = "running" if self.returncode is None else f"exit code {self.returncode}"
        printed = f"stdout: {self.stdout[-4000:]}\nstderr: {self.stderr[-4000:]}"
        return f"{' '.join(self.command)} ({state})\n{printed}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def python(script: Path | str, *arguments: str, **options: Any) -> Process:
    """Run a Python file with the interpreter of the tests; the options are those of Process."""
    return Process([sys.executable, script, *arguments], **options)


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = PATIENCE,
    env: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> Result:
    """Run a command to its end. The options are those of Process."""
    with Process(command, env=env, fresh=fresh) as process:
        return Result(process.wait(timeout=timeout), process.stdout, process.stderr)


def _unnamed_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _content(file: IO[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")
