"""Items of a stream that go in one event: who takes that, what it costs, and what a peer can make of it."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.channel import State
from mesh.core.client_session import Call
from mesh.core.server_call import Limits, ServerCall
from mesh.core.server_session import GROUP_BYTES, GROUP_ITEMS
from mesh.errors import WireError
from tests.helpers.pair import Pair


def streaming(**options: Any) -> tuple[Pair, Call, ServerCall]:
    """A stream whose first item was taken, and whose client has given more credit."""
    pair = Pair(**options)
    call, served = pair.begun("numbers")
    pair.connection.send(False, pair.server.session.item(served, 0))
    pair.advance()
    assert pair.client.take(call) == [0]
    pair.advance()
    return pair, call, served


def hold(pair: Pair, served: ServerCall, *values: Any) -> list[bool]:
    return [pair.server.session.hold_item(served, value) for value in values]


def send(pair: Pair, served: ServerCall) -> list[bytes]:
    events = pair.server.session.take_items(served)
    for event in events:
        pair.connection.send(False, event)
    pair.advance()
    return events


def test_several_in_one_event_cost_as_many_credits() -> None:
    pair, call, served = streaming()
    assert served.group == [] and served.credit == call.credit > 10
    before = served.credit
    assert hold(pair, served, 1, [2], None, {"a": b"b"}) == [False] * 4
    (event,) = send(pair, served)
    header, name, args = wire.unpack(event)
    assert (header["items"], name, args) == (4, wire.STREAM, [1, [2], None, {"a": b"b"}])
    assert served.credit == call.credit == before - 4
    assert pair.client.take(call) == [1, [2], None, {"a": b"b"}]
    assert pair.server.session.take_items(served) == []


def test_one_alone_is_what_it_ever_was() -> None:
    pair, _, served = streaming()
    hold(pair, served, [1, 2])
    (event,) = pair.server.session.take_items(served)
    header = {"message_id": wire.unpack(event)[0]["message_id"], "v": 3, "response_to": served.id}
    assert event == wire.pack(header, wire.STREAM, [1, 2])


def test_they_are_due_when_they_are_many_or_large_or_without_credit() -> None:
    pair, call, served = streaming()
    pair.say(call.id, wire.MORE, [1_000], to_server=True)
    due = hold(pair, served, *range(GROUP_ITEMS))
    assert due.index(True) == GROUP_ITEMS - 1
    pair.server.session.take_items(served)
    assert hold(pair, served, b"x" * (GROUP_BYTES // 2), b"x" * (GROUP_BYTES // 2)) == [False, True]
    pair.server.session.take_items(served)
    served.credit = 2
    assert hold(pair, served, 1, 2) == [False, True]


def test_a_large_one_has_an_event_of_its_own() -> None:
    pair, call, served = streaming()
    large = "x" * 100_000
    assert hold(pair, served, 1, 2, large) == [False, False, True]
    events = send(pair, served)
    assert [len(event) > GROUP_BYTES for event in events] == [False, True]
    assert pair.client.take(call) == [1, 2, large]


def test_what_can_not_travel_leaves_those_before_it() -> None:
    pair, call, served = streaming(limits=Limits(max_message=5_000))
    hold(pair, served, 1)
    with pytest.raises(TypeError, match=r"the item\[0\] is of type object"):
        hold(pair, served, [object()])
    with pytest.raises(WireError, match="the limit is 5000"):
        hold(pair, served, "x" * 5_000)
    send(pair, served)
    assert pair.client.take(call) == [1]


def test_nothing_is_sent_for_who_has_gone() -> None:
    pair, call, served = streaming()
    hold(pair, served, 1, 2)
    pair.client.cancel(call)
    pair.advance()
    assert served.given_up and pair.server.session.take_items(served) == [] == served.group


def test_an_old_server_is_not_told() -> None:
    pair = Pair()
    call, served = pair.begun("numbers")
    seen = pair.spy()
    pair.say(call.id, wire.STREAM, 0)
    assert not pair.peer.mesh
    pair.client.take(call)
    pair.advance()
    more = [wire.unpack(letter.payload)[0] for letter in seen if letter.name == wire.MORE]
    assert more and not any("items" in header for header in more)
    assert served.group is None


def test_a_client_of_few_values_takes_one_in_each() -> None:
    pair = Pair()
    pair.client.session._takes_several = False
    call, served = pair.begun("numbers")
    pair.connection.send(False, pair.server.session.item(served, 0))
    pair.advance()
    pair.client.take(call)
    pair.advance()
    assert served.credit > 1 and served.group is None


@pytest.mark.parametrize("asked", [0, 2, "1", None, [1], 10**9])
def test_what_is_not_the_word_changes_nothing(asked: Any) -> None:
    pair = Pair()
    call, served = pair.begun("numbers")
    header = {"message_id": b"m", "v": 3, "response_to": call.id, "items": asked}
    pair.connection.send(True, wire.pack(header, wire.MORE, [10]))
    pair.advance()
    assert served.credit == 11 and served.group is None


@pytest.mark.parametrize(
    ("number", "args"),
    [
        (2, [1]),
        (1, [1, 2]),
        (0, []),
        (-1, []),
        ("2", [1, 2]),
        (None, [1]),
        (2, "ab"),
        (2, {1: 1, 2: 2}),
        (1, None),
    ],
)
def test_items_that_are_not_as_many_as_was_said_end_the_call(number: Any, args: Any) -> None:
    pair, call, _ = streaming()
    pair.say(call.id, wire.STREAM, args, items=number) if number is not None else pair.connection.send(
        False,
        wire.pack({"message_id": b"m", "v": 3, "response_to": call.id, "items": None}, wire.STREAM, args),
    )
    pair.advance()
    assert call.state is State.DONE and isinstance(call.error, WireError)


def test_more_than_was_granted_ends_the_call() -> None:
    pair, call, _ = streaming()
    pair.say(call.id, wire.STREAM, [0] * (call.credit + 1), items=call.credit + 1)
    assert isinstance(call.error, WireError) and "granted" in str(call.error) and not call.items
