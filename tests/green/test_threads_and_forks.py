"""One client in greenlets, native threads and processes, in programs of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.green.conftest import PROGRAMS, Program
from tests.helpers.dns_users import port_of
from tests.helpers.lying_dns import LyingServer
from tests.helpers.processes import ROOT, Process, python

THREADS = [
    "plain",
    "plain-threading",
    "plain-come-and-go",
    "plain-stream-moves",
    "gevent",
    "gevent-threadpool",
    "patched-threads",
    "patched-threading",
    "patched-first",
]
FORKS = [
    "plain-simple",
    "plain-both",
    "plain-thread",
    "plain-stream",
    "plain-exit",
    "plain-multiprocessing",
    "plain-server",
    "plain-handler",
    "plain-stopped",
    "gevent-simple",
    "gevent-both",
    "gevent-stopped",
    "patched-simple",
    "patched-both",
    "patched-greenlet",
    "patched-multiprocessing",
    "patched-server",
    "patched-handler",
    "patched-stopped",
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """That of one server for all of them."""
    options = ("--heartbeat", "1.0")
    with python(PROGRAMS / "service.py", *options, env={"PYTHONPATH": str(ROOT)}) as service:
        yield service.wait_for(r"^serving (\S+)$")[1]


@pytest.mark.parametrize("way", THREADS)
def test_threads(program: Program, endpoint: str, way: str) -> None:
    process = program("threads", way, endpoint)
    assert process.wait(timeout=100) == 0, process.describe()
    assert process.stdout == "fine\n", process.describe()
    assert complaints(process) == []


@pytest.mark.parametrize("way", FORKS)
def test_forks(program: Program, endpoint: str, way: str) -> None:
    # Python 3.12 and later warn of every fork beside a thread, such as ZeroMQ's own.
    process = program("forks", way, endpoint, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    assert process.wait(timeout=100) == 0, process.describe()
    assert process.stdout == "fine\n", process.describe()
    assert complaints(process) == []


@pytest.mark.parametrize(
    "way", ["plain-both", "plain-thread", "gevent-both", "patched-both", "patched-server"]
)
def test_forks_of_clients_that_follow_a_name_in_dns(program: Program, endpoint: str, way: str) -> None:
    with LyingServer() as dns:
        dns.service("_desk._tcp.mesh.test", f"127.0.0.1:{port_of(endpoint)}")
        env = {"PYTHONWARNINGS": "ignore::DeprecationWarning", "MESH_DOMAIN": "mesh.test"}
        process = program("forks", way, "desk", env={**env, "MESH_DNS": dns.address})
        assert process.wait(timeout=100) == 0, process.describe()
        assert process.stdout == "fine\n", process.describe()
        assert complaints(process) == []


@pytest.mark.parametrize("module", ["dns.rdtypes.IN.SRV", "dns.message", "encodings.idna"])
@pytest.mark.parametrize("way", ["plain", "patched"])
def test_a_fork_while_a_thread_of_mesh_imports(
    program: Program, endpoint: str, way: str, module: str
) -> None:
    with LyingServer() as dns:
        dns.service("_desk._tcp.mesh.test", f"127.0.0.1:{port_of(endpoint)}")
        name = f"tcp://desk.test:{port_of(endpoint)}" if module == "encodings.idna" else "desk"
        env = {"PYTHONWARNINGS": "ignore::DeprecationWarning", "MESH_DOMAIN": "mesh.test"}
        process = program("imports", way, module, name, env={**env, "MESH_DNS": dns.address})
        assert process.wait(timeout=60) == 0, process.describe()
        assert process.stdout == "fine\n", process.describe()


@pytest.mark.parametrize("way", ["plain-threading", "patched-first"])
def test_threads_of_clients_that_follow_a_name_in_dns(program: Program, endpoint: str, way: str) -> None:
    with LyingServer() as dns:
        dns.service("_desk._tcp.mesh.test", f"127.0.0.1:{port_of(endpoint)}")
        process = program("threads", way, "desk", env={"MESH_DOMAIN": "mesh.test", "MESH_DNS": dns.address})
        assert process.wait(timeout=100) == 0, process.describe()
        assert process.stdout == "fine\n", process.describe()
        assert complaints(process) == []


# Not patched with threads: gevent's patches can't wait for a child outside of the main thread.
@pytest.mark.parametrize("kind", ["0", "2", "puller"])
@pytest.mark.parametrize("way", ["plain-{}-start", "plain-{}-run"])
def test_a_child_that_a_handler_starts_has_an_exit_code_of_its_own(
    program: Program, way: str, kind: str
) -> None:
    check_codes(program, way, kind)


@pytest.mark.parametrize("kind", ["0", "puller"])
def test_such_a_child_in_a_patched_program(program: Program, kind: str) -> None:
    check_codes(program, "patched-{}-start", kind)


def check_codes(program: Program, way: str, kind: str) -> None:
    process = program("child_codes", way.format(kind), env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    assert process.wait(timeout=100) == 0, process.describe()
    lines = process.stdout.splitlines()
    assert "forked [3, 1, 1, 0, 4]" in lines, process.describe()
    assert kind == "puller" or "multiprocessing [0, 3]" in lines, process.describe()
    assert process.stderr.count("why it has ended") == 1
    assert process.stderr.count("KeyError: 'missing'") == 1, process.describe()


def complaints(process: Process) -> list[str]:
    """What it had to say, but that a fork has taken its time on a busy machine, or a hub that never was."""
    late = ("has blocked the event loop", "no connection yet; is a hub running there?")
    return [line for line in process.stderr.splitlines() if not any(one in line for one in late)]
