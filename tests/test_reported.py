"""What users of zerorpc-python reported over the years, one test for each: none of it may be true here.

The numbers are those of the reports.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.helpers import peers
from tests.helpers.computing import compute_a_moment
from tests.helpers.peers import Server
from tests.helpers.processes import eventually, python

HEARTBEAT = 0.5
PROGRAMS = Path(__file__).parent / "peers" / "programs"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with peers.mesh_server(heartbeat=HEARTBEAT) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[mesh.Client]:
    with mesh.connect(server.endpoint, timeout=20, heartbeat=HEARTBEAT) as client:
        yield client


def test_149_heartbeat_survives_a_handler_that_computes(server: Server, client: mesh.Client) -> None:
    with mesh.connect(server.endpoint, timeout=20, heartbeat=HEARTBEAT) as other:
        waiting = other.wait.future(0.1)
        assert client.compute(4 * HEARTBEAT) == "computed"
        assert waiting.result(timeout=20) == "waited", "who waits for another handler is not lost either"
    assert re.search(r"blocked .*service\.py:\d+ in compute", server.stderr), "the log names the line"


@pytest.mark.soak
def test_149_heartbeat_survives_a_handler_that_computes_for_half_a_minute() -> None:
    """With everybody's usual heartbeats, old clients among them."""
    with (
        peers.mesh_server(heartbeat=5.0) as server,
        mesh.connect(server.endpoint, timeout=60) as client,
        peers.OldClient("python", server.endpoint, heartbeat=5.0, timeout=60) as python_client,
        peers.OldClient("node", server.endpoint, heartbeat=5.0, timeout=60) as node_client,
    ):
        assert python_client.call("add", 1, 2).value == node_client.call("add", 1, 2).value == 3
        computing = client.compute.future(30)
        waiting = client.wait.future(0.1)
        python_client.begin(do="call", method="wait", args=[0.1])
        node_client.begin(do="call", method="wait", args=[0.1])
        assert computing.result(timeout=50) == "computed"
        assert waiting.result(timeout=20) == "waited"
        assert python_client.answer().value == node_client.answer().value == "waited"


def test_62_heartbeat_survives_a_client_that_computes_between_items(client: mesh.Client) -> None:
    received = []
    for item in client.count(500):
        received.append(item)
        if item == 250:
            end = time.monotonic() + 5 * HEARTBEAT
            while time.monotonic() < end:
                compute_a_moment()
    assert received == list(range(500))


def test_157_keyword_arguments_travel(client: mesh.Client) -> None:
    assert client.add(1, b=2) == 3
    assert client.add(a=1, b=2) == 3
    assert client.add(a=1) == 11
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        client.add(1, c=2)


def test_221_a_stream_that_is_left_ends_in_the_server_at_once() -> None:
    """Not after two heartbeats of silence: the server is told."""
    with (
        peers.mesh_server(heartbeat=30) as server,
        mesh.connect(server.endpoint, timeout=20, heartbeat=30) as client,
    ):
        for item in client.slowly(1_000, 0.01):
            if item == 3:
                break
        eventually(lambda: client.open_streams() == 0, what="the end of the stream")
        assert client.left_streams() == 1


def test_221_a_call_can_be_given_up() -> None:
    """The server is told, long before a heartbeat would be missed."""
    with (
        peers.mesh_server(heartbeat=30) as server,
        mesh.connect(server.endpoint, timeout=20, heartbeat=30) as client,
    ):
        pending = client.slowly.future(10, 0.2)
        eventually(lambda: client.open_streams() == 1, what="the begin of the stream")
        pending.cancel()
        with pytest.raises(mesh.MeshError):
            pending.result(timeout=20)
        eventually(lambda: client.left_streams() == 1, what="the end of the stream")
        assert client.open_streams() == 0


@pytest.mark.parametrize("patched", ["patched", "not patched"])
def test_163_threads_that_share_a_client_do_not_hang(server: Server, patched: str) -> None:
    with python(PROGRAMS / "threads.py", server.endpoint, patched) as program:
        assert program.wait(timeout=100) == 0, program.describe()
        assert program.stdout == "done\n"


def test_240_a_client_does_not_hang_after_a_fork(server: Server) -> None:
    with python(PROGRAMS / "fork.py", server.endpoint) as program:
        assert program.wait(timeout=100) == 0, program.describe()
        assert program.stdout == "done\n"


def test_260_clients_that_come_and_go_leave_no_sockets(server: Server) -> None:
    before = _descriptors(server)
    descriptors, threads, kib = _leaked(server, "clients", 100, warm_up=20)
    assert descriptors <= 0
    assert threads <= 0
    assert kib < 1024, f"the client grew by {kib} KiB"
    eventually(
        lambda: _descriptors(server) <= before,
        what=lambda: f"the server's descriptors: {before} before, {_descriptors(server)} now",
    )


def test_215_calls_do_not_grow_memory(server: Server) -> None:
    _leaked(server, "calls", 700, warm_up=1)
    before = _resident(server)
    descriptors, _, kib = _leaked(server, "calls", 3_300, warm_up=2_000)
    assert descriptors <= 0
    assert kib < 0.5 * 1024, f"the client grew by {kib} KiB"
    assert _resident(server) - before < 1.5 * MIB


def test_154_an_exception_that_can_not_be_serialised_arrives_as_its_text(client: mesh.Client) -> None:
    with pytest.raises(mesh.RemoteError) as caught:
        client.fail_with_what_can_not_travel()
    assert (caught.value.name, caught.value.msg) == ("Unserialisable", "it holds a socket")
    assert "in fail_with_what_can_not_travel" in (caught.value.traceback or "")


def test_154_a_result_that_can_not_travel_is_an_error_and_not_a_lost_remote(client: mesh.Client) -> None:
    with pytest.raises(TypeError, match=re.escape("['rows'][1]")):
        client.return_what_can_not_travel()


@pytest.mark.parametrize(
    "value",
    [
        "x" * (3 * MIB),
        b"\xff" * (40 * MIB),
        list(range(200_000)),
        {str(number): number for number in range(50_000)},
    ],
    ids=["text of 3 MiB", "bytes of 40 MiB", "list of 200,000", "map of 50,000"],
)
def test_257_a_large_value_travels_both_ways(server: Server, value: Any) -> None:
    # At the usual pace: a busy machine may take a second to copy it, and nothing else of a process runs then.
    with mesh.connect(server.endpoint, timeout=20) as client:
        same = client.echo(value) == value
    assert same  # said without the value, of which pytest would show all


def test_257_a_value_over_the_limit_is_told_and_the_connection_lives(server: Server) -> None:
    with mesh.connect(server.endpoint, timeout=20, max_message=MIB) as client:
        with pytest.raises(mesh.WireError, match=r"'echo' takes 1048\d\d\d bytes, the limit is 1048576"):
            client.echo(b"x" * MIB)
        assert client.add(1, 2) == 3


def test_186_one_dead_server_of_three_stalls_no_call() -> None:
    with (
        peers.mesh_server() as first,
        peers.mesh_server() as second,
        mesh.connect([first.endpoint, peers.nobody(), second.endpoint], timeout=10) as client,
    ):
        assert _slowest_of(client, 60) < 5


def test_186_a_server_that_dies_stalls_no_call() -> None:
    """Not even the call that is made in the moment in which nobody knows yet."""
    with ExitStack() as stack:
        servers = [stack.enter_context(peers.mesh_server()) for _ in range(4)]
        client = stack.enter_context(mesh.connect([one.endpoint for one in servers], timeout=10))
        assert _slowest_of(client, 60) < 5
        for dying in servers[:-1]:
            dying.kill()
            assert _slowest_of(client, 60) < 5


def _slowest_of(client: mesh.Client, calls: int) -> float:
    """How long the slowest took that was answered, or lost with its server."""
    slowest = 0.0
    for _ in range(calls):
        begun = time.monotonic()
        with suppress(mesh.LostRemote):
            assert client.add(1, 2) == 3
        slowest = max(slowest, time.monotonic() - begun)
    return slowest


def _leaked(server: Server, what: str, number: int, *, warm_up: int) -> tuple[int, int, int]:
    with python(PROGRAMS / "leaks.py", server.endpoint, what, str(number), str(warm_up)) as program:
        found = program.wait_for(r"^grew (-?\d+) (-?\d+) (-?\d+)$", timeout=100)
        return int(found[1]), int(found[2]), int(found[3])


def _descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def _resident(server: Server) -> int:
    pages = Path(f"/proc/{server.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
