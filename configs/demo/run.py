"""`make demo`: starts hubs and workers, runs the real commands against them, and shows what they print.

Each step says what it expects; the exit code is 1 if any came out otherwise. All processes end
with this one, whatever ends it.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from struct import pack
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = {"mesh": "mesh.cli.main", "mesh-hub": "hubs.command", "mesh-register": "mesh.cli.register"}
MESH = [sys.executable, "-m", MODULES["mesh"]]
PATIENCE = 30.0  # seconds that any one command may take
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
    """The hubs and servers, the files about them, and what came out otherwise than expected."""

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
        self.env.pop("COLUMNS", None)
        if not COLOUR:
            self.env["NO_COLOR"] = "1"

    def start(self, *command: str, says: str, cwd: Path = HERE) -> re.Match[str]:
        """Start a command in the background. says: a regular expression for what tells that it is ready."""
        prompt(f"{shlex.join(command)} &")
        server = self._begin([sys.executable, "-m", MODULES[command[0]], *command[1:]], cwd)
        assert server.stdout is not None
        shown, found = "", None
        while found is None or not shown.endswith("\n"):
            ready, _, _ = select.select([server.stdout], [], [], PATIENCE)
            text = os.read(server.stdout.fileno(), 65536).decode() if ready else ""
            if not text:
                raise SystemExit(f"this did not start: {shlex.join(command)}")
            shown += text
            found = re.search(says, shown)
        print(shown, end="", flush=True)
        return found

    def start_program(self, *command: str, cwd: Path) -> None:
        """Start another program in the background, which does not tell when it is ready."""
        prompt(f"{shlex.join([Path(command[0]).name, *command[1:]])} &\n")
        self._begin(command, cwd)

    def _begin(self, command: Sequence[str], cwd: Path) -> subprocess.Popen[bytes]:
        server = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=self.group.id,
        )
        self.servers.append(server)
        return server

    def write(self, name: str, endpoints: dict[str, str]) -> None:
        """A file of the demo with other endpoints, without its comments at the beginning."""
        text = re.sub(r"\A(#.*\n|\n)+", "", (HERE / name).read_text())
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

    def kill(self, server: subprocess.Popen[bytes]) -> None:
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


ANY = "tcp://127.0.0.1:*"


def play(demo: Demo) -> None:
    """The story."""
    title("Hubs from a file: one for a single service, one for many")
    ports = dict.fromkeys((f"tcp://127.0.0.1:{port}" for port in (1111, 2222, 5555)), ANY)
    demo.write("hub.yml", ports)
    hubs = demo.start(
        "mesh-hub",
        "hub.yml",
        says=r"hub users .* in (\S+) out (\S+)\nhub town .* in (\S+) out (\S+)\n",
        cwd=demo.folder,
    )
    print()

    title(
        "Workers of code that knows nothing of mesh: a class, twice, and a module; and a server without hub"
    )
    for _ in range(2):
        demo.start("mesh-register", "users", "users:Users", "--hub", hubs[2], says="serving users through")
    demo.start("mesh-register", "urls", "urllib.parse", "--hub", hubs[4], says="serving urls through")
    maths = demo.start(
        "mesh", "serve", "statistics", "--service", "maths", "--bind", ANY, says=r" on (tcp://\S+)"
    )
    print()

    title("Names for them")
    real = {
        "tcp://127.0.0.1:1111": hubs[1],
        "tcp://127.0.0.1:5555": hubs[3],
        "tcp://127.0.0.1:4242": maths[1],
    }
    demo.write("services.yml", real)
    demo.mesh("services", expect=r"users +up(.*\n)+urls +up(.*\n)+maths +up")

    title("Look what is there")
    demo.mesh("call", "users", expect="get +The user of that number")
    demo.mesh("inspect", "users", "export", expect=r"export\(pause=0\.0\)")

    title("Call it by name: arguments are strings, with -j JSON; keyword arguments travel")
    demo.mesh("call", "users", "get", "42", expect="{'name': 'Bob', 'admin': False}")
    demo.mesh("call", "users", "add", "-j", '"Cleo"', "--kw", "admin=true", expect="43")
    demo.mesh("call", "urls", "quote", "a b & c", expect="a%20b%20%26%20c")
    demo.mesh("call", "maths", "mean", "-j", "[1, 2, 6]", expect="3")

    title("A stream comes item by item")
    demo.mesh("call", "users", "export", "0.4", expect="Ann(.*\n)+.*Bob")

    title("An exception arrives with its name, and as an exit code")
    demo.mesh("call", "users", "get", "99", code=1, expect="KeyError: 99")
    demo.mesh("call", "users", "gte", "42", code=1, expect="did you mean 'get'")
    demo.mesh("call", "nobody", "get", code=3, expect="no service 'nobody'")

    title("The same from Python")
    demo.python(PROGRAM, expect="Ann is number 41\n(.*\n)+no user 99")

    title("What the hub sees")
    demo.mesh("hub-status", "users", expect="users")

    title("One of the two workers is killed, and the calls go on")
    demo.kill(demo.servers[1])
    other = str(demo.servers[2].pid)
    for _ in range(3):
        demo.mesh("call", "users", "where", expect=rf"^{other}\n$")
    demo.mesh("hub-status", "users", expect="users")

    names_in_dns(demo, maths[1])


def names_in_dns(demo: Demo, maths: str) -> None:
    """The server of maths once more, by a name that no file has but the zone of a real name server."""
    named = shutil.which("named") or shutil.which("named", path="/usr/sbin")
    if named is None:
        title("Names in DNS are shown where BIND is installed (on Debian: apt-get install bind9)")
        return
    title("A name that no file has, but DNS")
    folder, port = demo.folder / "dns", free_port()
    shutil.copytree(ROOT / "configs" / "dns", folder)
    settings = (folder / "named.conf").read_text().replace("port 5300", f"port {port}")
    (folder / "named.conf").write_text(settings)
    record = f"_sums._tcp SRV 10 1 {maths.rpartition(':')[2]} a"
    with (folder / "mesh.test.zone").open("a") as zone:
        zone.write(f"{record}\n")
    prompt(f"echo '{record}' >> mesh.test.zone")
    demo.start_program(named, "-f", "-n", "1", "-c", "named.conf", cwd=folder)
    demo.export(MESH_DOMAIN="mesh.test", MESH_DNS=f"127.0.0.1:{port}")
    demo.mesh("call", "sums", "mean", "-j", "[1, 2, 6]", expect="3")
    demo.mesh("services", "sums", expect=r"sums +up")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="mesh-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            play(demo)
        except KeyboardInterrupt:
            return 130
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            demo.close()
    for surprise in demo.surprises:
        print(f"demo: not as expected: {surprise}", file=sys.stderr)
    if demo.surprises:
        return 1
    title("All of it came out as it should. The code is in configs/demo/")
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


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
