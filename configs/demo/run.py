"""`make demo`: starts servers, runs the real commands against them, and shows what they print.

Each step says what it expects; the exit code is 1 if any came out otherwise. All processes end
with this one.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from struct import pack
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MESH = [sys.executable, "-m", "mesh.cli.main"]
PATIENCE = 15.0  # seconds that any one command may take
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

PROGRAM = """\
import mesh

with mesh.connect("users") as users:
    print(users.get(41)["name"], "is number 41")
    for user in users.export():
        print(user["number"], user["name"])
    try:
        users.get(99)
    except KeyError as error:
        print("no user", error.msg)
"""


class Demo:
    """The servers, the registry that names them, and what came out otherwise than expected."""

    def __init__(self, folder: Path) -> None:
        self.registry = folder / "services.yml"
        self.servers: list[subprocess.Popen[str]] = []
        self.surprises: list[str] = []
        size = shutil.get_terminal_size((100, 30))
        self.columns = min(size.columns, 100)
        python_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.env = {
            **os.environ,
            "MESH_SERVICES": str(self.registry),
            "PYTHONPATH": os.pathsep.join(python_path),
        }
        self.env.pop("COLUMNS", None)
        if not COLOUR:
            self.env["NO_COLOR"] = "1"

    def serve(self, *arguments: str) -> str:
        """Start `mesh serve` in the background; gives its endpoint."""
        command = ["serve", *arguments, "--bind", "tcp://127.0.0.1:*"]
        prompt(f"mesh {shlex.join(command)} &")
        server = subprocess.Popen(
            [*MESH, *command],
            cwd=HERE,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.servers.append(server)
        assert server.stdout is not None
        ready, _, _ = select.select([server.stdout], [], [], PATIENCE)
        line = server.stdout.readline() if ready else ""
        print(line, end="")
        found = re.search(r" on (tcp://\S+)$", line)
        if found is None:
            raise SystemExit(f"the server did not start: mesh {shlex.join(command)}")
        return found[1]

    def write_registry(self, endpoints: list[str]) -> None:
        """services.yml, with the endpoints that the servers have got in place of its own."""
        left = iter(endpoints)
        text = (HERE / "services.yml").read_text()
        entries = [line for line in text.splitlines(keepends=True) if not line.startswith(("#", "\n"))]
        self.registry.write_text(re.sub(r"tcp://[\d.]+:\d+", lambda _: next(left), "".join(entries)))
        prompt("cat services.yml")
        print(self.registry.read_text())

    def mesh(self, *arguments: str, expect: str = "", code: int = 0) -> None:
        """Run `mesh ARGUMENTS` in a terminal. expect: a regular expression for what it shows."""
        prompt(f"mesh {shlex.join(arguments)}")
        self._run([*MESH, *arguments], f"mesh {shlex.join(arguments)}", expect, code)

    def python(self, program: str, expect: str) -> None:
        """Show a Python program, and run it."""
        prompt("cat program.py")
        print(program)
        prompt("python program.py")
        self._run([sys.executable, "-c", program], "python program.py", expect, 0)

    def kill(self, server: subprocess.Popen[str]) -> None:
        """SIGKILL, as when a machine goes down."""
        prompt(f"kill -9 {server.pid}\n")
        server.kill()
        server.wait()

    def _run(self, command: list[str], name: str, expect: str, code: int) -> None:
        shown, got = self._in_terminal(command)
        if got:
            print(dim(f"(exit code {got})"))
        print()
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
        if got != code:
            self.surprises.append(f"{name}: exit code {got}, not {code}")
        if not re.search(expect, plain):
            self.surprises.append(f"{name}: shows nothing like {expect!r}")

    def _in_terminal(self, command: list[str]) -> tuple[str, int]:
        """What the command shows in a terminal of our width, passed on as it comes; its exit code."""
        screen, inner = pty.openpty()
        set_size(inner, self.columns)
        process = subprocess.Popen(command, cwd=HERE, env=self.env, stdin=inner, stdout=inner, stderr=inner)
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
        finally:
            os.close(screen)
            if time.monotonic() >= deadline:
                process.kill()
        return shown, process.wait(PATIENCE)

    def close(self) -> None:
        """End all servers, at once if they don't by themselves."""
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            try:
                server.wait(3)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def play(demo: Demo) -> None:
    """The story."""
    title("Serve code that knows nothing of mesh: a class, twice (with users of its own each), and a module")
    endpoints = [demo.serve("users:Users", "--service", "users") for _ in range(2)]
    endpoints.append(demo.serve("urllib.parse", "--service", "urls"))
    print()

    title("Give the endpoints names")
    demo.write_registry(endpoints)
    demo.mesh("services", expect=r"users +up(.*\n)+ +up(.*\n)+urls +up")

    title("Look what is there")
    demo.mesh("call", "users", expect="get +The user of that number")
    demo.mesh("inspect", "users", "export", expect=r"export\(pause=0\.0\)")

    title("Call it by name: arguments are strings, with -j JSON; keyword arguments travel")
    demo.mesh("call", "users", "get", "42", expect="{'name': 'Bob', 'admin': False}")
    demo.mesh("call", "users", "get", "-j", "42", expect='{"name": "Bob", "admin": false}')
    demo.mesh("call", "users", "add", "-j", '"Cleo"', "--kw", "admin=true", expect="43")
    demo.mesh("call", "urls", "quote", "a b & c", expect="a%20b%20%26%20c")

    title("A stream comes item by item")
    demo.mesh("call", "users", "export", "0.4", expect="Ann(.*\n)+.*Bob")

    title("An exception arrives with its name, and as an exit code")
    demo.mesh("call", "users", "get", "99", code=1, expect="KeyError: 99")
    demo.mesh("call", "users", "gte", "42", code=1, expect="did you mean get")
    demo.mesh("call", "nobody", "get", code=3, expect="no service 'nobody'")

    title("The same from Python")
    demo.python(PROGRAM, expect="Ann is number 41\n(.*\n)+no user 99")

    title("One of the two servers is killed, and the calls go on")
    demo.kill(demo.servers[0])
    other = str(demo.servers[1].pid)
    for _ in range(3):
        demo.mesh("call", "users", "where", expect=rf"^{other}\n$")
    demo.mesh("services", expect=r"users +down(.*\n)+ +up")


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="mesh-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            play(demo)
        except KeyboardInterrupt:
            return 130
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            demo.close()
    for surprise in demo.surprises:
        print(f"demo: not as expected: {surprise}", file=sys.stderr)
    if demo.surprises:
        return 1
    title("All of it came out as it should. The code is in configs/demo/")
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


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


if __name__ == "__main__":
    sys.exit(main())
