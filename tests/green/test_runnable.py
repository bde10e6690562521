"""A server's life: endpoints, start, drain, stop; in programs of every kind."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
from mesh.green.threads import Box
from tests.green.conftest import Connect, Program
from tests.helpers.processes import eventually


class Service:
    def __init__(self) -> None:
        self.server: mesh.Server | None = None
        self.begun: list[Any] = []

    def echo(self, value: Any) -> Any:
        return value

    def slow(self, seconds: float) -> str:
        self.begun.append(seconds)
        gevent.sleep(seconds)
        return "done"

    def stop(self) -> str:
        assert self.server is not None
        self.server.stop()
        return "stopping"


def made(**options: Any) -> tuple[Service, mesh.Server, str]:
    service = Service()
    server = service.server = mesh.Server(service, **options)
    return service, server, server.bind("tcp://127.0.0.1:*")


def test_bind_gives_the_real_endpoint_and_may_be_repeated(connect: Connect, tmp_path: Any) -> None:
    server = mesh.Server(Service())
    endpoints = [
        server.bind("tcp://127.0.0.1:*"),
        server.bind("tcp://127.0.0.1:*"),
        server.bind("inproc://life"),
    ]
    endpoints.append(server.bind(f"ipc://{tmp_path}/s"))
    assert all("*" not in endpoint for endpoint in endpoints)
    with server:
        for endpoint in endpoints:
            assert connect(endpoint).echo(1) == 1
        endpoints.append(server.bind("tcp://127.0.0.1:*"))  # while it runs
        assert connect(endpoints[-1]).echo(2) == 2


def test_a_bad_endpoint_is_told() -> None:
    server = mesh.Server(Service())
    taken = server.bind("tcp://127.0.0.1:*")
    with pytest.raises(mesh.ConfigError, match="in use already"):
        mesh.Server(Service()).bind(taken)
    with pytest.raises(mesh.ConfigError, match="'nonsense' is no endpoint"):
        server.bind("nonsense")
    server.stop()


def test_nothing_to_expose() -> None:
    with pytest.raises(mesh.ConfigError, match="no public method"):
        mesh.Server({})


def test_a_server_is_started_once() -> None:
    _, server, _ = made()
    server.start()
    with pytest.raises(mesh.MeshError, match="make a new one"):
        server.start()
    server.stop()
    with pytest.raises(mesh.MeshError, match="make a new one"):
        server.run()
    _, unused, _ = made()
    unused.stop()
    unused.stop()


def test_its_address_is_free_after_stop() -> None:
    for _ in range(3):
        _, server, endpoint = made()
        server.start()
        with mesh.connect(endpoint, timeout=20) as client:
            client.echo(1)
        server.stop()
        again = mesh.Server(Service())
        eventually(lambda again=again, endpoint=endpoint: bound(again, endpoint), what="the port")
        again.stop()


def bound(server: mesh.Server, endpoint: str) -> bool:
    try:
        return server.bind(endpoint) == endpoint
    except mesh.ConfigError:  # libzmq lets go of a port a moment later
        return False


@pytest.mark.parametrize("threads", [0, 5])
def test_stop_drains_and_new_calls_are_refused_in_words(connect: Connect, threads: int) -> None:
    service, server, endpoint = made(threads=threads)
    server.start()
    client = connect(endpoint)
    running = [client.slow.future(0.8) for _ in range(2)]
    eventually(lambda: len(service.begun) == 2)
    stopping = Box()
    threading.Thread(target=stopping.fill, args=(server.stop, ())).start()

    def refused() -> bool:
        try:
            client.echo(1)
        except mesh.LostRemote as exc:
            assert "the server is stopping and takes no more calls" in str(exc)
            assert exc.refused
            return True
        return False

    eventually(refused)
    assert [one.result(timeout=20) for one in running] == ["done", "done"]
    eventually(lambda: stopping.wait(0.0), what="the end of stop()")
    assert stopping.error is None


def test_queued_calls_are_carried_out_before_the_end(connect: Connect) -> None:
    service, server, endpoint = made(pool_size=1)
    server.start()
    client = connect(endpoint)
    calls = [client.slow.future(seconds) for seconds in (1.0, 0, 0, 0, 0, 0)]
    eventually(lambda: service.begun and len(server._endpoint.session.calls) == 6)
    server.stop()
    assert [one.result(timeout=20) for one in calls] == ["done"] * 6


def test_stop_leaves_callers_the_time_to_read_the_last_answers(connect: Connect) -> None:
    server = mesh.Server({"hello": lambda: "world"})
    client = connect(server.bind("tcp://127.0.0.1:*"))
    server.start()
    began = time.monotonic()
    assert client.hello() == "world"
    server.stop(5)
    assert time.monotonic() - began > 0.2


def test_one_that_is_told_to_stop_a_moment_before_it_runs_ends_at_once() -> None:
    """As by a signal that comes while a program starts."""
    _, server, endpoint = made()
    server.begin_to_stop()
    began = time.monotonic()
    server.run()
    assert time.monotonic() - began < 10
    with pytest.raises(mesh.MeshError, match="make a new one"):
        server.run()
    again = mesh.Server(Service())
    eventually(lambda: bound(again, endpoint), what="the port")
    again.stop()


@pytest.mark.parametrize("caller", ["none", "has gone", "has read long ago"])
@pytest.mark.parametrize("threads", [0, 2])
def test_stop_of_an_idle_server_takes_no_time(caller: str, threads: int) -> None:
    """The first that is quick counts: a busy machine may hold up any one, but a stop that waits never is."""

    def seconds() -> float:
        server = mesh.Server({"hello": lambda: "world"}, threads=threads)
        endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        client = None
        if caller != "none":
            client = mesh.connect(endpoint, timeout=20)
            assert client.hello() == "world"
        if client and caller == "has gone":
            client.close()
            router = server._endpoint.router
            assert router is not None
            eventually(lambda: not router.peers.connected)
        elif client:
            eventually(lambda: not server._endpoint.read_by)
        began = time.monotonic()
        server.stop()
        took = time.monotonic() - began
        if client:
            client.close()
        return took

    took: list[float] = []
    while not took or took[-1] >= 0.02:
        took.append(seconds())
        assert len(took) < 30, f"each of these stops took too long: {took}"


def test_stop_waits_no_longer_than_it_is_told(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mesh.server")
    service, server, endpoint = made()
    server.start()
    client = connect(endpoint)
    pending = client.slow.future(30)
    eventually(lambda: service.begun)
    began = time.monotonic()
    server.stop(timeout=0.2)
    assert time.monotonic() - began < 10, "not as long as the call"
    with pytest.raises(mesh.LostRemote):
        pending.result(timeout=20)
    assert re.search(
        r"Service: waits for 1 calls, for at most 0.2 s: 'slow' for \d\.\d s from 127\.0\.0\.1$",
        caplog.text,
        re.MULTILINE,
    )
    assert "1 calls still ran after 0.2 s and are given up: 'slow' for " in caplog.text
    assert server.cut_off == 1


def test_the_log_of_a_drain_counts_what_it_does_not_name(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service, server, endpoint = made()
    server.start()
    client = connect(endpoint)
    calls = [client.slow.future(30) for _ in range(13)]
    gone = connect(endpoint)
    left = gone.slow.future(31)
    eventually(lambda: len(service.begun) == 14)
    left.cancel()
    eventually(lambda: server._endpoint.session.abandoned)
    server.stop(timeout=0.1)
    (line,) = (line for line in caplog.text.splitlines() if "still ran" in line)
    assert "14 calls" in line and line.endswith("; and 4 more") and line.count("'slow' for") == 10
    assert len(line) < 1_500 and server.cut_off == 14
    for call in calls:
        with pytest.raises(mesh.LostRemote):
            call.result(timeout=20)


def test_a_handler_that_runs_for_nobody_is_waited_for_and_named(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service, server, endpoint = made()
    server.start()
    left = connect(endpoint).slow.future(30)
    eventually(lambda: service.begun)
    left.cancel()
    eventually(lambda: server._endpoint.session.abandoned)
    server.stop(timeout=0.1)
    assert re.search(r"given up: 'slow' for \d\.\d s for a caller that has gone$", caplog.text, re.MULTILINE)
    assert server.cut_off == 1


def test_stop_gives_up_handlers_in_threads_that_take_too_long(connect: Connect) -> None:
    class Blocking:
        def nap(self, seconds: float) -> str:
            time.sleep(seconds)
            return "rested"

    server = mesh.Server(Blocking(), threads=2)
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    client = connect(endpoint)
    pending = client.nap.future(0.8)
    with pytest.raises(mesh.TimeoutExpired):
        pending.result(timeout=0.1)
    server.stop(timeout=0.1)
    with pytest.raises(mesh.LostRemote):
        pending.result(timeout=20)
    gevent.sleep(0.8)  # the thread comes back to a loop that is gone


@pytest.mark.parametrize("threads", [0, 1])
def test_a_handler_may_stop_its_server_and_is_answered(connect: Connect, threads: int) -> None:
    _, server, endpoint = made(threads=threads)
    server.start()
    client = connect(endpoint)
    assert client.stop() == "stopping"
    server.stop()
    with pytest.raises((mesh.LostRemote, mesh.TimeoutExpired)):
        client.with_options(timeout=0.2).echo(1)


def test_every_stop_waits_for_the_end(connect: Connect) -> None:
    service, server, endpoint = made()
    server.start()
    client = connect(endpoint)
    pending = client.slow.future(0.3)
    eventually(lambda: service.begun)
    first = threading.Thread(target=server.stop)
    first.start()
    server.stop()
    assert pending.result(timeout=20) == "done"
    eventually(lambda: not first.is_alive())


def test_a_server_in_the_loop_of_its_client_and_stop_from_a_thread() -> None:
    def program() -> str:
        service, server, endpoint = made()
        server.start()  # in this loop, as this is a greenlet
        with mesh.connect(endpoint, timeout=20) as client:
            assert client.echo("same loop") == "same loop"
            pending = client.slow.future(0.2)
            eventually(lambda: service.begun)
            thread = threading.Thread(target=server.stop)
            thread.start()
            eventually(lambda: not thread.is_alive(), what="stop() in a thread")
            return str(pending.result(timeout=20))

    assert gevent.spawn(program).get(timeout=20) == "done"


def test_a_handler_calls_its_own_server(connect: Connect) -> None:
    class Recursive:
        client: mesh.Client

        def factorial(self, n: int) -> int:
            return 1 if n < 2 else n * int(self.client.factorial(n - 1))

        def items(self, n: int) -> Any:
            yield n
            if n:
                yield from self.client.items(n - 1)

    target = Recursive()
    server = mesh.Server(target)
    endpoint = server.bind("tcp://127.0.0.1:*")
    with server, mesh.connect(endpoint, timeout=20) as target.client:
        client = connect(endpoint)
        assert client.factorial(15) == 1307674368000
        assert list(client.items(10)) == list(range(10, -1, -1))


def test_two_servers_that_call_each_other(connect: Connect) -> None:
    class Player:
        other: mesh.Client

        def ball(self, n: int) -> list[str]:
            return ["end"] if not n else [f"{n}", *self.other.ball(n - 1)]

    def program() -> list[str]:
        ping, pong = Player(), Player()
        servers = mesh.Server(ping), mesh.Server(pong)
        endpoints = [server.bind("tcp://127.0.0.1:*") for server in servers]
        ping.other, pong.other = (mesh.connect(endpoint, timeout=20) for endpoint in reversed(endpoints))
        with servers[0], servers[1], mesh.connect(endpoints[0], timeout=20) as client:
            result = client.ball(10)
            ping.other.close()
            pong.other.close()
            return list(result)

    expected = [str(n) for n in range(10, 0, -1)] + ["end"]
    assert program() == expected
    assert gevent.spawn(program).get(timeout=20) == expected


def test_a_server_that_is_dropped_or_stopped_leaves_nothing(connect: Connect) -> None:
    def alive() -> int:
        gc.collect()
        return sum(
            type(one).__name__ in ("ServerEndpoint", "Workers", "ServerSession") for one in gc.get_objects()
        )

    def one(started: bool) -> None:
        _, server, endpoint = made()
        if started:
            server.start()
            with mesh.connect(endpoint, timeout=20) as client:
                client.slow(0.01)
                with pytest.raises(NameError):
                    client.nothing()
            server.stop()

    before = alive()
    for number in range(6):
        one(number % 2 == 0)
        gevent.spawn(one, number % 2 == 0).get()
    eventually(lambda: alive() <= before, what="the end of the servers' objects")


WAYS = [
    "plain-background",
    "plain-foreground",
    "plain-thread",
    "gevent-background",
    "gevent-foreground",
    "patched-background",
    "patched-foreground",
    "patched-thread",
]


@pytest.mark.parametrize("way", WAYS)
def test_in_a_program(program: Program, way: str) -> None:
    process = program("life", way)
    assert process.wait() == 0, process.describe()
    lines = process.stdout.split("\n")
    assert lines[0].startswith("call ")
    assert "drained done" in lines or "drained True" in lines, process.describe()
    assert "ended" in lines
    assert process.stderr == ""


@pytest.mark.parametrize("way", ["plain-signal", "patched-signal"])
def test_a_signal_handler_stops_it_after_the_running_calls(
    program: Program, connect: Connect, way: str
) -> None:
    process = program("life", way)
    client = connect(process.wait_for(r"serving (\S+)")[1])
    pending = client.slow.future(0.4)
    client.slow(0.01)
    process.signal(signal.SIGTERM)
    assert pending.result(timeout=20) == "done"
    assert process.wait() == 0
    assert "handled\nended\n" in process.stdout


@pytest.mark.parametrize("way", ["plain-signal-busy", "patched-signal-busy"])
def test_a_signal_handler_that_interrupts_mesh_itself(
    program: Program, way: str, record_property: Callable[..., None]
) -> None:
    processes = [program("life", way) for _ in range(3)]
    for process in processes:
        process.wait_for("serving")
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        assert process.wait() == 0, process.describe()
        assert "ended" in process.stdout


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("text")
    server = mesh.Server({"f": len})
    with pytest.raises(mesh.ConfigError, match="precious' is a file, not a socket: take another path"):
        server.bind(f"ipc://{path}")
    server.stop()
    assert path.read_text() == "text"


@pytest.mark.parametrize("endpoint", [None, 5, "127.0.0.1:1", "tcp://127.0.0.1:99999", "ipc://" + "x" * 200])
def test_wrong_endpoints_are_said_so(endpoint: Any) -> None:
    server = mesh.Server({"f": len})
    with pytest.raises(mesh.ConfigError):
        server.bind(endpoint)
    with pytest.raises(mesh.ConfigError):
        server.connect(endpoint)
    server.stop()


RESTS = """
import atexit, threading
import mesh

atexit.register(lambda: print("rests", *native_loops._hubs.values()))
server = mesh.Server({"one": lambda: 1})
endpoint = server.bind("tcp://127.0.0.1:*")
server.start()
from mesh.green.native_loops import native_loops
thread = threading.Thread(target=lambda: mesh.connect(endpoint, timeout=10).one())
thread.start()
thread.join()
stopped = mesh.Server({"two": lambda: 2})
stopped.bind("tcp://127.0.0.1:*")
stopped.start()
stopped.stop()
"""


def test_loops_of_native_threads_rest_when_the_program_ends() -> None:
    """As the interpreter ends they would be cut off in the midst of whatever they are in, and crash."""
    ran = subprocess.run(
        [sys.executable, "-c", RESTS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "rests True True\n", "")
