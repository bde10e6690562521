"""Starts Python programs with their imports done: each is a fork of a process that has the libraries already.

Much of what the suite costs is the start of some thousand programs. A fork leaves the loop in here and
becomes what `python -m MODULE` or `python FILE` would be, in a session of its own and as __main__ of its
interpreter, so that its end is the interpreter's own, too; only that the libraries are left as they are,
which a fork would have to copy for it.

Whether gevent has patched what mesh and hubs import is part of what is tested. So there are two such
processes: one that has imported mesh, for programs that do so before anything is patched; and one for all
others, with those parts of it alone that import next to nothing, as tests/test_layers.py holds. What is in
PRELOADED does not care.
"""

from __future__ import annotations

import atexit
import ctypes
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
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
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
OPTIONAL = ("mesh.cli.top_screen", "mesh.tracing.exports", "hubs.zone_server")
"""What programs import in rare cases alone, with large libraries."""
LASTING = {"__main__", "builtins", "gevent", "greenlet", "sys", "threading", "zmq"}
"""Those libraries that have something to do when Python ends, as they own sockets, threads or a loop."""
LARGEST = 1 << 18  # bytes of an order


def forkable(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork is the same as that command: Python as it is here, with a module or a file to run."""
    if sys.platform != "linux" or command[0] != sys.executable or len(command) < 2:
        return False
    if command[1].startswith("-") and (command[1] != "-m" or len(command) < 3):
        return False
    return env.get("PYTHONUNBUFFERED") == "1" and _of_interpreter(env) == _of_interpreter(os.environ)


def imports_mesh(command: Sequence[str], cwd: Path) -> bool:
    """Whether mesh is imported in that program while nothing is patched. False where that can't be told."""
    program = command[2] if command[1] == "-m" else Path(command[1]).name
    if program in ("mesh.cli.main", "mesh"):
        return "serve" not in command
    if program in ("hubs.command", "mesh-hub") or command[1] == "-m":
        return program in ("hubs.command", "mesh-hub")
    text = (cwd / command[1]).read_text()
    return "import mesh" in text and "monkey" not in text


def _of_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What it reads when it starts, but for what a fork sees to itself."""
    seen_to = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONWARNINGS")
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
    """The processes that fork, as they are seen from here. ended: the exit codes of the programs by pid."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        (self._plain, plain), (self._with_mesh, with_mesh) = pairs
        code = "from tests.helpers.prefork import serve; serve()()"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env["PYTHONUNBUFFERED"] = "1"
        with plain, with_mesh:
            fds = [plain.fileno(), with_mesh.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, fds)],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,
            )

    def start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: bool, files: list[IO[bytes]]
    ) -> Program:
        """files: for standard output and standard error. stdin: whether it is a pipe; else it is empty."""
        reader, writer = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), -1)
        order = json.dumps([command[1:], str(cwd), dict(env)]).encode()
        orders = self._with_mesh if imports_mesh(command, cwd) else self._plain
        try:
            socket.send_fds(orders, [order], [reader, *(file.fileno() for file in files)])
        finally:
            os.close(reader)
        while True:
            pid, code = _message(orders)
            if code is None:
                self.ended.pop(pid, None)
                return Program(self, pid, os.fdopen(writer, "wb") if stdin else None)
            self.ended[pid] = code

    def wait(self, timeout: float) -> None:
        """Until there is something to hear."""
        select.select([self._plain, self._with_mesh], [], [], max(timeout, 0.0))

    def hear(self) -> None:
        while ready := select.select([self._plain, self._with_mesh], [], [], 0)[0]:
            for orders in ready:
                pid, code = _message(orders)
                assert code is not None
                self.ended[pid] = code


def _message(orders: socket.socket) -> tuple[int, int | None]:
    """The pid of a program, and the code that it has ended with; None where it has just begun."""
    message = orders.recv(1024)
    if not message:
        raise RuntimeError("a process that starts the programs of tests has ended")
    pid, code = json.loads(message)
    return pid, code


def serve() -> Callable[[], None]:
    """Fork for each order, in two processes. Returns in a fork alone, with what is left to do there.

    When nobody can give orders any more, all programs are killed.
    """
    plain, with_mesh = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    atexit.register(_spare_libraries)  # the first, so that it is called after those of the program
    _preload()
    _libraries.update(sys.modules)
    gc.freeze()  # the collector of a fork, and its end, need not look at all that
    if os.fork():
        with_mesh.close()
        return _serve(plain)
    plain.close()
    _preload_mesh()
    gc.freeze()
    return _serve(with_mesh)


def _serve(orders: socket.socket) -> Callable[[], None]:
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
    gc.collect()


def _preload_mesh() -> None:
    for name in ("mesh", "hubs"):
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.startswith(OPTIONAL):
                importlib.import_module(module.name)
    gc.collect()


_libraries: dict[str, ModuleType] = {}
"""The modules that every fork has from its start on."""


def _spare_libraries() -> None:
    """Let the end of Python pass over the libraries: to take them apart is to copy them."""
    for name in _libraries:
        if name.partition(".")[0] not in LASTING:
            sys.modules.pop(name, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_libraries))


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
    if rules := [one for one in env.get("PYTHONWARNINGS", "").split(",") if one]:
        sys.warnoptions[:] = rules
        warnings._processoptions(rules)  # type: ignore[attr-defined]
    main = vars(sys.modules["__main__"])
    del main["serve"]
    if module:
        sys.modules.pop(module, None)  # it is carried out as __main__
        return lambda: runpy._run_module_as_main(module)  # type: ignore[attr-defined]
    main["__file__"] = arguments[0]
    source = Path(arguments[0]).read_bytes()
    return lambda: exec(compile(source, arguments[0], "exec"), main)
