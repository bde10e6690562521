"""What becomes of calls when mesh workers, or their hub, are killed, frozen or replaced."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent
import pytest
import zmq

import mesh
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker
from tests.helpers.callers import Callers
from tests.helpers.processes import Process, eventually
from tests.helpers.raw import RawClient
from tests.hubs.cluster import HEARTBEAT, Hub, connected, until_served_by, worker
from tests.hubs.wires import Socket, Wires

SLACK = 3.0
"""Seconds that a loaded machine may add to the time in which a loss is known."""


class Setup:
    """A hub, mesh workers and a client."""

    def __init__(self, folder: Path, kind: str, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.hub = Hub(folder, "one", kind, stack)
        self.client = self.connect()

    def connect(self) -> mesh.Client:
        return self._stack.enter_context(connected(self._folder, self.hub.in_))

    def workers(self, number: int, pool_size: int = 0) -> list[Process]:
        """That many more, which are registered."""
        started = [self._stack.enter_context(worker(self.hub, pool_size=pool_size)) for _ in range(number)]
        pids = {one.pid for one in started}
        seen: set[int] = set()
        sure = self.client.with_options(retries=100, idempotent=True)
        eventually(lambda: seen.add(sure.pid()) or pids <= seen)
        return started


@pytest.fixture(params=["queue", "majordomo"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setup]:
    with ExitStack() as stack:
        yield Setup(tmp_path, request.param, stack)


def begun(client: mesh.Client) -> dict[int, int]:
    """How many naps each worker has begun; by calls at once, which go to the workers with less to do."""
    asked = [client.begun.future() for _ in range(12)]
    return {pid: len(names) for pid, names in (one.result() for one in asked)}


# Workers


def test_the_calls_of_a_killed_worker_end_at_once_or_are_sent_again(setup: Setup) -> None:
    victim, survivor = setup.workers(2)
    sure = setup.client.with_options(idempotent=True, retries=1)
    # Each goes to the worker with more room: both have two of each.
    lost = [gevent.spawn(setup.client.nap, 30, "plain") for _ in range(4)]
    again = [gevent.spawn(sure.nap, 2.0, "again") for _ in range(4)]
    eventually(lambda: begun(setup.client) == {victim.pid: 4, survivor.pid: 4})
    killed = time.monotonic()
    victim.kill()
    ended = eventually(lambda: [one for one in lost if one.ready()])
    assert time.monotonic() - killed < 0.2 + SLACK
    assert isinstance(ended[0].exception, mesh.LostRemote)
    why = f"its worker ({socket.gethostname()}:{victim.pid}) is gone: it lost its connection"
    assert why in str(ended[0].exception)
    assert {one.get(timeout=20) for one in again} == {survivor.pid}
    eventually(lambda: sum(one.ready() for one in lost) == 2)
    gevent.killall(lost)


def test_an_idle_worker_that_was_killed_gets_no_call(setup: Setup) -> None:
    victim, survivor = setup.workers(2)
    victim.kill()
    gevent.sleep(1.0)
    assert {setup.client.pid() for _ in range(20)} == {survivor.pid}


def test_a_frozen_worker_is_lost_within_three_heartbeats_and_comes_back(setup: Setup) -> None:
    (one,) = setup.workers(1)
    nap = gevent.spawn(setup.client.nap, 30)
    eventually(lambda: begun(setup.client)[one.pid])
    one.signal(signal.SIGSTOP)
    frozen = time.monotonic()
    with pytest.raises(mesh.LostRemote, match="was silent for"):
        nap.get(timeout=20)
    assert time.monotonic() - frozen < 3 * HEARTBEAT + SLACK
    one.signal(signal.SIGCONT)
    until_served_by(setup.client, {one.pid})


def test_a_worker_whose_handler_computes_is_not_lost(setup: Setup) -> None:
    (one,) = setup.workers(1)
    assert setup.client.burn(4 * HEARTBEAT) == one.pid


def test_what_waits_for_a_worker_that_dies_goes_to_the_next(setup: Setup) -> None:
    (victim,) = setup.workers(1, pool_size=1)
    first = gevent.spawn(setup.client.nap, 30)
    gevent.sleep(0.1)
    waiting = [gevent.spawn(setup.client.pid) for _ in range(10)]
    gevent.sleep(0.1)
    assert not any(one.ready() for one in waiting)
    victim.kill()
    with pytest.raises(mesh.LostRemote):
        first.get(timeout=20)
    (survivor,) = setup.workers(1, pool_size=1)
    assert {one.get(timeout=20) for one in waiting} == {survivor.pid}


def test_workers_that_are_replaced_one_by_one_lose_no_call(setup: Setup) -> None:
    workers = setup.workers(2)
    client = setup.client
    with (
        Callers([client.pid] * 20) as short,
        Callers([lambda: client.nap(0.2)] * 10) as long,
        Callers([lambda: len(list(client.count(300)))] * 2) as streams,
    ):
        for old in list(workers):
            (new,) = setup.workers(1)
            for callers in (short, long, streams):
                callers.wait_for(2)
            old.signal(signal.SIGTERM)
            assert old.wait() == 0
            workers.append(new)
        last = time.monotonic()
        for callers in (short, long, streams):
            callers.wait_for(2)
    for callers in (short, long, streams):
        assert not callers.errors
    assert short.values(last) == {one.pid for one in workers[2:]}
    assert streams.values() == {300}


# The hub


def test_after_a_restart_of_the_hub_workers_and_clients_are_back(setup: Setup) -> None:
    workers = {one.pid for one in setup.workers(2)}
    clients = [setup.client, *(setup.connect() for _ in range(11))]
    naps = [gevent.spawn(client.nap, 30) for client in clients]
    eventually(lambda: sum(begun(setup.client).values()) == len(clients))
    setup.hub.process.kill()
    killed = time.monotonic()
    for nap in naps:
        with pytest.raises(mesh.LostRemote):
            nap.get(timeout=20)
    assert time.monotonic() - killed < 0.2 + SLACK
    waiting = [gevent.spawn(client.pid) for client in clients]
    setup.hub.start()
    started = time.monotonic()
    assert {one.get(timeout=20) for one in waiting} <= workers
    until_served_by(setup.client, workers)
    assert time.monotonic() - started < 2.0 + SLACK


def test_a_late_answer_of_before_a_restart_reaches_nobody(setup: Setup, wires: Wires) -> None:
    """libzmq gives the clients of the new hub the routing ids that those of the old one had."""
    raw = wires(zmq.DEALER, setup.hub.out)
    raw.send_multipart(mdp.ready("users", {"capacity": 100}))
    call = {"message_id": b"1", "v": 3, "service": "users"}, "nap", [0]
    with ExitStack() as stack:
        before = [stack.enter_context(RawClient(setup.hub.in_)) for _ in range(20)]
        for client in before:
            client.send(*call)
        tokens = [next_token(raw) for _ in before]
        setup.hub.process.kill()
    setup.hub.start()
    with ExitStack() as stack:
        after = [stack.enter_context(RawClient(setup.hub.in_)) for _ in range(20)]
        old = wire.pack({"message_id": b"x", "v": 3, "response_to": b"1"}, "OK", ["for somebody else"])

        def answer_late() -> None:
            for token in tokens:
                raw.send_multipart(mdp.carried(STANDARD[2], Command.FINAL, token, [old]))

        answer_late()
        while mdp.read(raw.recv_multipart()) != mdp.read(mdp.disconnect()):
            pass
        raw.send_multipart(mdp.ready("users", {"capacity": 100}))
        for client in after:
            client.send(*call)
        asked = [next_token(raw) for _ in after]
        assert not set(asked) & set(tokens)
        answer_late()
        new = wire.pack({"message_id": b"y", "v": 3, "response_to": b"1"}, "OK", ["for me"])
        for token in asked:
            raw.send_multipart(mdp.carried(STANDARD[2], Command.FINAL, token, [new]))
        for client in after:
            assert client.answer()[2] == ["for me"]
        answer_late()
        assert not [event for client in after for event in client.all_within(0.02) if event[1] == "OK"]


def next_token(worker: Socket) -> bytes:
    """Of the next call that comes to a plain socket."""
    while True:
        message = mdp.read(worker.recv_multipart())
        assert isinstance(message, FromWorker)
        if message.command is Command.REQUEST:
            return message.address
