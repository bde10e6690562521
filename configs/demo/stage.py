"""Runs the demo's servers and commands, and shows what they print as a shell would.

All processes end with this one, whatever ends it.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from struct import pack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENTRIES = {
    "mesh": "mesh.cli.entry:mesh",
    "mesh-hub": "hubs.entry:mesh_hub",
    "mesh-register": "mesh.cli.entry:mesh_register",
}
"""The functions behind the commands, which this copy of mesh need not be installed for."""
PATIENCE = 30.0  # seconds that any one command may take
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Group:
    """A process group that ends with this process, also if that is killed.

    A shell leads it and reads a pipe that only this process holds the other end of: once that is gone, it
    kills the group. A child holds that end, too, until it has become another program, and is a member by
    then. So there is no moment in which one can be missed, and nothing of it needs Linux.
    """

    def __init__(self) -> None:
        self._leader = subprocess.Popen(
            ["sh", "-c", "read nothing; kill -KILL 0"], stdin=subprocess.PIPE, process_group=0
        )

    @property
    def id(self) -> int:
        return self._leader.pid

    def end(self) -> None:
        """Kill what is left of it."""
        assert self._leader.stdin is not None
        self._leader.stdin.close()
        self._leader.wait()


class Demo:
    """The collector, hubs and servers, the files about them, and what came out otherwise than expected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = Group()
        self.registry = folder / "services.yml"
        self.servers: list[subprocess.Popen[bytes]] = []
        self.surprises: list[str] = []
        size = shutil.get_terminal_size((100, 30))
        self.columns = min(size.columns, 100)
        python_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.env = {
            **os.environ,
            "MESH_SERVICES": str(self.registry),
            "PYTHONPATH": os.pathsep.join(python_path),
        }
        for name in ("COLUMNS", "MESH_TRACE", "MESH_TRACE_RATE"):
            self.env.pop(name, None)
        if not COLOUR:
            self.env["NO_COLOR"] = "1"

    def start(self, command: str, says: str, cwd: Path = HERE) -> re.Match[str]:
        """Start a command in the background. says: a regular expression for what tells that it is ready."""
        prompt(f"{command} &")
        return self._await(self._begin(_command(command), cwd), command, says)

    def start_all(self, *commands: tuple[str, str]) -> list[re.Match[str]]:
        """Start several at once, which takes less time: each with what it says once it is ready."""
        begun = [self._begin(_command(command), HERE) for command, _ in commands]
        found = []
        for (command, says), server in zip(commands, begun, strict=True):
            prompt(f"{command} &")
            found.append(self._await(server, command, says))
        return found

    def call(self, command: str) -> tuple[subprocess.Popen[bytes], str]:
        """Begin a `mesh call --trace …` in the background; gives it, and the trace's id."""
        prompt(f"{command} &")
        process = self._begin(_command(command), HERE, errors=True)
        return process, self._await(process, command, r"TraceID: (\w+)\n")[1]

    def finish(self, process: subprocess.Popen[bytes], expect: str) -> None:
        """Wait until that call has ended, and show what it still says."""
        prompt("wait")
        try:
            shown = process.communicate(timeout=PATIENCE)[0].decode()
        except subprocess.TimeoutExpired:
            raise SystemExit(f"the call has not ended after {PATIENCE:.0f} seconds") from None
        print(shown)
        self.servers.remove(process)
        self._check("the call that waited", shown, process.returncode, expect, 0)

    def start_program(self, *command: str, cwd: Path) -> None:
        """Start another program in the background, which does not tell when it is ready."""
        prompt(f"{shlex.join([Path(command[0]).name, *command[1:]])} &\n")
        self._begin(command, cwd)

    def _await(self, process: subprocess.Popen[bytes], name: str, says: str) -> re.Match[str]:
        """Show what it prints until it has said that."""
        assert process.stdout is not None
        shown, found = "", None
        while found is None or not shown.endswith("\n"):
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            text = os.read(process.stdout.fileno(), 65536).decode() if ready else ""
            if not text:
                raise SystemExit(f"this did not start: {name}")
            shown += text
            found = re.search(says, shown)
        print(shown, end="", flush=True)
        return found

    def _begin(self, command: Sequence[str], cwd: Path, errors: bool = False) -> subprocess.Popen[bytes]:
        """errors: what it writes to standard error comes with its output."""
        server = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            process_group=self.group.id,
        )
        self.servers.append(server)
        return server

    def write(self, name: str, endpoints: dict[str, str], leave: str = "") -> None:
        """A file of the demo with other endpoints, without its comments at the beginning, and without the
        line of what is not there yet.
        """
        text = re.sub(r"\A(#.*\n|\n)+", "", (HERE / name).read_text())
        if leave:
            text = re.sub(rf"^{leave}:.*\n", "", text, flags=re.MULTILINE)
        for theirs, ours in endpoints.items():
            text = text.replace(theirs, ours)
        (self.folder / name).write_text(text)
        prompt(f"cat {name}")
        print(text)

    def export(self, **variables: str) -> None:
        """Set variables for what is run from now on."""
        prompt(
            "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()) + "\n"
        )
        self.env.update(variables)

    def append(self, name: str, line: str) -> None:
        """One line more in a file of the demo."""
        prompt(f"echo {shlex.quote(line)} >> {name}\n")
        with (self.folder / name).open("a") as file:
            file.write(f"{line}\n")

    def mesh(self, *arguments: str, expect: str = "", code: int = 0) -> str:
        """Run `mesh ARGUMENTS` in a terminal; gives what it shows. expect: a regular expression for that."""
        command = f"mesh {shlex.join(arguments)}"
        prompt(command)
        return self._run(_command(command), command, expect, code)

    def python(self, program: str, expect: str) -> None:
        """Show a Python program, and run it."""
        prompt("cat program.py")
        print(program)
        prompt("python program.py")
        self._run([sys.executable, "-c", program], "python program.py", expect, 0)

    def kill(self, server: subprocess.Popen[bytes]) -> None:
        """SIGKILL, as when a machine goes down."""
        prompt(f"kill -9 {server.pid}\n")
        server.kill()
        server.wait()

    def _run(self, command: list[str], name: str, expect: str, code: int) -> str:
        shown, got = self._in_terminal(command)
        if got:
            print(dim(f"(exit code {got})"))
        print()
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
        self._check(name, plain, got, expect, code)
        return plain

    def _check(self, name: str, shown: str, got: int, expect: str, code: int) -> None:
        if got != code:
            self.surprises.append(f"{name}: exit code {got}, not {code}")
        if not re.search(expect, shown):
            self.surprises.append(f"{name}: shows nothing like {expect!r}")

    def _in_terminal(self, command: list[str]) -> tuple[str, int]:
        """What the command shows in a terminal of our width, passed on as it comes; its exit code."""
        screen, inner = pty.openpty()
        set_size(inner, self.columns)
        process = subprocess.Popen(
            command,
            cwd=HERE,
            env=self.env,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            process_group=self.group.id,
        )
        os.close(inner)
        shown = ""
        deadline = time.monotonic() + PATIENCE
        try:
            while select.select([screen], [], [], max(deadline - time.monotonic(), 0))[0]:
                text = os.read(screen, 65536).decode(errors="replace").replace("\r\n", "\n")
                if not text:
                    break
                shown += text
                print(text, end="", flush=True)
        except OSError:
            pass  # the command has closed its side
        except BaseException:
            process.kill()  # it would wait for servers that end, too
            raise
        finally:
            os.close(screen)
            if time.monotonic() >= deadline:
                process.kill()
        return shown, process.wait(PATIENCE)

    def close(self) -> None:
        """Ask all servers to end, and kill what has not after three seconds."""
        for server in self.servers:
            server.terminate()
        deadline = time.monotonic() + 3
        for server in self.servers:
            try:
                server.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                break
        self.group.end()


def title(text: str) -> None:
    print(f"\x1b[1m{text}\x1b[0m" if COLOUR else f"# {text}", flush=True)


def prompt(text: str) -> None:
    print(f"{dim('$')} {text}", flush=True)


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if COLOUR else text


def set_size(terminal: int, columns: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, pack("HHHH", 50, columns, 0, 0))


def _command(text: str) -> list[str]:
    """What a shell makes of it, with this Python and this copy of mesh: known to traces as what was typed."""
    name, *arguments = shlex.split(text)
    if name not in ENTRIES:
        return [sys.executable, *arguments]
    module, _, function = ENTRIES[name].partition(":")
    program = f"import sys, {module} as entry; sys.argv[0] = {name!r}; sys.exit(entry.{function}())"
    return [sys.executable, "-c", program, *arguments]
