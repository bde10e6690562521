"""Several hubs under one name: real hubs and mesh workers, one of which is killed under load."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import mesh
from tests.helpers.callers import Callers
from tests.helpers.clients import until_connected
from tests.hubs.cluster import HEARTBEAT, Hub, connected, until_served_by, worker

CALLERS = 20
SOON = 4.0
"""Seconds; 1 on a machine that does nothing else. Clients give up a hub that is only silent after 10."""


class Setup:
    """Two hubs under the name `users`, and two workers that have registered with both."""

    def __init__(self, folder: Path, kind: str, stack: ExitStack) -> None:
        self.hubs = [Hub(folder, name, kind, stack) for name in ("one", "two")]
        self.workers = [stack.enter_context(worker(*self.hubs)) for _ in range(2)]
        self.client = stack.enter_context(connected(folder, *[hub.in_ for hub in self.hubs]))
        self.folder = folder
        for hub in self.hubs:
            self.until_served(hub)

    def until_served(self, hub: Hub) -> None:
        """Wait until that hub gives calls to both workers."""
        with connected(self.folder, hub.in_) as client:
            until_served_by(client, {one.pid for one in self.workers})


@pytest.fixture(params=["queue", "majordomo"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setup]:
    with ExitStack() as stack:
        yield Setup(tmp_path, request.param, stack)


def test_calls_go_to_the_other_hub_when_one_is_killed(setup: Setup) -> None:
    one, _ = setup.hubs
    plain = setup.client
    sure = plain.with_options(retries=3, idempotent=True)
    with Callers([sure.pid] * CALLERS) as idempotent, Callers([plain.pid] * CALLERS) as others:
        idempotent.wait_for(20)
        others.wait_for(20)
        killed = time.monotonic()
        one.process.kill()
        idempotent.wait_for(20)
        others.wait_for(20)
    assert not idempotent.errors
    assert {type(lost.error) for lost in others.errors} <= {mesh.LostRemote}
    # What was under way through that hub, and no call after: each caller had one at the most.
    assert len(others.errors) <= CALLERS
    for callers in (idempotent, others):
        assert callers.resumed(killed) < SOON
        assert all(lost.ended < killed + SOON for lost in callers.errors)
        assert callers.values(killed) == {worker.pid for worker in setup.workers}


def test_a_hub_that_comes_back_has_its_workers_and_clients_again(setup: Setup) -> None:
    one, two = setup.hubs
    sure = setup.client.with_options(retries=3, idempotent=True)
    with Callers([sure.pid] * CALLERS) as callers:
        callers.wait_for(20)
        one.process.kill()
        callers.wait_for(20)
        one.start()
        started = time.monotonic()
        setup.until_served(one)
        assert time.monotonic() - started < 2 * SOON
        # The clients are back, too: they do without the hub that they were left with.
        while time.monotonic() < started + 2.0:
            callers.wait_for(1)
        killed = time.monotonic()
        two.process.kill()
        callers.wait_for(20)
    assert not callers.errors
    assert callers.resumed(killed) < SOON


def test_a_frozen_hub_costs_its_calls_and_gets_no_more(setup: Setup) -> None:
    endpoints = [hub.in_ for hub in setup.hubs]
    with connected(setup.folder, *endpoints, heartbeat=HEARTBEAT) as client:
        with Callers([client.pid] * CALLERS) as callers:
            callers.wait_for(20)
            setup.hubs[0].process.signal(signal.SIGSTOP)
            frozen = time.monotonic()
            while time.monotonic() < frozen + 3:
                callers.wait_for(20)
        assert {type(one.error) for one in callers.errors} == {mesh.LostRemote}
        # One more in a while finds out whether it is well again.
        late = [one for one in callers.errors if one.begun > frozen + 2.5 * HEARTBEAT]
        assert len(late) <= 1
        assert len(callers.errors) <= CALLERS + 1
        setup.hubs[0].process.signal(signal.SIGCONT)


def test_a_stream_of_a_killed_hub_ends_with_an_error_and_the_next_one_is_whole(setup: Setup) -> None:
    endpoints = [hub.in_ for hub in setup.hubs]
    with connected(setup.folder, *endpoints, balance="round_robin") as client:
        until_connected(client, 2)
        streams = [iter(client.count(1_000_000)) for _ in range(4)]
        for stream in streams:
            assert next(stream) == 0
        setup.hubs[0].process.kill()
        ended = 0
        for stream in streams:
            try:
                while next(stream) < 5_000:
                    pass
            except mesh.LostRemote:
                ended += 1
        assert ended == 2, "each hub has every other stream"
        assert list(client.count(1000)) == list(range(1000))


def test_one_hub_is_enough_and_none_is_told(setup: Setup) -> None:
    one, two = setup.hubs
    one.process.signal(signal.SIGTERM)
    assert one.process.wait() == 0
    assert setup.client.echo(1) == 1
    two.process.kill()
    with pytest.raises(mesh.TimeoutExpired, match=two.in_):
        for _ in range(2):  # one may still have been sent to the hub that was there
            try:
                setup.client.with_options(timeout=0.5).echo(1)
            except mesh.LostRemote:
                pass
