"""Peers that die, stand still, compute, or come back."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import PROGRAMS, Connect, Program, Serve
from tests.helpers.clients import endpoint_of, link_of
from tests.helpers.computing import compute_a_moment
from tests.helpers.processes import ROOT, Process, eventually

Service = Callable[..., tuple[str, Process]]
BEAT = 0.5


def lost(pending: Any) -> tuple[float, mesh.LostRemote]:
    """Seconds until the call ended with LostRemote."""
    began = time.monotonic()
    with pytest.raises(mesh.LostRemote) as caught:
        pending.result(timeout=20)
    return time.monotonic() - began, caught.value


def settled(client: mesh.Client, number: int) -> None:
    """The server has noted this many calls."""
    eventually(lambda: len(client.events()) >= number)


def test_a_killed_server_fails_its_calls_at_once(service: Service, connect: Connect) -> None:
    endpoint, process = service()
    client = connect(endpoint, timeout=30)
    calls = [client.hold.future(n) for n in range(20)]
    stream = client.ticks(30)
    assert next(stream) == 0
    settled(client, 20)
    item = gevent.spawn(next, stream)
    gevent.sleep(0)
    began = time.monotonic()
    process.signal(signal.SIGKILL)
    for call in calls:
        _, error = lost(call)
        assert endpoint in str(error)
        assert "'hold' was open" in str(error)
        assert not error.refused
    assert time.monotonic() - began < 5, "two of the usual heartbeats are 10 s"
    with pytest.raises(mesh.LostRemote):
        item.get(timeout=1)


def test_a_server_that_comes_back_is_found(service: Service, connect: Connect) -> None:
    endpoint, process = service()
    client = connect(endpoint, timeout=15)
    first = client.pid()
    process.kill()
    _, again = service("--bind", endpoint)
    second = client.pid()
    assert (first, second) == (process.pid, again.pid)
    assert list(client.count(10)) == list(range(10))
    again.kill()
    # A call that is sent before the connection's end is known is lost.
    eventually(lambda: not link_of(endpoint_of(client)).live, what="the end of the connection")
    # Where nobody listens, TCP may connect a socket to itself, with which there is no handshake.
    with pytest.raises(mesh.TimeoutExpired, match=r"the connection broke|the handshake failed"):
        client.with_options(timeout=0.3).pid()
    service("--bind", endpoint)
    assert client.echo(value="third") == "third"


def test_a_plain_program_that_slept_while_its_server_was_restarted(
    service: Service, connect: Connect
) -> None:
    endpoint, process = service()
    client = connect(endpoint, timeout=15)
    assert client.pid() == process.pid
    process.kill()
    other = Process(
        [sys.executable, PROGRAMS / "service.py", "--bind", endpoint], env={"PYTHONPATH": str(ROOT)}
    )
    with other:
        end = time.monotonic() + 20
        while "serving" not in other.stdout and time.monotonic() < end:
            time.sleep(0.01)  # without turning the loop of the client
        time.sleep(1.2)  # until it has connected again
        assert client.pid() == other.pid
    time.sleep(0.1)
    with pytest.raises(mesh.TimeoutExpired, match="could not be sent"):
        client.with_options(timeout=0.2).pid()


def test_calls_wait_for_a_server_that_is_not_there_yet(service: Service, connect: Connect) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    client = connect(endpoint, timeout=20)
    calls = [client.echo.future(n) for n in range(20)]
    many = [gevent.spawn(client.echo, n) for n in range(5_000)]
    gevent.sleep(0.1)
    service("--bind", endpoint, "--queue", 10_000)
    assert [call.result() for call in calls] == list(range(20))
    assert [call.get(timeout=20) for call in many] == list(range(5_000))


def test_a_server_that_stands_still_is_lost(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", BEAT)
    client = connect(endpoint, heartbeat=BEAT, timeout=30)
    stream = client.ticks(0.05)
    assert next(stream) == 0
    call = client.hold.future(1)
    settled(client, 1)
    process.signal(signal.SIGSTOP)
    took, error = lost(call)
    assert took < 10
    assert re.search(r"is stuck \(no heartbeat for \d\.\d s\)", str(error))
    with pytest.raises(mesh.LostRemote):
        list(stream)
    process.signal(signal.SIGCONT)
    assert client.echo("it lives") == "it lives"


def test_calls_to_a_server_that_reads_nothing_all_end(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", 0.3)
    client = connect(endpoint, heartbeat=0.3, timeout=0.8)
    assert client.echo(1) == 1
    process.signal(signal.SIGSTOP)
    blob = b"x" * 10_000
    calls = [client.echo.future(blob) for _ in range(3_000)] + [client.ticks.future(1) for _ in range(20)]
    for call in calls:
        with pytest.raises((mesh.TimeoutExpired, mesh.LostRemote, mesh.Overloaded)):
            call.result(timeout=10)
    process.signal(signal.SIGCONT)
    patient = client.with_options(timeout=5, retries=100)
    assert patient.echo(2) == 2


@pytest.mark.parametrize("threads", [0, 8])
def test_a_handler_that_computes_loses_nobody(service: Service, connect: Connect, threads: int) -> None:
    endpoint, process = service("--heartbeat", BEAT, "--threads", threads, "--pool-size", 50)
    client = connect(endpoint, heartbeat=BEAT, timeout=30)
    other = connect(endpoint, heartbeat=BEAT, timeout=30)
    stream = other.ticks(0.01)
    assert next(stream) == 0
    waiting = other.slow.future(0.1)
    computing = client.compute.future(2.0)
    process.wait_for("computing")
    late = [other.echo.future(n) for n in range(10)]
    late_stream = gevent.spawn(lambda: list(client.count(20)))
    assert computing.result() == 2.0
    assert waiting.result()
    assert [one.result() for one in late] == list(range(10))
    assert late_stream.get(timeout=20) == list(range(20))
    assert [next(stream) for _ in range(50)] == list(range(1, 51))
    if not threads:
        line = process.wait_for(
            r"Service.compute has blocked the event loop for (\S+) s, now at (\S+):(\d+) in compute"
        )
        assert line[2].endswith("service.py")
        assert process.stderr.count(" in compute;") == 1, "it is told once"


def test_a_consumer_that_blocks_keeps_its_stream(service: Service, program: Program) -> None:
    endpoint, _ = service("--heartbeat", 0.4)
    options = ("--heartbeat", 0.4, "--pause", 1.2, "--items", 2)
    client = program("consumer", endpoint, "plain_ticks", *options)
    assert client.wait() == 0, client.describe()
    assert client.stdout.splitlines() == ["consuming", "item 0", "item 1", "ended"]
    assert client.stderr == ""


def test_a_client_without_heartbeats_waits(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", 0.3)
    client = connect(endpoint, heartbeat=None, timeout=30)
    call = client.slow.future(1.5)
    assert call.result() == process.pid


def test_a_client_with_slower_heartbeats_is_not_lost(service: Service, connect: Connect) -> None:
    endpoint, process = service("--heartbeat", 0.5)
    client = connect(endpoint, heartbeat=2.0, timeout=30)
    stream = client.ticks(1.5)
    assert [next(stream) for _ in range(2)] == [0, 1]
    fast = connect(endpoint, heartbeat=0.3, timeout=30)
    assert fast.slow(1.5) == process.pid


@pytest.mark.parametrize(("theirs", "ours"), [(None, 0.3), (5.0, 0.3), (0.2, 0.2)])
def test_a_client_is_waited_for_at_its_own_pace(
    serve: Serve, connect: Connect, theirs: float | None, ours: float
) -> None:
    """Whatever the server's heartbeat is, and while another handler computes."""
    endpoint = serve({"nap": gevent.sleep, "burn": burn}, heartbeat=theirs)
    with ThreadPoolExecutor(1) as other:
        client = connect(endpoint, heartbeat=ours)
        waiting = other.submit(client.nap, 6 * ours)
        client.burn(4 * ours)
        assert waiting.result(timeout=10) is None


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compute_a_moment()
