"""A process that has no file descriptors left: what it says, and that what is open goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

import mesh
from mesh.errors import MeshError
from mesh.transport import descriptors
from mesh.transport.accepting import Accepting
from tests.helpers import peers
from tests.helpers.processes import Process, eventually

LIMIT = 100
PROGRAM = f"""
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
import mesh
logging.basicConfig()
server = mesh.Server({{"double": lambda number: 2 * number}})
endpoint = server.bind(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:*")
"""
SERVES = f"{PROGRAM}print('serving', endpoint, flush=True)\nserver.run()"
CALLS = f"""{PROGRAM}
server.start()
ends, wrong = [], None
make = [
    lambda: mesh.connect(endpoint, timeout=2),
    lambda: mesh.Publisher("tcp://127.0.0.1:9"),
    lambda: mesh.Subscriber("tcp://127.0.0.1:9", {{"a": print}}),
    lambda: mesh.Server({{"a": print}}),
]
first = mesh.connect(endpoint, timeout=5)
assert first.double(1) == 2
for number in range(200):
    try:
        end = make[number % 4]()
        ends.append(end)
        if number % 4 == 0:
            end.double(1)
    except mesh.MeshError as exc:
        wrong = exc
        break
print("after", len(ends), str(wrong), flush=True)
assert first.double(2) == 4
for end in ends:
    end.close() if isinstance(end, (mesh.Client, mesh.Publisher)) else end.stop(0)
with mesh.connect(endpoint, timeout=20) as client:
    print(client.double(21), flush=True)
"""
OUT = f" left, its limit is {LIMIT}: raise it (`ulimit -n`)"


def test_it_is_told_and_what_is_open_goes_on() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=60, check=False
    )
    assert OUT in ran.stdout and ran.stdout.endswith("42\n"), ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


NEAR = """
import os, resource, sys
import mesh
for limit in range(60, 70):
    if os.fork():
        if os.wait()[1]:
            sys.exit(f"ended at {limit}")
        continue
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kept = []
    try:
        while True:
            kept.append(mesh.Publisher() if sys.argv[1] == "Publisher" else mesh.Server({"a": print}))
            kept[-1].bind("tcp://127.0.0.1:*")
            if sys.argv[1] == "Server":
                kept[-1].start()
    except mesh.MeshError:
        os._exit(0)
"""


@pytest.mark.parametrize("kind", ["Publisher", "Server"])
def test_no_number_of_them_that_is_left_ends_the_process(kind: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NEAR, kind], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stderr.splitlines() if "of this process are all but used" not in line]
    assert said == [], "but for what a server says where it comes to look before it is done"


def test_a_command_says_it_in_a_line() -> None:
    mesh_command = Path(sys.executable).parent / "mesh"
    bare = f"ulimit -n 12; exec {mesh_command} call tcp://127.0.0.1:9 double 1 --timeout 1"
    ran = subprocess.run(["sh", "-c", bare], capture_output=True, text=True, timeout=60, check=False)
    assert "left, its limit is 12" in ran.stderr, ran.stderr
    assert len(ran.stderr.splitlines()) == 1 and ran.returncode in (1, 3)


@pytest.fixture(params=["tcp", "ipc"])
def full_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Process, str]]:
    at = "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/s.ipc"
    with Process([sys.executable, "-c", SERVES, at]) as process:
        yield process, process.wait_for(r"^serving (\S+)$")[1]


def test_a_server_at_its_limit_accepts_no_more_until_it_can(full_server: tuple[Process, str]) -> None:
    process, endpoint = full_server
    with mesh.connect(endpoint, timeout=20) as client:
        assert client.double(1) == 2
        with zmq.Context() as context:
            full = f"the {LIMIT} file descriptors of this process are all but used"
            crowd = [context.socket(zmq.DEALER) for _ in range(2 * LIMIT)]
            waiting = iter(crowd)
            # One by one, and not to the end: by ipc libzmq ends the process that comes to its limit.
            while full not in process.stderr and _files(process) < LIMIT - descriptors.MARGIN + 2:
                before = _sockets(process)
                next(waiting).connect(endpoint)
                eventually(
                    lambda before=before: full in process.stderr or _sockets(process) - before,
                    what=lambda: f"one more connection: {process.describe()}",
                )
            process.wait_for(full)
            # Else libzmq's thread would try to accept again and again.
            eventually(lambda: _events_of_listeners(process.pid) == {0x18}, what="rest")
            connected = crowd[: -len(list(waiting))]
            for one in crowd[len(connected) :]:
                one.connect(endpoint)
            assert client.double(21) == 42
            for one in connected:
                one.close(0)
            # Those that have waited would all come at once, and be more than there is room for.
            process.wait_for("connections are accepted")
            eventually(lambda: process.stderr.count(full) > 1, what=process.describe)
            assert client.double(22) == 44
            context.destroy(0)
        process.wait_for("connections are accepted")
        eventually(
            lambda: 0x19 in _events_of_listeners(process.pid),
            what=lambda: f"the events of before: {process.describe()}",
        )
        with mesh.connect(endpoint, timeout=20) as other:
            assert other.double(4) == 8


def _files(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def _sockets(process: Process) -> set[str]:
    """Those that it has, by their inodes: it has copies of some for a moment, to look at them."""
    found = set()
    for one in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(one))
    return {one for one in found if one.startswith("socket:")}


def _events_of_listeners(pid: int) -> set[int]:
    """What the epolls of a process wait for at its listening sockets."""
    listening = set()
    for line in [*Path("/proc/net/tcp").read_text().splitlines()[1:]]:
        fields = line.split()
        if fields[3] == "0A":
            listening.add(fields[9])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "00010000":
            listening.add(fields[6])
    folder = Path(f"/proc/{pid}")
    of = {one.name: os.readlink(one) for one in (folder / "fd").iterdir() if one.is_symlink()}
    events = set()
    for name, what in of.items():
        if what == "anon_inode:[eventpoll]":
            for line in (folder / "fdinfo" / name).read_text().splitlines():
                words = line.split()
                if words and words[0] == "tfd:" and of.get(words[1], "")[8:-1] in listening:
                    events.add(int(words[3], 16))
    return events


def test_only_what_says_so_is_told_as_that() -> None:
    with pytest.raises(zmq.ZMQError), descriptors.told():
        raise zmq.ZMQError(errno.EINVAL)
    with pytest.raises(MeshError, match="the system has no file descriptors left"), descriptors.told():
        raise zmq.ZMQError(errno.ENFILE)
    with pytest.raises(SystemError), descriptors.told():
        raise SystemError("something else")
    assert descriptors.problem() == "" and descriptors.free(5) == 5


LEFT = """
import os, resource, sys
from mesh.transport import descriptors
from mesh.transport.accepting import Accepting
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
if sys.argv[2] == "old":
    os.stat = lambda path: os.stat_result([0] * 10)  # as a Linux of before 6.2 has it
kept, told = [], []
try:
    while True:
        told.append(descriptors.free(32))
        kept.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
assert told == [min(32, len(kept) - number) for number in range(len(kept) + 1)], told
for one in kept[::2]:
    os.close(one)
assert descriptors.free(32) == min(32, len(kept[::2])), descriptors.free(32)
assert descriptors.free(1) == 1
"""


@pytest.mark.parametrize("system", ["new", "old"])
@pytest.mark.parametrize("limit", [30, 100, 3_000])
def test_what_is_left_is_counted(limit: int, system: str) -> None:
    command = [sys.executable, "-c", LEFT, str(limit), system]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


OPENS_NONE = """
import os, resource, sys, threading
import mesh
from mesh.transport import descriptors
from mesh.transport.accepting import Accepting
from mesh.transport.accepting import Accepting
server = mesh.Server({"one": lambda: 1})
server.bind("tcp://127.0.0.1:*")
accepting, kept = Accepting(), []
while accepting._version < 0:
    accepting.look()
opened = []
sys.addaudithook(lambda event, args: event in ("open", "os.listdir") and opened.append(args))
for near in (False, True):
    if near:
        end = len(os.listdir("/proc/self/fd")) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (end, end))
    opened.clear()
    for _ in range(10):
        accepting.look()
        assert not opened, opened
os._exit(0)
"""


def test_the_look_whether_some_are_left_opens_none_that_a_fork_would_inherit() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OPENS_NONE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


COSTS = """
import os, sys, time
from gevent import monkey
monkey.patch_all()
import mesh
endpoint, hub = sys.argv[1:]

def cost(make):
    before = len(os.listdir("/proc/self/fd"))
    one = make()
    give_up, last = time.monotonic() + 20, []
    while time.monotonic() < give_up and (len(last) < 20 or len(set(last)) > 1):
        last = [*last[-19:], len(os.listdir("/proc/self/fd")) - before]
        time.sleep(0.02)
    return one, last[-1]

def client():
    one = mesh.connect(endpoint, timeout=20)
    one.add(1, 1)
    return one

def worker():
    one = mesh.Server({"double": lambda number: 2 * number})
    one.register("double", hub)
    one.start()
    return one

kept = [client(), worker()]
time.sleep(0.3)
for make in (client, worker):
    one, number = cost(make)
    kept.append(one)
    print(make.__name__, number, flush=True)
os._exit(0)
"""


def test_a_client_and_a_registered_worker_need_three_beside_others() -> None:
    with peers.mesh_server() as server, zmq.Context() as context:
        hub = context.socket(zmq.ROUTER)
        hub.linger = 0
        hub.bind("tcp://127.0.0.1:*")
        at = hub.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        command = [sys.executable, "-c", COSTS, server.endpoint, at]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        hub.close()
    assert ran.stdout.splitlines() == ["client 3", "worker 3"], ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("before", "after", "accepts"),
    [(21, 20, True), (21, 18, False), (17, 17, True), (500, 31, False), (500, 32, True)],
)
def test_what_was_room_enough_before_is_enough_again(
    monkeypatch: pytest.MonkeyPatch, before: int, after: int, accepts: bool
) -> None:
    """Also for a process that never has much to spare, as by `ulimit -n 40`."""
    free = before
    monkeypatch.setattr(descriptors, "free", lambda most: min(free, most))
    accepting = Accepting()
    monkeypatch.setattr(accepting, "_find", lambda: None)
    monkeypatch.setattr(accepting, "_set_events", lambda events: True)
    monkeypatch.setattr(accepting, "_some_wait", lambda: False)
    for _ in range(2):
        free = before
        assert not accepting.look() and not accepting.stopped
        free = descriptors.MARGIN - 1
        assert accepting.look() and accepting.stopped
        free = after
        assert accepting.look() is accepts
        free = before
        accepting.look()
        assert not accepting.stopped
