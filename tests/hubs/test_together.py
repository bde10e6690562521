"""Calls that go together in one frame, and items of streams in one event, through hubs of every type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

import mesh
from hubs.broker import Broker
from hubs.hub_types import make_hub
from hubs.spec import HubSpec, Side
from mesh.core.batch import holds_events, read_events
from mesh.core.majordomo import BATCHED, read_batch
from tests.hubs.cluster import connected

ANY = Side(("tcp://127.0.0.1:*",))
CALLERS = 40
ROUNDS = 5
ITEMS = 2_000


class Service:
    def echo(self, value: object) -> object:
        return value

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)


def counting(broker: Broker) -> Counter[str]:
    """How many frames with several calls, frames with several answers and events with several items come."""
    seen: Counter[str] = Counter()
    receive = broker.switch.receive

    def look(side: int, frames: list[bytes], now: float) -> int:
        event = frames[-1]
        if len(frames) == 2 and event[:1] >= BATCHED:
            if holds_events(event):
                seen["calls"] += len(read_events(event)) > 1
            else:
                seen["answers"] += len(list(read_batch(event))) > 1
        seen["items"] += event.count(b"\xa5items")
        return receive(side, frames, now)

    broker.switch.receive = look  # type: ignore[method-assign]
    return seen


@contextmanager
def hub(kind: str, *, anonymous: bool = False) -> Iterator[tuple[str, str, Counter[str] | None]]:
    one = make_hub(HubSpec("hub", kind, ANY, ANY, anonymous=anonymous))
    seen = counting(one) if isinstance(one, Broker) else None
    ends = one.start()
    try:
        yield ends.in_[0], ends.out[0], seen
    finally:
        one.stop(0.0)


def call_together(client: mesh.Client) -> None:
    def caller(name: int) -> None:
        for turn in range(ROUNDS):
            assert client.echo([name, turn]) == [name, turn]

    callers = [gevent.spawn(caller, name) for name in range(CALLERS)]
    gevent.joinall(callers, timeout=60, raise_error=True)
    assert all(one.successful() for one in callers)


def stream(client: mesh.Client) -> None:
    assert list(client.count(ITEMS)) == list(range(ITEMS))


@pytest.mark.parametrize("kind", ["queue", "majordomo", "sharded"])
@pytest.mark.parametrize("key", [None, "k"])
def test_calls_answers_and_items_go_together(kind: str, key: str | None, tmp_path: Path) -> None:
    with hub(kind) as (in_, out, seen), mesh.Server(Service()) as server, connected(tmp_path, in_) as client:
        server.register("users", out)
        patient = client.with_options(key=key)
        assert patient.with_options(retries=100, idempotent=True).echo(0) == 0
        call_together(patient)
        streams = [gevent.spawn(stream, patient) for _ in range(3)]
        gevent.joinall(streams, timeout=60, raise_error=True)
        assert all(one.successful() for one in streams)
        assert seen is not None
        assert seen["calls"] and seen["answers"] and seen["items"], seen


def test_through_an_anonymous_queue_all_comes_as_it_should(tmp_path: Path) -> None:
    """Nobody there could tell whose events a frame holds, so calls go alone; items may go together."""
    with hub("queue", anonymous=True) as (in_, out, _), mesh.Server(Service()) as server:
        server.connect(out)
        with mesh.connect(in_, timeout=30) as client:
            assert client.with_options(retries=100, idempotent=True).echo(0) == 0
            call_together(client)
            stream(client)
