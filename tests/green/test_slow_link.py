"""Large values on a slow link between a client and a server: late is not lost, and dead is not late."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Program
from tests.helpers.peers import OldClient, mesh_server, old_server
from tests.helpers.processes import Process, eventually
from tests.helpers.slow_link import RATE, SlowLink

Service = Callable[..., tuple[str, Process]]
Slow = Callable[..., SlowLink]

BEAT = 0.25
SIX_BEATS = 6 * BEAT
SLACK = 3.0
"""Seconds that a loaded machine may add to the time in which a loss is known."""
SIZE = int(1.5 * RATE)
FAST = 5 * RATE
"""Fills the buffers of a frozen peer in no time."""


@pytest.fixture
def slow() -> Iterator[Slow]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(SlowLink(*arguments))


def lost_after(end: Callable[[], None], *calls: Any) -> float:
    """Seconds from `end` until all of these calls had ended with LostRemote, of which none had before."""
    for call in calls:
        assert not call.done(), call.result()
    end()
    began = time.monotonic()
    for call in calls:
        with pytest.raises(mesh.LostRemote):
            call.result(timeout=60)
    return time.monotonic() - began


def test_a_large_value_arrives_and_small_calls_beside_it_are_only_late(
    service: Service, connect: Connect, slow: Slow
) -> None:
    endpoint, _ = service("--heartbeat", BEAT)
    link = slow(endpoint)
    up, down = connect(link.endpoint, heartbeat=BEAT), connect(link.endpoint, heartbeat=BEAT)
    stream = up.ticks(0.05)
    assert next(stream) == 0 and down.echo(1) == 1
    waiting = [client.slow.future(2.5) for client in (up, down)]
    gevent.sleep(0.1)
    began = time.monotonic()
    sent, got = up.echo.future(b"x" * SIZE), down.blob.future(SIZE)
    small = [client.echo.future(2) for client in (up, down)]
    assert len(got.result()) == SIZE
    assert time.monotonic() - began > 4 * BEAT, "else there was nothing to wait for"
    assert len(sent.result()) == SIZE
    assert [call.result() for call in small] == [2, 2]
    assert len({call.result() for call in waiting}) == 1
    assert next(stream) == 1


def test_a_link_that_stands_still_in_the_midst_is_lost(
    service: Service, connect: Connect, slow: Slow
) -> None:
    endpoint, _ = service("--heartbeat", BEAT)
    for method, value in (("echo", b"x" * SIZE), ("blob", SIZE)):
        link = slow(endpoint)
        client = connect(link.endpoint, heartbeat=BEAT)
        client.echo(1)
        calls = [client.slow.future(60.0), getattr(client, method).future(value)]
        passed = link.passed
        eventually(lambda: link.passed > passed + SIZE // 2)  # noqa: B023 - called within the turn
        assert lost_after(link.stand_still, *calls) < SIX_BEATS + SLACK


def test_a_server_frozen_in_the_midst_is_lost(service: Service, connect: Connect, slow: Slow) -> None:
    beat = 4 * BEAT  # what a busy machine keeps until the server is frozen
    endpoint, process = service("--heartbeat", beat)
    link = slow(endpoint, FAST)
    up, down = connect(link.endpoint, heartbeat=beat), connect(link.endpoint, heartbeat=beat)
    calls = [up.slow.future(60.0), down.slow.future(60.0)]
    calls += [up.echo.future(b"x" * 20_000_000), down.blob.future(20_000_000)]
    eventually(lambda: link.passed > FAST // 2)
    assert lost_after(lambda: process.signal(signal.SIGSTOP), *calls) < 30


def test_a_client_frozen_in_the_midst_is_given_up(
    service: Service, connect: Connect, slow: Slow, program: Program
) -> None:
    beat = 4 * BEAT  # what a busy machine keeps until the client is frozen
    endpoint, _ = service("--heartbeat", beat)
    link = slow(endpoint, FAST)
    other = connect(endpoint, heartbeat=beat)
    client = program("uploads", link.endpoint, beat, 20_000_000)
    client.wait_for("uploading")
    eventually(lambda: link.passed > FAST // 2)
    assert other.events() == [], "its stream is open, and hears nothing of it"
    client.signal(signal.SIGSTOP)
    eventually(lambda: other.events() == ["closed"])


def test_an_old_server_that_is_slow_to_reach(connect: Connect, slow: Slow) -> None:
    with old_server("python", heartbeat=BEAT) as server:
        client = connect(slow(server.endpoint).endpoint, heartbeat=BEAT)
        assert client.echo(1) == 1
        assert len(client.echo(b"x" * SIZE)) == SIZE


@pytest.mark.soak
@pytest.mark.parametrize("of_server", ["mesh", "python"])
@pytest.mark.parametrize("of_client", ["mesh", "python"])
def test_20_mb_at_1_mb_a_second(connect: Connect, slow: Slow, of_server: str, of_client: str) -> None:
    """With the usual heartbeats; but an old client gives up after 10 s by itself, unless told otherwise."""
    size = 20 * RATE
    with mesh_server(heartbeat=5.0) if of_server == "mesh" else old_server("python", heartbeat=5.0) as server:
        endpoint = slow(server.endpoint).endpoint
        if of_client == "mesh":
            client = connect(endpoint, timeout=90)
            waiting = client.wait.future(50.0)
            assert len(client.echo(b"x" * size)) == size
            if of_server == "mesh":
                assert waiting.result() == "waited"
        else:
            with OldClient("python", endpoint, heartbeat=30.0, timeout=90) as old:
                answer = old.call("echo", b"x" * size)
                assert answer.error is None and len(answer.value) == size


@pytest.mark.soak
def test_the_usual_heartbeats_find_a_frozen_server_within_a_minute(
    service: Service, connect: Connect, slow: Slow
) -> None:
    endpoint, process = service()
    link = slow(endpoint)
    clients = [connect(link.endpoint, timeout=None) for _ in range(2)]
    calls = [client.hold.future(1) for client in clients]
    calls += [clients[0].echo.future(b"x" * 60 * RATE), clients[1].blob.future(60 * RATE)]
    gevent.sleep(25)
    assert lost_after(lambda: process.signal(signal.SIGSTOP), *calls) < 60
