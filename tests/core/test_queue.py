"""What peers may fill of a server: its queue, in number and bytes, and how it is freed again."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mesh.core import wire
from mesh.core.channel import State
from mesh.core.client_session import Call
from mesh.core.server_session import MAX_CHANNEL_ID, MAX_METHOD, MAX_OUT, Limits, ServerSession
from mesh.errors import LostRemote, Overloaded, WireError
from tests.helpers.pair import ClientEnd, Connection, Pair


def request(number: int, *args: Any, method: str = "work", **header: Any) -> bytes:
    return wire.pack({"message_id": f"{number}", "v": 3, **header}, method, args)


def test_the_queue_is_bounded_in_number() -> None:
    pair = Pair(pool=0, limits=Limits(queue=3))
    calls = [pair.call("work") for _ in range(5)]
    pair.advance()
    assert [call.state for call in calls] == [State.OPEN] * 3 + [State.DONE] * 2
    for call in calls[3:]:
        assert isinstance(call.error, Overloaded) and call.error.refused
        assert str(call.error) == "tcp://server:1 refused 'work': 3 calls wait already (the limit is 3)"
    assert pair.server.session.dropped == {"refused": 2}
    assert len(pair.server.session.calls) == len(pair.server.session.ready) == 3


def test_the_queue_is_bounded_in_bytes() -> None:
    pair = Pair(pool=0, limits=Limits(queue_bytes=10_000))
    calls = [pair.call("work", b"x" * 4_000) for _ in range(3)]
    pair.advance()
    assert [call.state for call in calls] == [State.OPEN, State.OPEN, State.DONE]
    assert isinstance(calls[2].error, Overloaded) and calls[2].error.refused
    assert "bytes of calls wait already" in str(calls[2].error)


def test_a_request_larger_than_the_bound_goes_through_an_empty_queue() -> None:
    pair = Pair(pool=0, limits=Limits(queue_bytes=1_000))
    calls = [pair.call("work", b"x" * 4_000), pair.call("work")]
    pair.advance()
    assert [call.state for call in calls] == [State.OPEN, State.DONE]


def test_a_begun_call_makes_room() -> None:
    pair = Pair(pool=1, limits=Limits(queue=1, queue_bytes=5_000))
    running, waiting, refused = (pair.call("work", b"x" * 4_000) for _ in range(3))
    pair.advance()
    assert isinstance(refused.error, Overloaded)
    pair.server.answer(pair.server.running[0], 1)
    pair.call("work", b"x" * 4_000)
    pair.advance()
    assert running.value == 1 and waiting.state is State.OPEN
    assert len(pair.server.running) == len(pair.server.session.ready) == 1


class TestRoomIsFreed:
    """By calls that nobody waits for any more, although no handler was free to look at them."""

    def filled(self, queue: int = 10) -> tuple[Pair, ClientEnd]:
        pair = Pair(pool=1, limits=Limits(queue=queue))
        other = ClientEnd(pair, base=b"d" * 24)
        Connection(pair, other, pair.server, "other").up()
        pair.begun("runs for ever", timeout=None)
        for _ in range(queue):
            pair.call("work", b"x" * 1_000, timeout=None)
        pair.advance()
        assert len(pair.server.session.ready) == queue
        return pair, other

    def is_free(self, pair: Pair, other: ClientEnd) -> None:
        assert pair.server.session._queued == pair.server.session._queued_bytes == 0
        assert len(pair.server.session.ready) <= 1
        call = other.call("work")
        pair.advance()
        assert call.state is State.OPEN
        pair.server.answer(pair.server.running[0], 1)
        assert pair.server.running[0].id == call.id
        pair.server.answer(pair.server.running[0], 2)
        pair.advance()
        assert call.value == 2
        assert not pair.server.session.ready and not pair.server.session.calls
        assert pair.server.session._queued == pair.server.session._queued_bytes == 0

    def test_when_they_are_cancelled(self) -> None:
        pair, other = self.filled()
        for call in list(pair.client.session.calls.values())[1:]:
            pair.client.cancel(call)
        pair.advance()
        self.is_free(pair, other)

    def test_when_their_peer_is_gone(self) -> None:
        pair, other = self.filled()
        pair.connection.down()
        self.is_free(pair, other)

    def test_when_their_peer_falls_silent(self) -> None:
        pair, other = self.filled()
        pair.fate = lambda letter: () if letter.to_server else (0.0,)
        pair.advance(25.0)
        pair.fate = lambda letter: (0.0,)
        self.is_free(pair, other)

    def test_also_of_what_they_carry(self) -> None:
        pair, _ = self.filled()
        held = [call for call in pair.server.session.ready if call.args]
        pair.connection.down()
        assert len(held) == 10
        assert not any(call.args or call.header for call in held)

    def test_one_that_asks_and_cancels_for_ever_fills_nothing(self) -> None:
        pair, _ = self.filled(queue=1_000)
        for call in list(pair.client.session.calls.values())[1:]:
            pair.client.cancel(call)
        pair.advance()
        for _ in range(1_000):
            pair.client.cancel(pair.call("work", b"x" * 10_000))
            pair.advance()
        assert len(pair.server.session.ready) <= 1 and len(pair.server.session.calls) == 1
        assert pair.server.session._queued == pair.server.session._queued_bytes == 0

    def test_the_last_of_the_queue_stays_for_a_driver_that_has_seen_it(self) -> None:
        """A driver looks whether there is one and takes it, while a guard may work beside it."""
        pair, _ = self.filled()
        pair.connection.down()
        call = pair.server.session.ready.popleft()
        assert not pair.server.session.begin(call, pair.now)
        assert pair.server.session._queued == 0

    def test_one_that_a_driver_has_just_taken(self) -> None:
        pair, _ = self.filled()
        taken = pair.server.session.ready.popleft()
        pair.connection.down()
        assert not pair.server.session.begin(taken, pair.now)
        assert pair.server.session._queued == 0


def test_the_channels_of_one_peer_are_bounded_and_do_not_outlive_it() -> None:
    pair = Pair()
    calls = [pair.call(timeout=None) for _ in range(10_000)]
    pair.advance()
    most = Limits().channels
    assert len(pair.server.session.calls) == len(pair.server.running) == most
    assert isinstance(calls[most].error, Overloaded) and calls[most].error.refused
    why = f"{most} calls of this client to {pair.server.session.name} are open already, which is the limit"
    advice = "make fewer at once, for instance behind a semaphore"
    assert str(calls[most].error) == f"tcp://server:1 refused 'echo': {why}: {advice}"
    other = ClientEnd(pair, base=b"d" * 24)
    Connection(pair, other, pair.server, "other").up()
    call = other.call()
    pair.advance()
    pair.server.answer(pair.server.running[-1], "served")
    pair.advance()
    assert call.value == "served"
    pair.connection.down()
    assert not pair.server.session.calls and not pair.client.session.calls
    assert all(call.given_up for call in pair.server.running)
    assert pair.peer.open == 0


def test_a_peer_that_has_no_call_open_holds_nothing() -> None:
    pair = Pair()
    for number in range(100):
        pair.server.receive(f"peer {number}".encode(), request(number))
        pair.server.answer(pair.server.running[0], 1)
    assert not pair.server.session.channels


def test_the_failure_of_a_call_that_was_given_up_ends_no_other() -> None:
    """Its peer may have used the id again, or have nothing open any more."""
    pair = Pair()
    _, old = pair.begun()
    pair.server.session.give_up(old)
    pair.server.session.failure(old, KeyError("late"), "")
    pair.server.receive(old.peer, wire.pack({"message_id": old.id, "v": 3}, "work", []))
    pair.server.session.failure(old, KeyError("late"), "")
    (again,) = pair.server.session.open_calls()
    assert again is pair.server.running[-1] and again is not old


class TestTheUpperHalfOfTheQueue:
    """It is for those who have few calls open, where others are there at all."""

    def fill(self, pair: Pair, others: int) -> tuple[list[Call], ClientEnd]:
        other = ClientEnd(pair, base=b"d" * 24)
        Connection(pair, other, pair.server, "other").up()
        for _ in range(others):
            other.call()
        pair.advance()
        calls = [pair.call() for _ in range(10)]
        pair.advance()
        return [call for call in calls if call.state is State.DONE], other

    def test_one_that_is_alone_may_fill_it(self) -> None:
        pair = Pair(pool=0, limits=Limits(queue=10))
        refused, _ = self.fill(pair, others=0)
        assert not refused and len(pair.server.session.ready) == 10

    def test_one_that_has_much_leaves_room_for_the_others(self) -> None:
        pair = Pair(pool=0, limits=Limits(queue=10))
        refused, other = self.fill(pair, others=1)
        assert len(refused) == 4 and len(pair.server.session.ready) == 7
        assert isinstance(refused[0].error, Overloaded) and refused[0].error.refused
        assert str(refused[0].error).endswith("7 calls wait already, and 6 of this client are open")
        late = other.call()
        pair.advance()
        assert late.state is State.OPEN

    def test_a_queue_of_one_is_for_anybody(self) -> None:
        pair = Pair(pool=2, limits=Limits(queue=1))
        pair.begun("runs")
        other = ClientEnd(pair, base=b"d" * 24)
        Connection(pair, other, pair.server, "other").up()
        other.call("runs")
        pair.advance()
        waits = pair.call("waits")
        pair.advance()
        assert waits.state is State.OPEN and len(pair.server.session.ready) == 1


def test_a_draining_server_refuses_and_finishes() -> None:
    pair = Pair(pool=1)
    running, waiting = pair.call("work"), pair.call("work")
    pair.advance()
    pair.server.session.drain()
    late = pair.call("work")
    pair.advance()
    assert isinstance(late.error, LostRemote) and late.error.refused
    assert str(late.error).endswith("'work': the server is stopping and takes no more calls")
    for value in (1, 2):
        pair.server.answer(pair.server.running[0], value)
    pair.advance()
    assert (running.value, waiting.value) == (1, 2)


class TestEachRequest:
    """Requests that no handler sees, and what their senders are told."""

    def answer(self, payload: bytes) -> Any:
        session = ServerSession(b"5" * 24, 5.0)
        session.receive(b"peer", payload, 100.0)
        assert not session.calls and not session.ready
        assert session.dropped.total() >= 1
        return [(peer, *wire.unpack(sent)) for peer, sent in session.out]

    def test_a_name_without_an_end(self) -> None:
        ((peer, header, name, args),) = self.answer(request(1, method="m" * 10**6))
        assert (peer, name) == (b"peer", wire.ERR) and header["refused"] is True
        assert args[:2] == [
            "WireError",
            f"the method's name has 1000000 characters, the limit is {MAX_METHOD}",
        ]

    def test_a_name_at_its_limit(self) -> None:
        session = ServerSession(b"5" * 24, 5.0)
        session.receive(b"peer", request(1, method="m" * MAX_METHOD), 100.0)
        assert len(session.ready) == 1

    @pytest.mark.parametrize("args", ["text", {"a": 1}, 5, b"bytes", True])
    def test_arguments_that_are_no_array(self, args: Any) -> None:
        ((_, header, name, text),) = self.answer(msgpack.packb([{"message_id": "1"}, "m", args]))
        assert name == wire.ERR and header["refused"] is True and header["response_to"] == "1"
        assert "the arguments must be an array" in text[0]

    @pytest.mark.parametrize("name", [wire.BEAT, wire.MORE])
    def test_signs_without_a_channel(self, name: str) -> None:
        assert self.answer(wire.pack({"message_id": b"1", "v": 3}, name, [0])) == []

    @pytest.mark.parametrize("length", [0, MAX_CHANNEL_ID + 1, 10**6])
    def test_an_id_without_an_end(self, length: int) -> None:
        assert self.answer(wire.pack({"message_id": b"i" * length, "v": 3}, "work", [])) == []

    @pytest.mark.parametrize("channel", [[1], {}, 5, "x" * 1_000, b"", 1.5, True])
    def test_a_follow_up_to_a_channel_that_cant_be(self, channel: Any) -> None:
        payload = msgpack.packb([{"message_id": b"1", "response_to": channel}, wire.MORE, [1]])
        assert self.answer(payload) == []

    def test_a_header_with_thousands_of_keys(self) -> None:
        session = ServerSession(b"5" * 24, 5.0)
        header: dict[Any, Any] = dict.fromkeys(range(50_000), "x")
        session.receive(b"peer", wire.pack({**header, "message_id": b"1", "v": 3}, "work", []), 100.0)
        (call,) = session.ready
        assert session.begin(call, 100.0)
        answer = wire.unpack(session.answer(call, 1))
        assert answer[1:] == (wire.OK, [1]) and len(answer[0]) == 3

    @pytest.mark.parametrize("kwargs", [None, 5, [1], "a", {1: 2}, {b"a": 1}, {"a": {}}])
    def test_keyword_arguments_of_any_shape_wait_in_the_header(self, kwargs: Any) -> None:
        session = ServerSession(b"5" * 24, 5.0)
        session.receive(b"peer", request(1, kwargs=kwargs), 100.0)
        assert session.ready[0].header["kwargs"] == kwargs


def test_answers_that_nobody_takes_are_bounded() -> None:
    """While a handler blocks the loop, what is refused can't be sent as fast as it is asked."""
    session = ServerSession(b"5" * 24, 5.0)
    session.drain()
    for number in range(MAX_OUT + 100):
        session.receive(b"peer", request(number), 100.0)
    assert len(session.out) == MAX_OUT
    assert session.dropped == {"refused": MAX_OUT, "not answered": 100}


def test_what_was_dropped_is_counted_under_few_names() -> None:
    pair = Pair()
    for number in range(200):
        for name in (f"strange {number}", wire.OK, wire.STREAM):
            for header in ({"message_id": b"1"}, {"response_to": b"1"}, {str(number): 1}):
                pair.server.receive(b"peer", wire.pack(header, name, number))
                pair.client.receive(pair.peer, wire.pack(header, name, number))
    assert len(pair.server.session.dropped) <= 4 and len(pair.client.session.dropped) <= 4


class TestResults:
    def test_a_result_over_the_limit_is_the_handlers_failure(self) -> None:
        pair = Pair(limits=Limits(max_message=1_000))
        call, served = pair.begun("much")
        with pytest.raises(
            WireError, match=r"the result of 'much' takes 2.* bytes, the limit is 1000"
        ) as caught:
            pair.server.session.answer(served, "x" * 2_000)
        pair.server.fail(served, caught.value)
        pair.advance()
        assert isinstance(call.error, ValueError) and "return less" in str(call.error)

    def test_a_failure_with_endless_texts(self) -> None:
        pair = Pair()
        call, served = pair.begun()
        cls = type("E" * 10**6, (KeyError,), {})
        pair.server.fail(served, cls("m" * 10**6), "t" * 10**6)
        pair.advance()
        assert isinstance(call.error, KeyError)
        assert len(str(call.error)) < wire.MAX_TEXT + 500

    def test_a_failure_whose_text_cant_be_had(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        pair = Pair()
        call, served = pair.begun()
        pair.server.fail(served, Mute())
        pair.advance()
        assert str(call.error) == "Mute: (its text can't be had: RuntimeError)"

    def test_surrogates_in_a_failure_travel_escaped(self) -> None:
        pair = Pair()
        call, served = pair.begun()
        pair.server.fail(served, ValueError("bad \udcff name"), "at \udcff")
        pair.advance()
        assert isinstance(call.error, ValueError) and "bad \\udcff name" in str(call.error)

    def test_who_has_been_given_up_stays_so(self) -> None:
        pair = Pair()
        _, served = pair.begun()
        pair.server.session.give_up(served)
        pair.server.session.give_up(served)
        assert pair.server.session.woken == [served]


MAPS = b"\xdd" + (2_000_000).to_bytes(4, "big") + b"\x80" * 2_000_000


@pytest.mark.parametrize("where", ["arguments", "keyword arguments"])
def test_a_call_that_holds_too_many_values_is_refused_before_it_is_decoded(where: str) -> None:
    session = ServerSession(b"5" * 24, 5.0)
    head = msgpack.packb({"message_id": b"1", "v": 3})
    payload = b"\x93" + head + b"\xa1m" + MAPS
    if where == "keyword arguments":
        payload = b"\x93\x83" + head[1:] + b"\xa6kwargs\x81\xa1a" + MAPS + b"\xa1m\x90"
    session.receive(b"peer", memoryview(payload), 100.0)  # type: ignore[arg-type]
    assert not session.ready
    ((_, sent),) = session.out
    header, name, args = wire.unpack(sent)
    assert (name, header["response_to"], header["refused"]) == (wire.ERR, b"1", True)
    assert args[0] == "WireError" and "more than 1000000 values" in args[1] and "max_elements" in args[1]


def test_how_many_values_a_call_may_hold_can_be_set() -> None:
    session = ServerSession(b"5" * 24, 5.0, Limits(max_elements=100))
    session.receive(b"peer", wire.pack({"message_id": b"1", "v": 3}, "m", [[0] * 200]), 100.0)
    assert not session.ready and "more than 100 values" in str(wire.unpack(session.out[0][1])[2])


@pytest.mark.parametrize(
    ("value", "most"), [(b"\x80", 60), (b"\xc4\x64" + b"x" * 100, 300)], ids=["maps", "bytes"]
)
def test_calls_that_wait_are_bounded_by_what_they_take_in_memory(value: bytes, most: int) -> None:
    """Each is small enough; a thousand of them would take as much as one that is not."""
    session = ServerSession(b"5" * 24, 5.0, Limits(queue_bytes=32 * 1024 * 1024))
    number = 100_000 // len(value)
    for one in range(most + 50):
        head = msgpack.packb({"message_id": b"%d" % one, "v": 3})
        args = b"\xdd" + number.to_bytes(4, "big") + value * number
        session.receive(b"peer", b"\x93" + head + b"\xa1m" + args, 100.0)
    assert most / 5 < len(session.ready) < most
    assert "bytes of calls wait already" in str(wire.unpack(session.out[0][1])[2])
    for call in list(session.ready):
        assert session.begin(call, 100.0)
    assert session._queued_bytes == 0
