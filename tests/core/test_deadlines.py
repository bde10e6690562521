"""Deadlines: every call ends in time, at either end, and `wake_at` never lies."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core import wire
from mesh.core.channel import BEATS_LATE, NEVER, State
from mesh.core.client_session import GRAIN, PING_TIMEOUT, Call
from mesh.errors import LostRemote, TimeoutExpired
from tests.helpers.pair import ClientEnd, Pair, World, on_time


def test_a_call_ends_at_its_timeout_and_its_server_is_told() -> None:
    pair = Pair()
    call, served = pair.begun("slow", timeout=2.0)
    pair.advance(1.999)
    assert call.state is State.OPEN
    pair.advance(0.001 + GRAIN)
    assert isinstance(call.error, TimeoutExpired) and not call.error.refused
    assert str(call.error) == "no answer from tcp://server:1 to 'slow' after 2 s"
    assert served.given_up and pair.client.woken == [call] and pair.peer.open == 0


def test_without_a_timeout_it_waits() -> None:
    pair = Pair()
    call, served = pair.begun(timeout=None)
    assert "deadline" not in served.header
    pair.advance(1e5)
    assert call.state is State.OPEN


@pytest.mark.parametrize(("timeout", "said"), [(30.0, 30_000), (1.5, 1_500), (0.0004, 1), (1e9, 10**12)])
def test_the_header_says_the_milliseconds_that_are_left(timeout: float, said: int) -> None:
    pair = Pair()
    letters = pair.spy()
    pair.call(timeout=timeout)
    assert wire.unpack(letters[0].payload)[0]["deadline"] == said


def test_a_call_that_has_waited_too_long_is_not_begun() -> None:
    pair = Pair(pool=1)
    pair.begun("first", timeout=None)
    pair.say(None, "second", [], to_server=True, message_id=b"2", deadline=2_000)
    pair.say(None, "third", [], to_server=True, message_id=b"3", deadline=3_000)
    pair.advance(2.5)
    letters = pair.spy()
    pair.server.answer(pair.server.running[0], 1)
    assert [call.method for call in pair.server.running] == ["third"]
    ((header, _, args),) = (wire.unpack(letter.payload) for letter in letters if letter.name == wire.ERR)
    assert header["response_to"] == b"2" and header["refused"] is True
    assert args[:2] == ["TimeoutExpired", "it waited 2.5 s, longer than its caller does"]


@pytest.mark.parametrize("deadline", [2**64 - 1, 2**63, 10**15])
def test_a_huge_deadline_is_far_away(deadline: int) -> None:
    pair = Pair()
    pair.say(None, "work", [], to_server=True, message_id=b"1", deadline=deadline)
    assert pair.server.running[0].deadline > pair.now + 1e9


@pytest.mark.parametrize("deadline", [1.5, float("nan"), float("inf"), "5", True, False, None, [], {}])
def test_a_deadline_that_is_no_integer_is_none(deadline: Any) -> None:
    pair = Pair()
    payload = wire.pack({"message_id": b"1", "v": 3, "deadline": deadline}, "work", [])
    pair.server.receive(b"peer", payload)
    assert pair.server.running[0].deadline == NEVER


@pytest.mark.parametrize("deadline", [0, -1, -(2**63)])
def test_a_deadline_that_has_passed_is_refused_at_once(deadline: int) -> None:
    pair = Pair()
    pair.say(None, "work", [], to_server=True, message_id=b"1", deadline=deadline)
    assert not pair.server.running and not pair.server.session.calls


def test_two_looks_are_a_grain_apart() -> None:
    pair = Pair()
    for number in range(1_000):
        pair.call(timeout=1.0 + number / 100_000)
    looks = 0
    tick = pair.client.tick

    def counted() -> None:
        nonlocal looks
        looks += 1
        tick()

    pair.client.tick = counted  # type: ignore[method-assign]
    pair.advance(1.0 + 0.01 + GRAIN)
    assert len(pair.client.woken) == 1_000
    assert looks <= 0.01 / GRAIN + 3


def test_a_closed_client_ends_every_call() -> None:
    pair = Pair()
    sent, _ = pair.begun("sent")
    pair.connection.down()
    waits = pair.call("waits")
    pair.client.session.fail_all(lambda call: LostRemote(f"closed: {call.method}"))
    pair.client.settle()
    assert str(waits.error) == "closed: waits" and "is gone" in str(sent.error)
    assert not pair.client.session.calls and not pair.client.session.unsent


class TestWakeAt:
    """A driver sleeps until `wake_at`: what is due before it would come late, or never."""

    @settings(deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 2**32),
        heartbeat=st.sampled_from([None, 0.3, 1.0, 5.0]),
        steps=st.integers(5, 60),
    )
    def test_whatever_happens_every_call_ends_on_time(
        self, seed: int, heartbeat: float | None, steps: int
    ) -> None:
        chance = random.Random(seed)
        pair = Pair(heartbeat=heartbeat, server_heartbeat=heartbeat, up=chance.random() < 0.5)
        due: dict[bytes, float] = {}
        ended: list[Call] = []

        def on_wake(call: Call) -> None:
            if call.state is State.DONE:
                ended.append(call)
                assert pair.now <= due.pop(call.id) + GRAIN + 1e-9
            else:
                call.waiter = pair.client

        pair.client.on_wake = on_wake
        pair.fate = lambda letter: () if chance.random() < 0.3 else (chance.random(),)
        for _ in range(steps):
            dice = chance.random()
            if dice < 0.6:
                timeout = chance.uniform(0.001, 8.0)
                due[pair.call(timeout=timeout).id] = pair.now + timeout
            elif dice < 0.7:
                pair.connection.down()
            elif dice < 0.9:
                pair.connection.up()
            elif pair.server.running:
                pair.server.answer(chance.choice(pair.server.running), 1)
            pair.advance(chance.uniform(0.0, 2.0))
        pair.advance(8.0 + 2 * GRAIN)
        assert not due and not pair.client.session.unsent
        # The session itself may just be asking a server that was silent whether it is there.
        assert all(call.method == wire.PING for call in pair.client.session.calls.values())
        pair.fate = on_time
        pair.advance(PING_TIMEOUT + 2 * GRAIN)
        assert not pair.client.session.calls and pair.peer.open == 0
        assert pair.client.session.wake_at > pair.now

    @pytest.mark.parametrize("end", ["client", "server"])
    def test_without_calls_there_is_nothing_to_wake_for(self, end: str) -> None:
        pair = Pair()
        session = getattr(pair, end).session
        assert session.wake_at == NEVER
        _, served = pair.begun(timeout=2.0)
        assert session.wake_at < NEVER
        pair.server.answer(served, 1)
        pair.advance(20.0)
        assert session.wake_at == NEVER

    def test_the_earliest_counts(self) -> None:
        client = ClientEnd(World(), heartbeat=5.0)
        session = client.session
        client.call(timeout=None)
        assert session.wake_at == client.world.now + 5.0
        client.call(timeout=30.0)
        assert session.wake_at == client.world.now + 5.0
        client.call(timeout=0.5)
        assert session.wake_at == client.world.now + 0.5

    def test_a_look_before_its_time_changes_nothing(self) -> None:
        pair = Pair()
        pair.begun(timeout=2.0)
        for session in (pair.client.session, pair.server.session):
            wake_at = session.wake_at
            assert session.on_timer(pair.now + 0.5) == []
            assert session.wake_at == pytest.approx(wake_at)

    def test_a_look_that_comes_late_makes_up_for_it(self) -> None:
        pair = Pair()
        call, _ = pair.begun(timeout=20.0)
        pair.now += 100.0
        pair.client.tick()
        pair.server.tick()
        assert isinstance(call.error, TimeoutExpired)
        assert pair.server.session.wake_at >= pair.now + 5.0 * BEATS_LATE
