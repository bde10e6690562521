"""Large values through hubs on slow links: each end hears of the other, though both wait behind them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

import mesh
from tests.e2e.commands import environment
from tests.helpers.peers import OldClient, mesh_server, old_server
from tests.helpers.processes import Process, eventually, python
from tests.helpers.slow_link import RATE, SlowLink
from tests.hubs.cluster import Hub, connected

BEAT = 0.2
HUB_BEAT = 0.1
"""As with the usual ones, 5 and 2.5 s."""
SIZE = int(1.2 * RATE)
"""On its way for twice as long as anybody waits for a heartbeat."""
WORKER = Path(__file__).with_name("slow_worker.py")
KINDS = {"queue": {}, "majordomo": {"default": "users"}}


class Stand:
    """A hub, with what comes and goes there."""

    def __init__(self, folder: Path, kind: str, stack: ExitStack, *, slower: float = 1.0) -> None:
        self._folder, self._stack = folder, stack
        self.beat, self.hub_beat = slower * BEAT, slower * HUB_BEAT
        self.hub = Hub(folder, "one", kind, stack, heartbeat=self.hub_beat, **KINDS[kind])

    def slow(self, endpoint: str, rate: int = RATE) -> SlowLink:
        return self._stack.enter_context(SlowLink(endpoint, rate))

    def client(self, endpoint: str) -> mesh.Client:
        return self._stack.enter_context(connected(self._folder, endpoint, heartbeat=self.beat))

    def worker(self, endpoint: str) -> Process:
        beats = str(self.beat), str(min(self.beat, 2 * self.hub_beat))
        process = self._stack.enter_context(python(WORKER, *beats, endpoint, env=environment()))
        process.wait_for("has registered")
        return process

    def sidecar(self, server: str) -> Process:
        command = [sys.executable, "-m", "mesh.cli.register", "users", server, "--hub", self.hub.out]
        beats = ["--heartbeat", str(self.hub_beat)]
        process = self._stack.enter_context(Process([*command, *beats], env=environment()))
        process.wait_for("is well")
        return process


@pytest.fixture(params=["queue", "majordomo"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(tmp_path, request.param, stack)


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_value_crosses_slow_links_on_both_sides_and_no_other_call_is_lost(
    tmp_path: Path, kind: str
) -> None:
    with ExitStack() as stack:
        # The value is on its way for longer still, and a busy machine keeps these.
        _cross_slow_links(Stand(tmp_path, kind, stack, slower=2.0))


def _cross_slow_links(stand: Stand) -> None:
    hub = stand.hub
    worker = stand.worker(stand.slow(hub.out).endpoint)
    near, far = stand.client(hub.in_), stand.client(stand.slow(hub.in_).endpoint)
    waiting = [client.nap.future(6.0) for client in (near, far)]
    assert near.echo(1) == far.echo(1) == 1
    began = time.monotonic()
    large = far.with_options(timeout=60).echo.future(b"x" * SIZE)
    small = [client.echo.future(2) for client in (near, far)]
    assert len(large.result()) == SIZE
    assert time.monotonic() - began > 4 * SIZE / RATE - 0.5
    assert [call.result() for call in small] == [2, 2]
    assert [call.result() for call in waiting] == [worker.pid, worker.pid]


def test_a_large_value_through_a_sidecar_of_a_slow_server(tmp_path: Path) -> None:
    with ExitStack() as stack, old_server("python", heartbeat=4 * BEAT) as server:
        # A busy machine keeps these, and the value is on its way for longer still.
        stand = Stand(tmp_path, "queue", stack, slower=2.0)
        sidecar = stand.sidecar(stand.slow(server.endpoint).endpoint)
        client = stand.client(stand.hub.in_)
        assert client.echo(1) == 1
        large = client.echo.future(b"x" * SIZE)
        assert len(large.result()) == SIZE
        assert "is out" not in sidecar.stderr


def test_what_stands_still_or_is_frozen_in_the_midst_is_lost(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # What has not begun to stand still is lost too where a busy machine gives a program no processor
        # for three heartbeats.
        stand = Stand(tmp_path, "queue", stack, slower=5.0)
        hub, clients = stand.hub, [stand.client(stand.hub.in_) for _ in range(2)]
        link = stand.slow(hub.out)
        stand.worker(link.endpoint)
        lost(clients[0], link, link.stand_still, within=6 * stand.beat + 3.0)
        link = stand.slow(hub.out, 5 * RATE)
        other = stand.worker(link.endpoint)
        lost(clients[1], link, lambda: other.signal(signal.SIGSTOP), within=20.0)


def lost(client: mesh.Client, link: SlowLink, end: Callable[[], None], *, within: float) -> None:
    """Both calls of the client end so, after its worker has come to its end in the midst of one."""
    assert client.echo(1) == 1
    calls = [client.nap.future(60.0), client.echo.future(b"x" * 20_000_000)]
    passed = link.passed
    eventually(lambda: link.passed > passed + 4 * SIZE)
    for call in calls:
        assert not call.done(), call.result()
    end()
    began = time.monotonic()
    for call in calls:
        with pytest.raises(mesh.LostRemote):
            call.result(timeout=60)
    assert time.monotonic() - began < within


# With the usual heartbeats


@pytest.fixture(params=["queue", "majordomo"])
def usual(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(tmp_path, request.param, stack, slower=25.0)


@pytest.mark.soak
def test_20_mb_at_1_mb_a_second_through_a_hub(usual: Stand) -> None:
    """An old client gives up after 10 s of silence by itself, unless told otherwise."""
    hub = usual.hub
    worker = usual.worker(usual.slow(hub.out).endpoint)
    near, far = usual.client(hub.in_), usual.client(usual.slow(hub.in_).endpoint)
    waiting = [client.with_options(timeout=None).nap.future(150.0) for client in (near, far)]
    with OldClient("python", usual.slow(hub.in_).endpoint, heartbeat=30.0, timeout=200) as old:
        old.begin(do="call", method="echo", args=[b"y" * 20 * RATE])
        assert len(far.with_options(timeout=200).echo(b"x" * 20 * RATE)) == 20 * RATE
        answer = old.answer()
        assert answer.error is None and len(answer.value) == 20 * RATE
    assert near.echo(1) == far.echo(1) == 1
    assert [call.result() for call in waiting] == [worker.pid, worker.pid]


@pytest.mark.soak
@pytest.mark.parametrize("language", ["python", "node"])
def test_an_old_client_with_its_usual_heartbeat_waits_for_a_worker_that_is_slow_to_reach(
    usual: Stand, language: Literal["python", "node"]
) -> None:
    """It hears the hub meanwhile."""
    worker = usual.worker(usual.slow(usual.hub.out).endpoint)
    with OldClient(language, usual.hub.in_, heartbeat=5.0, timeout=200) as old:
        assert old.call("pid").value == worker.pid
        answer = old.call("echo", b"x" * 20 * RATE)
        assert answer.error is None and len(answer.value) == 20 * RATE


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["mesh", "python"])
def test_20_mb_at_1_mb_a_second_through_a_sidecar(usual: Stand, kind: str) -> None:
    with mesh_server(heartbeat=5.0) if kind == "mesh" else old_server("python", heartbeat=5.0) as server:
        sidecar = usual.sidecar(usual.slow(server.endpoint).endpoint)
        client = usual.client(usual.hub.in_).with_options(timeout=200)
        assert len(client.echo(b"x" * 20 * RATE)) == 20 * RATE
        assert "is out" not in sidecar.stderr


@pytest.mark.soak
def test_a_worker_frozen_in_the_midst_is_lost_within_a_minute(usual: Stand) -> None:
    link = usual.slow(usual.hub.out)
    worker = usual.worker(link.endpoint)
    client = usual.client(usual.hub.in_).with_options(timeout=None)
    lost(client, link, lambda: worker.signal(signal.SIGSTOP), within=60.0)
