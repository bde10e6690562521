"""Several calls of a client in one frame, and their answers: what the switch makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from hubs.switching.switch import Switch
from mesh.core import wire
from mesh.core.batch import pack_events, read_events
from mesh.core.majordomo import LONE, MAX_BATCH, STATUS
from tests.hubs.switching.test_switch import IN, OUT, Bench, reply


def request(number: bytes, **header: Any) -> bytes:
    return wire.pack({"message_id": number, "v": 3, "service": "echo", **header}, "echo", [])


class Bundles(Bench):
    """A hub with one worker of many calls. turn: ends one, and gives what each client gets then."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register(b"w", capacity=1000)
        self.turn()

    def bundle(self, client: bytes, *events: bytes) -> int:
        return self.switch.receive(IN, [client, pack_events(events)], self.now)

    def turn(self) -> list[tuple[bytes, list[bytes]]]:
        return [(envelope[0], frames) for (_, envelope), frames in self.switch.take_out()]

    def tokens(self) -> list[bytes]:
        """Of the calls that the worker has."""
        return [token for worker in self.switch.workers.values() for token in worker.calls]

    def open(self, client: bytes, *numbers: bytes) -> list[bytes]:
        """Calls in one frame that the worker has got; their tokens."""
        before = self.tokens()
        assert self.bundle(client, *map(request, numbers)) == len(numbers)
        self.turn()
        return [token for token in self.tokens() if token not in before]


def ids(frames: list[bytes]) -> list[bytes]:
    """Which calls a message to a client is about."""
    events = [frames[1]] if len(frames) == 2 else read_events(frames[0])
    return [wire.unpack(event)[0]["response_to"] for event in events]


def test_calls_that_came_together_are_answered_together() -> None:
    bench = Bundles()
    tokens = bench.open(b"c", b"1", b"2", b"3")
    for token, number in zip(tokens, (b"1", b"2", b"3"), strict=True):
        bench.answer(b"w", token, reply(number))
    ((client, frames),) = bench.turn()
    assert (client, len(frames)) == (b"c", 1)
    assert read_events(frames[0]) == [reply(b"1"), reply(b"2"), reply(b"3")]
    bench.clean()
    assert bench.turn() == []


def test_one_answer_of_them_goes_as_ever() -> None:
    bench = Bundles()
    tokens = bench.open(b"c", b"1", b"2")
    bench.answer(b"w", tokens[1], reply(b"2"))
    assert bench.turn() == [(b"c", [b"", reply(b"2")])]


def test_each_client_gets_its_own() -> None:
    bench = Bundles()
    calls = [(client, bench.open(client, b"1", b"2")) for client in (b"c", b"d")]
    for at, number in ((0, b"1"), (1, b"2")):
        for _, tokens in calls:
            bench.answer(b"w", tokens[at], reply(number))
    sent = dict(bench.turn())
    assert set(sent) == {b"c", b"d"}
    assert all(ids(frames) == [b"1", b"2"] for frames in sent.values())
    bench.clean()


def test_calls_that_came_alone_are_answered_alone() -> None:
    bench = Bundles()
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    bench.turn()
    for token, number in zip(bench.tokens(), (b"1", b"2"), strict=True):
        bench.answer(b"w", token, reply(number))
    assert bench.turn() == [(b"c", [b"", reply(b"1")]), (b"c", [b"", reply(b"2")])]


def test_the_events_of_a_call_keep_their_order_around_a_large_one() -> None:
    bench = Bundles()
    (token, _) = bench.open(b"c", b"1", b"2")
    items = [reply(b"1", value, wire.STREAM) for value in ("a", "b", "x" * LONE, "c", "d")]
    for item in items:
        bench.switch.receive(OUT, [b"w", b"MDPW02", b"\x03", token, b"", item], bench.now)
    got: list[bytes] = []
    for client, frames in bench.turn():
        assert client == b"c"
        got += [frames[1]] if len(frames) == 2 else read_events(frames[0])
    assert got == items


def test_what_does_not_fit_in_one_frame_goes_in_two() -> None:
    bench = Bundles()
    numbers = [b"%d" % number for number in range(20)]
    for token, number in zip(bench.open(b"c", *numbers), numbers, strict=True):
        bench.answer(b"w", token, reply(number, "x" * (LONE // 2)))
    sent = [frames for _, frames in bench.turn()]
    assert 2 <= len(sent) <= 4
    assert all(sum(map(len, frames)) <= MAX_BATCH for frames in sent)
    assert [number for frames in sent for number in ids(frames)] == numbers


def test_what_comes_to_nothing_is_told_together() -> None:
    bench = Bundles()
    bench.bundle(b"c", request(b"1", service="other"), request(b"2", service="other"))
    bench.pass_time(3.0)
    (told,) = [frames for client, frames in bench.turn() if client == b"c"]
    assert ids(told) == [b"1", b"2"] * (len(ids(told)) // 2)
    assert told[0].count(b"ServiceNotFound") == 4
    bench.clean()


def test_a_cancel_may_be_among_them() -> None:
    bench = Bundles()
    bench.open(b"c", b"1", b"2")
    cancel = wire.pack({"message_id": b"m", "v": 3, "response_to": b"1", "cancel": True}, wire.BEAT, [0])
    assert bench.bundle(b"c", cancel, request(b"3")) == 2
    assert [call.channel for call in bench.switch.calls] == [b"2", b"3"]


def test_a_lost_client_takes_all_of_them_along() -> None:
    bench = Bundles()
    tokens = bench.open(b"c", b"1", b"2", b"3")
    bench.answer(b"w", tokens[0], reply(b"1"))
    for client, _ in bench.turn():
        bench.switch.unreachable((IN, (client,)))
    assert not bench.switch.calls


@pytest.mark.parametrize(
    "frame",
    [
        pack_events([]),
        pack_events([request(b"1"), b"junk"])[:-1],
        pack_events([request(b"1")]) + b"\x00",
        b"\x92\xc4\x01a\x05",
        pack_events([b"x" * 1000] * 100),
    ],
)
def test_a_frame_that_is_no_batch_is_counted(frame: bytes) -> None:
    bench = Bundles()
    assert bench.switch.receive(IN, [b"c", frame], bench.now) == 1
    assert bench.switch.dropped == {"malformed": 1}
    assert not bench.switch.calls
    assert bench.turn() == []


def test_rubbish_among_good_calls_harms_only_itself() -> None:
    bench = Bundles()
    assert bench.bundle(b"c", request(b"1"), b"junk", b"", request(b"1"), request(b"2")) == 5
    assert bench.switch.dropped == {"malformed": 3}
    assert [call.channel for call in bench.switch.calls] == [b"1", b"2"]


def test_a_worker_can_not_pass_for_a_client() -> None:
    bench = Bundles()
    bench.switch.receive(OUT, [b"w", pack_events([request(b"1"), request(b"2")])], bench.now)
    assert not bench.switch.calls
    assert not bench.switch.workers


class TestAgreeing:
    def asked(self, switch: Switch, *envelope: bytes) -> list[dict[str, Any]]:
        """The headers of what is said to a client that asks."""
        switch.receive(IN, [*envelope, b"", request(b"1", batch=1)], 1000.0)
        return [wire.unpack(frames[-1])[0] for (side, _), frames in switch.take_out() if side == IN]

    def test_a_client_that_asks_is_told(self) -> None:
        (header,) = self.asked(Bundles().switch, b"c")
        assert (header["response_to"], header["batch"]) == (b"1", 1)

    def test_not_where_a_device_stands_between(self) -> None:
        assert self.asked(Bundles().switch, b"device", b"c") == []

    def test_not_where_messages_must_be_smaller(self) -> None:
        assert self.asked(Bundles(batch=1024).switch, b"c") == []

    def test_whoever_asks_for_the_status_is_not(self) -> None:
        bench = Bundles()
        bench.event(b"c", {"message_id": b"1", "service": STATUS, "batch": 1})
        ((_, frames),) = bench.turn()
        assert "batch" not in wire.unpack(frames[1])[0]
