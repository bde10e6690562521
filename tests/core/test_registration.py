"""A worker's side of its registration with one hub, with a clock of the test's own."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mesh.core import majordomo as mdp
from mesh.core.channel import NEVER
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.registration import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Registration, State

TOKEN = b"t1"
ABOUT = {"capacity": 4, "version": "1"}


def registered(now: float = 100.0, heartbeat: float = 1.0, **about: Any) -> Registration:
    one = Registration("users", {**ABOUT, **about}, heartbeat)
    one.connected(now)
    return one


def said(one: Registration) -> list[FromWorker]:
    """What it has to say since the last time."""
    out, one.out = one.out, []
    messages = [mdp.read(frames) for frames in out]
    assert all(type(message) is FromWorker for message in messages)
    return messages  # type: ignore[return-value]


def commands(one: Registration) -> list[Command]:
    return [message.command for message in said(one)]


def pass_until(one: Registration, when: float) -> None:
    """Call the timer whenever it is wanted."""
    while one.state is State.REGISTERED and one.wake_at <= when:
        one.on_timer(one.wake_at)


def request(event: bytes = b"event", token: bytes = TOKEN) -> list[bytes]:
    return mdp.carried(STANDARD[2], Command.REQUEST, token, [event])


def acknowledge(one: Registration, now: float, capacity: int = 4, heartbeat_ms: int = 1000) -> None:
    one.receive(mdp.heartbeat(about={"capacity": capacity, "heartbeat": heartbeat_ms}), now)


def test_it_registers_when_the_connection_stands() -> None:
    one = Registration("users", ABOUT, 2.5)
    assert (one.state, one.out, one.wake_at) == (State.AWAY, [], NEVER)
    one.connected(1.0)
    (ready,) = said(one)
    assert (ready.command, ready.service) == (Command.READY, "users")
    assert ready.about == {**ABOUT, "heartbeat": 2500, "batch": mdp.MAX_BATCH}
    assert one.state is State.REGISTERED and not one.known


def test_what_a_strict_hub_sees_is_the_rfc_and_one_frame_more() -> None:
    (frames,) = registered().out
    assert frames[:3] == [b"MDPW02", b"\x01", b"users"]
    assert msgpack.unpackb(frames[3])["capacity"] == 4 and len(frames) == 4


def test_requests_and_answers() -> None:
    one = registered()
    assert [*one.receive(request(), 101.0)] == [(TOKEN, b"event")]
    one.tokens[TOKEN] = TOKEN
    said(one)
    one.answer(TOKEN, b"item", False)
    assert one.out == [[b"MDPW02", b"\x03", TOKEN, b"", b"item"]]
    assert one.tokens == {TOKEN: TOKEN}
    one.answer(TOKEN, b"end", True)
    assert one.out[1:] == [[b"MDPW02", b"\x04", TOKEN, b"", b"end"]]
    assert not one.tokens


def batched(limit: int = 1_000) -> Registration:
    """With a hub that takes batches of that many bytes."""
    one = registered()
    one.receive(mdp.heartbeat(about={"capacity": 4, "batch": limit}), 100.0)
    one.out.clear()
    one.tokens.update({b"t1": b"t1", b"t2": b"t2"})
    return one


def in_batch(frames: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    (frame,) = frames
    return list(mdp.read_batch(frame))


def test_what_no_hub_sends_is_no_welcome_but_a_reason() -> None:
    """One that deals calls to whoever connects has not taken this worker."""
    one = registered()
    call = [b"\0id", b"", msgpack.packb([{"message_id": b"m", "v": 3}, "pay", []])]
    for frames in ([b"MDPW02", b"\x02", b"no body"], [b"MDPW09"]):
        one.receive(frames, 100.5)
        assert (one.welcome, one.strange) == (False, ())
    assert one.receive(call, 100.5) == ()
    assert (one.welcome, one.strange) == (False, call)
    assert one.misled("a queue") and not one.misled("a queue")
    pass_until(one, 200.0)
    assert (one.state, one.why) == (State.AWAY, "a queue")
    one.connecting()
    one.connected(300.0)
    acknowledge(one, 300.1)
    pass_until(one, 400.0)
    assert one.why == "the hub was silent for 3.0 s"


def test_a_call_is_strange_also_where_nothing_was_offered() -> None:
    one = registered(capacity=0)
    assert one.state is State.CONNECTED
    one.receive([b"\0id", b"", b"a call"], 100.5)
    assert one.strange == [b"\0id", b"", b"a call"]
    one.strange = ()
    one.receive(request(), 100.5)
    assert (one.strange, one.dropped["late"]) == ((), 1)


def test_requests_in_one_frame() -> None:
    frame = mdp.batch([mdp.REQUEST, b"t1", b"one", mdp.REQUEST, b"t2", b"two"])
    assert [*batched().receive([frame], 101.0)] == [(b"t1", b"one"), (b"t2", b"two")]


def test_answers_wait_in_a_batch_until_they_are_let_go() -> None:
    one = batched()
    one.answer(b"t1", b"item", False)
    one.answer(b"t2", b"end", True)
    assert not one.out
    one.release()
    assert [in_batch(frames) for frames in one.out] == [[(3, b"t1", b"item"), (4, b"t2", b"end")]]
    one.out.clear()
    one.release()
    assert not one.out


def test_the_end_of_a_request_overtakes_no_answer_that_waits() -> None:
    one = batched()
    one.answer(b"t1", b"the answer", True)
    one.end(b"t1", (b"WireError", b"no call"))
    first, second = one.out
    assert in_batch(first) == [(4, b"t1", b"the answer")]
    assert second[2:] == [b"t1", b"", b"WireError", b"no call"]


def test_a_batch_is_no_larger_than_the_hub_takes() -> None:
    one = batched(limit=250)
    for _ in range(9):
        one.answer(b"t1", b"x" * 50, False)
    one.release()
    assert [len(in_batch(frames)) for frames in one.out] == [4, 4, 1]
    assert max(len(frames[0]) for frames in one.out) <= 250


def test_a_hub_may_change_what_it_takes() -> None:
    one = batched()
    one.receive(mdp.heartbeat(about={"batch": 100}), 101.0)
    for _ in range(4):
        one.answer(b"t1", b"x" * 20, False)
    one.release()
    assert len(one.out) == 2 and max(len(frames[0]) for frames in one.out) <= 100


def test_what_is_large_goes_alone_and_after_what_came_before() -> None:
    one = batched(limit=60_000)
    large = b"x" * mdp.LONE
    one.answer(b"t1", b"item", False)
    one.answer(b"t1", large, False)
    one.answer(b"t1", b"end", True)
    one.release()
    first, second, third = one.out
    assert in_batch(first) == [(3, b"t1", b"item")]
    assert second == mdp.carried(STANDARD[2], Command.PARTIAL, b"t1", [large])
    assert in_batch(third) == [(4, b"t1", b"end")]


def test_what_waits_in_a_batch_goes_with_the_connection_or_before_the_goodbye() -> None:
    one = batched()
    one.answer(b"t1", b"end", True)
    one.broke("the connection broke", 101.0)
    one.release()
    assert not one.out
    one = batched()
    one.answer(b"t1", b"end", True)
    one.leave()
    assert in_batch(one.out[0]) == [(4, b"t1", b"end")]
    assert one.out[1] == mdp.disconnect()


@pytest.mark.parametrize("limit", [None, 0, -1, "1000", 1.5, True])
def test_a_hub_that_speaks_of_no_batches_gets_none(limit: Any) -> None:
    one = batched(limit)
    one.answer(b"t1", b"end", True)
    assert one.out == [mdp.carried(STANDARD[2], Command.FINAL, b"t1", [b"end"])]


def test_a_request_with_a_leading_empty_frame_is_taken() -> None:
    assert [*registered().receive([b"", *request()], 101.0)] == [(TOKEN, b"event")]


def test_heartbeats_go_out_and_silence_is_the_end() -> None:
    one = registered()
    said(one)
    one.on_timer(100.5)
    assert not one.out and one.wake_at == 101.0
    for now in (101.0, 102.0):
        one.on_timer(now)
        assert commands(one) == [Command.HEARTBEAT]
    one.on_timer(102.9)
    assert one.state is State.REGISTERED
    one.on_timer(103.0)
    assert one.state is State.AWAY and "silent for 3.0 s" in one.why
    assert one.connect_at == one.wake_at == 103.0


@pytest.mark.parametrize("sign", [mdp.heartbeat(), request()])
def test_any_sign_of_life_counts(sign: list[bytes]) -> None:
    one = registered()
    pass_until(one, 102.5)
    one.receive(sign, 102.5)
    pass_until(one, 105.0)
    assert one.state is State.REGISTERED
    one.on_timer(105.5)
    assert one.state is State.AWAY


def test_the_time_for_which_the_worker_stood_still_is_not_the_hubs_silence() -> None:
    one = registered()
    pass_until(one, 101.5)
    one.on_timer(500.0)
    assert one.state is State.REGISTERED and one.wake_at == 500.0 + 3.0 - 2.0
    pass_until(one, 500.9)
    assert one.state is State.REGISTERED
    one.on_timer(501.0)
    assert one.state is State.AWAY and "silent for 3.0 s" in one.why


def test_the_quicker_of_two_heartbeats_is_given_and_the_slower_waited_for() -> None:
    one = registered(heartbeat=2.0)
    said(one)
    acknowledge(one, 100.0, heartbeat_ms=500)
    assert commands(one) == [Command.HEARTBEAT], "the hub is told that it was heard"
    assert one.wake_at == 100.5
    acknowledge(one, 100.0, heartbeat_ms=500)
    assert not one.out
    pass_until(one, 105.9)
    assert one.state is State.REGISTERED
    one.on_timer(106.0)
    assert one.state is State.AWAY

    slow = registered(heartbeat=0.5)
    acknowledge(slow, 100.0, heartbeat_ms=10_000)
    pass_until(slow, 129.0)
    assert slow.state is State.REGISTERED and slow.wake_at == 129.5
    pass_until(slow, 130.0)
    assert slow.state is State.AWAY


def test_each_dismissal_makes_the_pause_longer() -> None:
    one, now, pauses = registered(), 100.0, []
    for _ in range(12):
        one.receive(mdp.disconnect(reason="no such service"), now)
        assert one.state is State.AWAY and one.why.endswith("away: no such service")
        pauses.append(round(one.connect_at - now, 6))
        one.connecting()
        assert one.wake_at == NEVER
        one.connected(now)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    one.receive(mdp.disconnect(), now + STEADY)
    assert one.connect_at == now + STEADY


def test_a_hub_that_restarted_gets_its_worker_back_at_once() -> None:
    one = registered()
    one.tokens[TOKEN] = TOKEN
    one.broke("the connection broke", 101.0)
    assert one.connect_at == 101.0 and not one.tokens and not one.out
    assert not one.receive(request(), 101.0)  # of the connection that is no more
    one.connecting()
    one.connected(101.2)
    assert commands(one) == [Command.READY]


def test_a_hub_of_mesh_is_told_of_another_capacity() -> None:
    one = registered()
    acknowledge(one, 100.0)
    assert one.known and one.settled
    said(one)
    one.offer(0, 101.0)
    assert [message.about for message in said(one)] == [{"capacity": 0}]
    assert not one.settled
    assert one.receive(request(), 101.0)  # it was on its way
    acknowledge(one, 101.1, capacity=0)
    assert one.settled and one.state is State.REGISTERED
    one.offer(0, 102.0)
    assert not one.out
    one.offer(4, 103.0)
    assert [message.about for message in said(one)] == [{"capacity": 4}]


def test_any_other_hub_is_left_when_nothing_is_open() -> None:
    one = registered()
    one.receive(mdp.heartbeat(), 100.1)
    one.receive(request(), 100.1)
    one.tokens[TOKEN] = TOKEN
    said(one)
    one.offer(0, 101.0)
    assert one.state is State.REGISTERED and not one.settled and not one.out
    one.answer(TOKEN, b"end", True)
    one.leave_if_done()
    assert commands(one) == [Command.FINAL, Command.DISCONNECT]
    assert one.settled and one.state is State.CONNECTED
    one.offer(4, 105.0)
    assert commands(one) == [Command.READY]


def test_without_capacity_it_does_not_register() -> None:
    one = Registration("users", {"capacity": 0}, 1.0)
    one.connected(1.0)
    assert not one.out and one.settled and one.state is State.CONNECTED
    one.offer(3, 2.0)
    (ready,) = said(one)
    assert ready.about is not None and ready.about["capacity"] == 3


def test_what_still_runs_for_nobody_is_not_offered_again() -> None:
    one = Registration("users", {"capacity": 3}, 1.0)
    one.connected(1.0, taken=2)
    (ready,) = said(one)
    assert ready.about is not None and ready.about["capacity"] == 1
    acknowledge(one, 1.0, capacity=1)
    assert one.settled
    one.free(1, 2.0)
    assert [message.about for message in said(one)] == [{"capacity": 2}]
    one.free(5, 3.0)  # others that came later are not meant
    assert not one.out
    one.offer(0, 4.0)
    one.free(0, 5.0)
    assert [message.about for message in said(one)] == [{"capacity": 0}]

    full = Registration("users", {"capacity": 1}, 1.0)
    full.connected(1.0, taken=1)
    (ready,) = said(full)
    assert ready.about is not None and ready.about["capacity"] == 0


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"MDPW02"],
        [b"MDPW02", b"\x09"],
        [b"MDPW02", b"\x02", b"t"],
        [b"MDPW02", b"\x02", b"", b"", b"e"],
        [b"MDPW03", b"\x02", b"t", b"", b"e"],
        [b"MDPC02", b"\x01", b"users", b"e"],
        mdp.ready("users"),
        mdp.carried(STANDARD[2], Command.FINAL, b"t", [b"e"]),
        [b"junk"] * 9,
    ],
)
def test_rubbish_is_counted(frames: list[bytes]) -> None:
    one = registered()
    assert not one.receive(frames, 100.1)
    assert one.dropped["malformed"] == 1 and one.state is State.REGISTERED


@pytest.mark.parametrize("about", [{}, {"heartbeat": -1}, {"heartbeat": "x", "capacity": None}])
def test_a_hub_that_says_nonsense_changes_nothing(about: dict[str, Any]) -> None:
    one = registered()
    said(one)
    one.receive(mdp.heartbeat(about=about), 100.5)
    one.on_timer(101.0)
    assert commands(one) == [Command.HEARTBEAT] and one.wake_at == 102.0


def of_01() -> Registration:
    one = Registration("users", ABOUT, 1.0, version=1)
    one.connected(100.0)
    return one


def test_a_hub_of_01_sees_the_frames_of_01_and_no_more() -> None:
    one = of_01()
    assert one.out == [[b"", b"MDPW01", b"\x01", b"users"]]
    one.out.clear()
    assert [*one.receive([b"", b"MDPW01", b"\x02", TOKEN, b"", b"event"], 100.5)] == [(TOKEN, b"event")]
    one.tokens[TOKEN] = TOKEN
    one.answer(TOKEN, b"item", False)
    assert not one.out
    one.answer(TOKEN, b"end", True)
    one.on_timer(101.0)
    one.leave()
    assert one.out == [
        [b"", b"MDPW01", b"\x03", TOKEN, b"", b"end"],
        [b"", b"MDPW01", b"\x04"],
        [b"", b"MDPW01", b"\x05"],
    ]


def test_a_hub_of_01_may_be_silent_while_its_worker_has_a_call() -> None:
    one = of_01()
    one.receive([b"", b"MDPW01", b"\x04"], 100.0)
    one.tokens[TOKEN] = TOKEN
    pass_until(one, 110.0)
    assert one.state is State.REGISTERED
    one.answer(TOKEN, b"end", True)
    pass_until(one, 112.0)
    assert one.state is State.REGISTERED
    pass_until(one, 114.0)
    assert one.why == "the hub was silent for 3.0 s"


@pytest.mark.parametrize(("version", "advice"), [(1, "leave out mdp 0.1"), (2, "use --mdp 0.1")])
def test_a_hub_that_never_spoke_may_speak_another_version(version: int, advice: str) -> None:
    one = Registration("users", ABOUT, 1.0, version=version)
    one.connected(100.0)
    one.broke("the connection broke", 100.1)
    assert one.why == "the connection broke"
    assert one.advice.startswith("it has said nothing since READY") and advice in one.advice
    one.connected(101.0)
    one.receive(mdp.heartbeat(STANDARD[version]), 101.0)
    one.broke("the connection broke", 101.1)
    assert not one.advice
    one.connected(102.0)
    one.broke("the connection broke", 102.1)
    assert not one.advice


def test_the_welcome_of_a_hub_ends_with_its_connection() -> None:
    one = registered()
    acknowledge(one, 100.0)
    assert one.welcome
    one.broke("the connection broke", 101.0)
    assert not one.welcome
    acknowledge(one, 101.0)  # which the old socket still held
    assert (one.welcome, one.dropped["late"]) == (False, 1)
    one.connected(102.0)
    assert not one.welcome
    acknowledge(one, 102.0)
    assert one.welcome
