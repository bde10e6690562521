"""Starts Python programs with their imports done: each is a fork of a process that has the libraries already.

Much of what the suite costs is the start of some thousand programs. A fork leaves the loop in here and
becomes what `python -m MODULE` or `python FILE` would be, in a session of its own and as __main__ of its
interpreter, so that its end is the interpreter's own, too.

What mesh and hubs import, and whether gevent has patched it by then, is part of what is tested: so they are
not imported beforehand, but for their parts that import next to nothing, as tests/test_layers.py holds. What
is in PRELOADED does not care.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
STANDARD = """
    argparse ast asyncio base64 concurrent.futures contextvars dataclasses datetime decimal
    difflib hashlib hmac http.server importlib.metadata importlib.resources inspect ipaddress json
    logging pickle queue random resource secrets selectors shlex shutil ssl subprocess tempfile termios
    textwrap threading traceback typing urllib.parse uuid
"""
GEVENT = """
    gevent gevent.events gevent.local gevent.monkey gevent.select gevent.selectors gevent.socket gevent.ssl
    gevent.subprocess gevent.thread gevent.threading gevent.threadpool gevent.time
"""
PRELOADED = f"{STANDARD} {GEVENT} click click.shell_completion msgpack yaml zmq zmq.utils.monitor"
PURE = "mesh.core hubs.switching"
"""Packages of which every module knows no socket, thread or clock."""
LARGEST = 1 << 18  # bytes of an order


def forkable(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork is the same as that command: Python as it is here, with a module or a file to run."""
    if sys.platform != "linux" or command[0] != sys.executable or len(command) < 2:
        return False
    if command[1].startswith("-") and (command[1] != "-m" or len(command) < 3):
        return False
    return env.get("PYTHONUNBUFFERED") == "1" and _of_interpreter(env) == _of_interpreter(os.environ)


def _of_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What it reads when it starts, but for what a fork sees to itself."""
    seen_to = ("PYTHONPATH", "PYTHONUNBUFFERED")
    return {
        name: value
        for name, value in env.items()
        if name.startswith(("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")) and name not in seen_to
    }


class Program:
    """A program that was started so. As subprocess.Popen, of which it has what the tests need."""

    def __init__(self, forks: Forks, pid: int, stdin: IO[bytes] | None) -> None:
        self._forks = forks
        self.pid = pid
        self.stdin = stdin

    def poll(self) -> int | None:
        self._forks.hear()
        return self._forks.ended.get(self.pid)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self._forks.wait(deadline - time.monotonic())
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Forks:
    """The process that forks, as it is seen from here. ended: the exit codes of the programs by pid."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._orders, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = "from tests.helpers.prefork import serve; serve()()"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env["PYTHONUNBUFFERED"] = "1"
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(there.fileno())],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )

    def start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: bool, files: list[IO[bytes]]
    ) -> Program:
        """files: for standard output and standard error. stdin: whether it is a pipe; else it is empty."""
        reader, writer = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), -1)
        order = json.dumps([command[1:], str(cwd), dict(env)]).encode()
        try:
            socket.send_fds(self._orders, [order], [reader, *(file.fileno() for file in files)])
        finally:
            os.close(reader)
        while True:
            pid, code = self._message()
            if code is None:
                self.ended.pop(pid, None)
                return Program(self, pid, os.fdopen(writer, "wb") if stdin else None)
            self.ended[pid] = code

    def wait(self, timeout: float) -> None:
        """Until there is something to hear."""
        select.select([self._orders], [], [], max(timeout, 0.0))

    def hear(self) -> None:
        while select.select([self._orders], [], [], 0)[0]:
            pid, code = self._message()
            assert code is not None
            self.ended[pid] = code

    def _message(self) -> tuple[int, int | None]:
        message = self._orders.recv(1024)
        if not message:
            raise RuntimeError("the process that starts the programs of tests has ended")
        pid, code = json.loads(message)
        return pid, code


def serve() -> Callable[[], None]:
    """Fork for each order. Returns in a fork alone, with what is left to do there.

    When nobody can give orders any more, all programs are killed.
    """
    orders = socket.socket(fileno=int(sys.argv[1]))
    _preload()
    gc.collect()
    gc.freeze()  # the collector of a fork, and its end, need not look at all that
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    running: set[int] = set()
    while True:
        ready, _, _ = select.select([orders, wake], [], [])
        if wake in ready:
            os.read(wake, 1024)
            for pid, code in _ended():
                running.discard(pid)
                _tell(orders, pid, code)
        if orders in ready:
            try:
                order, fds, _, _ = socket.recv_fds(orders, LARGEST, 3)
            except ConnectionResetError:
                break
            if not order:
                break
            pid = _fork()
            if pid == 0:
                _leave(orders, wake, woken)
                return _become(*json.loads(order), fds)
            running.add(pid)
            _tell(orders, pid, None)
            for fd in fds:
                os.close(fd)
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _preload() -> None:
    for name in PRELOADED.split():
        importlib.import_module(name)
    for name in PURE.split():
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
            importlib.import_module(f"{name}.{module.name}")
    # gevent asks 25 times, whenever it patches, and each time all that is installed is read anew.
    importlib.metadata.entry_points = cache(importlib.metadata.entry_points)


def _tell(orders: socket.socket, pid: int, code: int | None) -> None:
    """code: with which the program has ended, None where it has just begun."""
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody is there any more, as the next look tells
        orders.send(json.dumps([pid, code]).encode())


def _ended() -> list[tuple[int, int]]:
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((found[0], os.waitstatus_to_exitcode(found[1])))
    return ended


def _fork() -> int:
    """A child that leads a session of its own by the time this returns: its group can be killed at once."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
    os.close(writer)
    if pid:
        os.read(reader, 1)
    os.close(reader)
    return pid


def _leave(orders: socket.socket, wake: int, woken: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    orders.close()
    os.close(wake)
    os.close(woken)


def _become(arguments: list[str], cwd: str, env: dict[str, str], fds: list[int]) -> Callable[[], None]:
    """Make this process what Python is when it begins with that."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    path = [os.path.abspath(one) for one in env.get("PYTHONPATH", "").split(os.pathsep) if one]
    module = arguments[1] if arguments[0] == "-m" else None
    first = cwd if module else os.path.dirname(os.path.realpath(arguments[0]))
    sys.path[:] = [first, *path, *sys.path[1:]]
    sys.argv[:] = arguments[1:] if module else arguments
    importlib.invalidate_caches()
    main = vars(sys.modules["__main__"])
    del main["serve"]
    if module:
        return lambda: runpy._run_module_as_main(module)  # type: ignore[attr-defined]
    main["__file__"] = arguments[0]
    source = Path(arguments[0]).read_bytes()
    return lambda: exec(compile(source, arguments[0], "exec"), main)
