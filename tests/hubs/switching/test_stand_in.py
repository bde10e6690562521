"""A hub gives the heartbeats that wait behind a large message, and no others; in memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import control
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.progress import BACKLOG, Progress
from tests.helpers.counted import Counted
from tests.hubs.switching.test_switch import IN, OUT, Bench, reply

BEAT = 2.5
CALLS_BEAT = 5.0
"""Seconds between the heartbeats of a call; either end of it waits for two of them."""
STEP = 0.25


class Links(Bench):
    """A hub, a worker and a client, whose connections tell what they move.

    worker_beats, client_beats: whether those arrive at the hub. to_client, to_worker: when the hub has sent
    a heartbeat of its own there.
    """

    def __init__(self) -> None:
        super().__init__(heartbeat=BEAT)
        self.links = {(IN, (b"c",)): Counted(now=self.now), (OUT, (b"w",)): Counted(now=self.now)}
        self.client, self.worker = self.links.values()
        self.progress = {peer: Progress(link.counters) for peer, link in self.links.items()}
        self.worker_beats = self.client_beats = True
        self.to_client: list[float] = []
        self.to_worker: list[float] = []
        self.register(b"w", capacity=9, heartbeat=round(BEAT * 1000))

    def live(self, seconds: float) -> None:
        """Each timer in its time, and the heartbeats of the others."""
        for step in range(round(seconds / STEP)):
            if step % round(BEAT / STEP) == 0 and self.worker_beats:
                self.worker_says(b"w", mdp.heartbeat())
            if step % round(CALLS_BEAT / STEP) == 0 and self.client_beats:
                self.event(b"c", {"message_id": b"x", "response_to": b"1"}, wire.BEAT, [0])
            self.seen(self.client_beats and step % round(CALLS_BEAT / STEP) == 0)
            self.now += STEP
            for link in self.links.values():
                link.now = self.now
            self.switch.on_timer(self.now)
            self.seen()

    def seen(self, passed_on: bool = False) -> None:
        for peer, frames in self.sent():
            message = mdp.read(frames) if peer == b"w" else None
            if peer == b"c" and wire.unpack(frames[-1])[1] == wire.BEAT:
                self.to_client.append(self.now)
            elif isinstance(message, FromWorker) and message.command is Command.REQUEST:
                beat = wire.unpack(message.body[0])[1] == wire.BEAT
                self.to_worker += [self.now] if beat and not passed_on else []

    def moves(self, link: Counted, way: str, seconds: float) -> None:
        setattr(link, way, (self.now, self.now + seconds))

    def longest(self, beats: list[float], since: float) -> float:
        """The longest silence until now."""
        times = [since, *beats, self.now]
        return max(after - before for before, after in pairwise(times))


def large(links: Links) -> None:
    links.call(b"c", b"1", padding=b"x" * BACKLOG)


def test_the_caller_hears_while_its_request_is_on_its_way_to_the_worker() -> None:
    links = Links()
    began = links.now
    large(links)
    links.moves(links.worker, "up", 60.0)
    links.live(60.0)
    assert links.longest(links.to_client, began) < 2 * CALLS_BEAT
    links.live(5.0)
    links.to_client.clear()
    links.live(30.0)
    assert not links.to_client, "then it is the worker's to give them"
    assert links.switch.workers


def test_the_caller_hears_while_answers_are_on_their_way_from_the_worker() -> None:
    links = Links()
    began = links.now
    links.call(b"c", b"1")
    links.worker_beats = False
    links.moves(links.worker, "down", 60.0)
    links.live(60.0)
    assert links.longest(links.to_client, began) < 2 * CALLS_BEAT
    assert links.switch.workers
    links.live(6 * BEAT)
    assert not links.switch.workers, "it stands still"


@pytest.mark.parametrize("phase", [step * STEP for step in range(round(CALLS_BEAT / STEP))])
def test_an_answer_that_comes_in_the_way_of_a_heartbeat_at_any_moment(phase: float) -> None:
    links = Links()
    links.call(b"c", b"1")
    ((_, token, _),) = links.requests()
    links.live(phase)
    beat = control(links.switch._outgoing._ids, b"1", wire.BEAT, 0)
    links.worker_says(b"w", mdp.carried(STANDARD[2], Command.PARTIAL, token, [beat]))
    began = links.now
    links.live(CALLS_BEAT)
    links.worker_says(b"w", mdp.heartbeat())
    links.worker_beats = False
    links.moves(links.worker, "down", 30.0)
    links.live(30.0)
    assert links.longest([one for one in links.to_client if one > began], began) < 2 * CALLS_BEAT


def test_the_worker_hears_while_its_client_sends_something_large() -> None:
    links = Links()
    began = links.now
    links.call(b"c", b"1")
    links.client_beats = False
    links.moves(links.client, "down", 60.0)
    links.live(60.0)
    assert links.longest(links.to_worker, began) < 2 * CALLS_BEAT
    links.live(2 * CALLS_BEAT)
    links.to_worker.clear()
    links.live(30.0)
    assert not links.to_worker, "the client is gone, or hangs"


@pytest.mark.parametrize("size", ["small", "large"])
def test_nobody_stands_in_for_one_that_is_silent_by_itself(size: str) -> None:
    links = Links()
    if size == "large":
        large(links)
    else:
        links.call(b"c", b"1")
    links.client_beats = False
    links.live(120.0)
    assert not links.to_client and not links.to_worker


def test_a_request_that_stands_still_on_its_way_is_no_reason_to_go_on() -> None:
    links = Links()
    large(links)
    links.moves(links.worker, "up", 20.0)
    links.live(20.0)
    assert links.to_client
    counters = links.worker.counters()
    assert counters is not None
    full = counters._replace(pending=100_000)
    links.worker.counters = lambda: full  # type: ignore[method-assign]
    links.progress = {(OUT, (b"w",)): Progress(links.worker.counters)}
    links.live(10.0)
    links.to_client.clear()
    links.live(60.0)
    assert not links.to_client


def test_a_worker_that_answers_is_asked_nothing() -> None:
    """No look at a connection while both ends of every call are heard."""
    links = Links()
    looks: list[Any] = []
    links.progress_of = looks.append  # type: ignore[assignment,method-assign]
    large(links)
    ((_, token, _),) = links.requests()
    for _ in range(20):
        beat = control(links.switch._outgoing._ids, b"1", wire.BEAT, 0)
        links.worker_says(b"w", mdp.carried(STANDARD[2], Command.PARTIAL, token, [beat]))
        links.live(CALLS_BEAT)
    links.answer(b"w", token, reply(b"1"))
    assert not looks
