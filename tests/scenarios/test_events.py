"""PUB/SUB and pipelines, direct and through hubs, whichever driver sends and whichever receives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mesh
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.test_devices import running
from tests.hubs.wires import spec
from tests.scenarios.conftest import Pair

KINDS = [("Publisher", "Subscriber", "forwarder"), ("Pusher", "Puller", "streamer")]


@contextmanager
def device(kind: Any) -> Iterator[tuple[str, str]]:
    """A hub of that type: where to send, and where to receive."""
    with running(spec(kind)) as (_, endpoints):
        yield endpoints.in_[0], endpoints.out[0]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0])
def kind(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    return request.param  # type: ignore[no-any-return]


def test_events_arrive_in_order(pair: Pair, kind: tuple[str, str, str]) -> None:
    sends, receives, device_type = kind
    with device(device_type) as (into, out):
        audience = pair.far.audience()
        pair.far.receive(receives, out, audience)
        send = pair.near.sender(sends, into)
        for number in range(300):
            send("hello", number)
        eventually(lambda: len(audience.calls) == 300, what="all to arrive")
        assert audience.calls == [(number,) for number in range(300)]


def test_jobs_are_spread_and_none_is_lost(pair: Pair) -> None:
    with device("streamer") as (into, out):
        audiences = [pair.far.audience() for _ in range(3)]
        for audience in audiences:
            pair.far.receive("Puller", out, audience)
        send = pair.near.sender("Pusher", into)
        for number in range(300):
            send("hello", number)
        eventually(lambda: sum(len(one.calls) for one in audiences) == 300, what="all to arrive")
        assert sorted(call for one in audiences for call in one.calls) == [(n,) for n in range(300)]


def test_topics(pair: Pair) -> None:
    with device("forwarder") as (into, out):
        audience = pair.far.audience()
        pair.far.receive("Subscriber", out, audience, topics="orders.de")
        wanted = pair.near.sender("Publisher", into, topic="orders.de.1")
        wanted("hello", "kept")
        eventually(lambda: audience.calls == [("kept",)], what="the event of the topic")


@pytest.mark.parametrize("sends", [mesh.Publisher, mesh.Pusher])
def test_an_event_that_is_too_large_ends_no_receiver(pair: Pair, sends: type) -> None:
    receives = "Subscriber" if sends is mesh.Publisher else "Puller"
    with sends() as sender:
        endpoint, audience = sender.bind("tcp://127.0.0.1:*"), pair.far.audience()
        pair.far.receive(receives, endpoint, audience, max_message=500_000)
        eventually(lambda: (sender.hello(1), audience.calls)[1], what="the first event")
        sender.hello("x" * 700_000)
        eventually(lambda: (sender.hello(2), (2,) in audience.calls)[1], what="an event after the large one")


def test_a_puller_takes_no_job_before_it_runs(pair: Pair) -> None:
    with mesh.Pusher(timeout=PATIENCE) as pusher:
        endpoint, audience = pusher.bind("tcp://127.0.0.1:*"), pair.far.audience()
        never = mesh.Puller(endpoint, print)
        pair.far.receive("Puller", endpoint, audience)
        for number in range(10):
            pusher.hello(number)
        eventually(lambda: audience.calls == [(number,) for number in range(10)], what="all of them")
        never.stop()
