"""Silence on a connection that moves a large message, and what must not pass for that."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import LOST_AFTER
from mesh.core.health import Health
from mesh.core.progress import (
    BACKLOG,
    MOVES,
    SETTLE,
    SMALL,
    STANDS,
    UNSURE,
    Counters,
    Progress,
    second_look,
    settled,
)
from mesh.core.registration import Registration, State
from mesh.core.server_call import HubCall
from mesh.core.sidecar import SidecarSession
from mesh.errors import LostRemote
from tests.helpers.counted import Counted
from tests.helpers.pair import START, Pair, lost

BEAT = 5.0


@pytest.fixture
def link() -> Counted:
    return Counted()


@pytest.fixture
def progress(link: Counted) -> Progress:
    return Progress(link.counters)


def judged(link: Counted, progress: Progress, now: float, heard: float) -> object:
    link.now = now
    return progress.judge(now, heard, BEAT)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_large_message_is_seen_at_the_second_look(link: Counted, progress: Progress, way: str) -> None:
    setattr(link, way, (1.0, 21.0))
    assert judged(link, progress, 15.0, 5.0) is UNSURE
    assert judged(link, progress, 15.0 + settled(BEAT), 5.0) is MOVES
    assert progress.moved_at == 15.0 + settled(BEAT)


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_has_moved_once_counts_once(link: Counted, progress: Progress, way: str) -> None:
    setattr(link, way, (1.0, 15.5))
    assert judged(link, progress, 15.0, 5.0) is UNSURE
    assert judged(link, progress, 17.0, 5.0) is MOVES
    heard = progress.moved_at
    assert heard == (17.0 if way == "up" else 15.5), "what arrives has a time of its own"
    assert judged(link, progress, 27.5, heard) is STANDS


def test_nothing_under_way_is_no_reason_to_wait(link: Counted, progress: Progress) -> None:
    link.last_data = 4.0
    link.acked = link.received = 10_000_000
    assert judged(link, progress, 15.0, 5.0) is STANDS


def test_a_kernel_that_acknowledges_heartbeats_is_no_life(link: Counted, progress: Progress) -> None:
    link.last_data = 14.9
    assert judged(link, progress, 15.0, 5.0) is UNSURE, "something has come, and may be part of a large one"
    link.acked += 500
    link.last_data = 19.9
    assert judged(link, progress, 20.0, 5.0) is STANDS


def test_a_message_that_the_kernel_holds_and_nobody_takes_is_no_life(
    link: Counted, progress: Progress
) -> None:
    link.up = (1.0, 100.0)
    assert judged(link, progress, 15.0, 5.0) is UNSURE
    assert judged(link, progress, 16.0, 5.0) is MOVES
    full = link.counters()
    progress = Progress(lambda: full)
    assert progress.judge(26.0, 16.0, BEAT) is UNSURE, "a backlog may move"
    assert progress.judge(26.0 + settled(BEAT), 16.0, BEAT) is STANDS


def test_the_small_answers_of_others_hide_nobody(link: Counted, progress: Progress) -> None:
    heard = 5.0
    assert judged(link, progress, 14.0, heard) is STANDS
    for step in range(1, 20):
        link.received += 400 * SMALL // 2
        link.last_data = link.now = 14.0 + step
        progress.came += 400
    assert progress.judge(link.now, heard, BEAT) is STANDS


def test_a_large_answer_among_small_ones_is_seen(link: Counted, progress: Progress) -> None:
    link.down = (12.0, 32.0)
    assert judged(link, progress, 15.0, 5.0) is UNSURE
    progress.came += 20
    link.received += 2_000
    assert judged(link, progress, 17.0, 5.0) is MOVES


def test_what_moved_before_the_peer_was_heard_does_not_count(link: Counted, progress: Progress) -> None:
    link.up = (1.0, 11.0)
    progress.judge(5.0, 4.0, BEAT)
    link.now = 10.0
    assert progress.judge(10.0, 4.0, BEAT) is MOVES
    assert judged(link, progress, 60.0, 49.0) is STANDS


def test_what_has_arrived_a_moment_before_the_end_is_known_by_a_note(
    link: Counted, progress: Progress
) -> None:
    """An upload of 13 s: the peer has it at 14 and gives its first heartbeat at 19."""
    link.up = (1.0, 14.0)
    link.now = 5.0
    progress.note(5.0, BEAT)
    assert judged(link, progress, 15.0, 5.0) is MOVES
    other = Progress(link.counters)
    assert other.judge(15.0, 5.0, BEAT) is STANDS, "without it nothing was left to see"


def test_notes_of_many_calls_do_not_put_off_the_verdict(link: Counted, progress: Progress) -> None:
    frozen = Counters(1_000_000, 0, 100_000, 0.0)
    progress = Progress(lambda: frozen)
    verdicts = []
    for tick in range(2_000):
        now = 5.0 + tick / 100
        progress.note(now, BEAT)
        verdicts.append(progress.judge(now, 4.0, BEAT))
    assert STANDS in verdicts[: int((BEAT + 2) * 100)]


def test_many_that_ask_at_their_own_times_share_what_was_seen(link: Counted, progress: Progress) -> None:
    link.up = (1.0, 100.0)
    verdicts = [judged(link, progress, 15.0 + number / 1_000, 5.0) for number in range(100)]
    assert verdicts[0] is UNSURE
    assert set(verdicts[1:]) == {MOVES}


def test_a_connection_of_which_nothing_is_told_stands(link: Counted, progress: Progress) -> None:
    link.there = False
    progress.note(5.0, BEAT)
    assert judged(link, progress, 15.0, 5.0) is STANDS


def test_a_short_heartbeat_leaves_tcp_its_time() -> None:
    stalled = Progress(lambda: Counters(0, 0, BACKLOG, 0.0))
    assert stalled.judge(1.0, 0.4, 0.2) is UNSURE
    assert stalled.judge(1.2, 0.4, 0.2) is UNSURE
    assert second_look(stalled, 1.2, 0.4, 0.2) == (0.4, 1.2 + 0.2), "and nobody's heartbeat waits for it"
    assert stalled.judge(1.0 + SETTLE, 0.4, 0.2) is STANDS
    assert second_look(stalled, 1.0 + SETTLE, 0.4, 0.2) == (0.4, 1.0 + SETTLE)


class World(Pair):
    """A client and a server that don't hear each other; `link` tells what moves meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.link = Counted()
        self.fate = lambda letter: lost(letter)
        counters = self.link.by(lambda: self.now - START)
        self.peer.progress = Progress(counters)
        theirs = Progress(counters)
        self.server.session.take_progress_from(lambda peer: theirs)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_client_waits_while_the_connection_moves_and_no_longer(way: str) -> None:
    world = World()
    setattr(world.link, way, (0.0, 60.0))
    call = world.call(timeout=None)
    world.advance(60.0)
    assert not world.client.woken
    world.advance(6 * BEAT)
    assert world.client.woken == [call] and isinstance(call.error, LostRemote)


def test_a_client_gives_up_a_frozen_server_as_soon_as_ever() -> None:
    told, untold = World(), World()
    untold.peer.progress = None
    for world in (told, untold):
        world.call(timeout=None)
        world.advance((2 + LOST_AFTER) * BEAT - 0.1)
        assert not world.client.woken
        world.advance(0.2)
        assert len(world.client.woken) == 1


def test_a_server_waits_for_the_heartbeats_behind_a_large_request() -> None:
    world = World()
    world.fate = lambda letter: (0.0,)
    _, running = world.begun(timeout=None)
    world.link.down = (0.0, 60.0)
    world.fate = lambda letter: lost(letter)
    world.peer.progress = None
    world.advance(60.0)
    assert not running.given_up
    world.advance(6 * BEAT)
    assert running.given_up


# Whoever else judges a silence


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_worker_waits_for_a_hub_while_the_connection_moves(way: str) -> None:
    now = 0.0
    link = Counted(**{way: (0.0, 60.0)})
    registration = Registration("users", {"capacity": 1}, 1.0)
    registration.connected(0.0, progress=Progress(link.by(lambda: now)))
    registration.receive(mdp.heartbeat(about={"capacity": 1, "heartbeat": 1000}), 0.0)
    ended = 0.0
    while registration.state is State.REGISTERED:
        now = ended = registration.wake_at
        registration.on_timer(now)
        assert registration.wake_at > now or registration.state is State.AWAY
    assert 60.0 < ended <= 66.0


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_server_that_a_sidecar_asks_in_vain_is_well_while_the_connection_moves(way: str) -> None:
    now = 0.0
    link = Counted(**{way: (0.0, 60.0)})
    health = Health(b"f" * 24, 1.0)
    health.connected(0.0, Progress(link.by(lambda: now)))
    health.answered({}, wire.OK, [["pong", "x"]], 0.0)
    health.heard(0.0)
    while health.well:
        now = health.wake_at
        health.on_timer(now)
        assert health.wake_at > now
    assert 60.0 < now <= 66.0


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_sidecar_gives_the_heartbeats_that_wait_behind_a_large_message(way: str) -> None:
    now = 0.0
    link = Counted(**{way: (0.0, 60.0)})
    session = SidecarSession(b"0" * 24, "tcp://server:1", Health(b"f" * 24, 2.5), 10)
    first = session.connections[0]
    session.connection_up(first, Progress(link.by(lambda: now)), 0.0)
    session.answer(first, pong(session), 0.0)
    caller = HubCall(0, b"token")
    session.receive(caller, wire.pack({"message_id": b"1", "v": 3}, "echo", [1]), 0.0)
    theirs = wire.pack({"message_id": b"2", "response_to": b"1", "v": 3}, wire.BEAT, [0])
    beats = [0.0]
    while session.wake_at <= 120.0:
        now = session.wake_at
        session.on_timer(now)
        beats += [now for peer, event in session.take_out() if wire.unpack(event)[1] == wire.BEAT]
        session.receive(caller, theirs, now)
    assert max(after - before for before, after in pairwise(beats)) < 10.0
    assert 55.0 < beats[-1] <= 70.0, "no longer than anything moves"


def pong(session: SidecarSession) -> bytes:
    (ping,) = session.take_pings()
    asked = wire.unpack(ping)[0]["message_id"]
    return wire.pack({"message_id": b"p", "v": 3, "response_to": asked}, wire.OK, [["pong", "x"]])
