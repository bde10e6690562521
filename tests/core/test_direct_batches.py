"""Calls of a client that come to its server in one frame: who agrees on that, and that every bound holds."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mesh.core import wire
from mesh.core.batch import MAX_EVENTS, pack_events
from mesh.core.channel import State
from mesh.core.majordomo import MAX_BATCH
from mesh.core.server_call import HubCall, Limits, Peer
from mesh.core.server_session import MAX_OUT, ServerSession
from tests.helpers.pair import START, Pair

CLIENT = b"client"


def session(**limits: int) -> ServerSession:
    one = ServerSession(b"5" * 24, None, Limits(**limits))
    one.expose({"echo"})
    return one


def request(number: int, method: str = "echo", args: Any = (), **header: Any) -> bytes:
    return wire.pack({"message_id": b"m%d" % number, "v": 3, **header}, method, list(args))


def first_answer(server: ServerSession, payload: bytes, how: str, peer: Peer = CLIENT) -> wire.Header:
    """The header of what a request is answered with first."""
    server.receive(peer, payload, START)
    if server.out:
        return wire.unpack(server.take_out()[0][1])[0]
    call = server.ready.popleft()
    assert server.begin(call, START)
    if how == "item":
        answer = server.item(call, 1)
        assert "batch" not in wire.unpack(server.item(call, 2))[0]
    elif how == "failure":
        answer = server.failure(call, ValueError("no"), "")
    else:
        answer = server.answer(call, 1)
    return wire.unpack(answer)[0]


EACH = [
    ("answer", "echo"),
    ("item", "echo"),
    ("failure", "echo"),
    ("pong", wire.PING),
    ("unknown", "no_such_method"),
]


@pytest.mark.parametrize(("how", "method"), EACH)
def test_the_first_answer_says_yes_whatever_it_is(how: str, method: str) -> None:
    assert first_answer(session(), request(1, method, batch=1), how)["batch"] == 1
    assert "batch" not in first_answer(session(), request(1, method), how)


@pytest.mark.parametrize(("how", "method"), EACH)
@pytest.mark.parametrize("peer", [(b"device", b"client"), HubCall(0, b"token")])
def test_nobody_says_yes_through_another(how: str, method: str, peer: Peer) -> None:
    assert "batch" not in first_answer(session(), request(1, method, batch=1), how, peer)


@pytest.mark.parametrize("asked", [0, 2, None, "1", [1], {"a": 1}])
def test_nobody_says_yes_to_what_is_not_the_question(asked: Any) -> None:
    assert "batch" not in first_answer(session(), request(1, batch=asked), "answer")


def test_a_server_of_small_messages_takes_no_batches() -> None:
    assert "batch" not in first_answer(session(max_message=MAX_BATCH - 1), request(1, batch=1), "answer")


def test_what_can_not_be_read_is_refused_without_a_yes() -> None:
    header = msgpack.packb({"message_id": b"m", "v": 3, "batch": 1})
    assert "batch" not in first_answer(session(), b"\x93" + header + b"\xa4echo\xc1", "refusal")


def test_a_client_asks_once_on_each_connection() -> None:
    pair = Pair()
    for _ in range(2):
        first, second = pair.call("a"), pair.call("b")
        pair.advance()
        of = {call.id: call for call in pair.server.running}
        assert of[first.id].header["batch"] == 1
        assert "batch" not in of[second.id].header and not pair.peer.batch
        pair.server.answer(of[first.id], 1)
        pair.advance()
        assert pair.peer.batch and first.value == 1
        pair.server.answer(of[second.id], 2)
        pair.advance()
        assert second.value == 2
        pair.connection.down()
        pair.connection.up()
        assert pair.peer.batch is None


def test_calls_of_one_frame_are_calls_like_others() -> None:
    server = session()
    server.receive(CLIENT, request(1), START)
    assert server.receive_batch(CLIENT, pack_events([request(2), request(3, wire.PING)]), START) == 2
    server.receive(CLIENT, request(4), START)
    assert [(call.id, call.batched) for call in server.ready] == [
        (b"m1", False),
        (b"m2", True),
        (b"m4", False),
    ]
    assert [wire.unpack(payload)[0]["response_to"] for _, payload in server.take_out()] == [b"m3"]


def test_what_follows_on_a_call_may_come_with_others() -> None:
    server = session()
    server.receive(CLIENT, request(1), START)
    call = server.ready.popleft()
    server.begin(call, START)
    more = wire.pack({"message_id": b"x", "v": 3, "response_to": b"m1"}, wire.MORE, [10])
    cancel = wire.pack({"message_id": b"y", "v": 3, "response_to": b"m1", "cancel": True}, wire.BEAT, [0])
    server.receive_batch(CLIENT, pack_events([more, cancel]), START)
    assert call.credit == 11 and call.given_up and not server.channels


def test_the_bounds_of_one_client_hold_within_a_frame() -> None:
    server = session(channels=10, queue=100)
    server.receive_batch(CLIENT, pack_events([request(number) for number in range(50)]), START)
    assert len(server.ready) == len(server.channels[CLIENT]) == 10
    refused = [wire.unpack(payload) for _, payload in server.take_out()]
    assert len(refused) == 40 and {args[0] for _, _, args in refused} == {"Overloaded"}


def test_the_queue_and_its_bytes_hold_within_a_frame() -> None:
    server = session(queue=5)
    server.receive_batch(CLIENT, pack_events([request(number) for number in range(50)]), START)
    assert len(server.ready) == 5 and len(server.take_out()) == 45
    server = session(queue_bytes=800)
    server.receive_batch(
        CLIENT, pack_events([request(number, args=["x" * 300]) for number in range(50)]), START
    )
    assert len(server.ready) == 2 and len(server.take_out()) == 48


def test_each_event_of_a_frame_has_the_bound_of_its_values() -> None:
    server = session(max_elements=100)
    server.receive_batch(CLIENT, pack_events([request(1, args=[[0] * 200]), request(2)]), START)
    assert [call.id for call in server.ready] == [b"m2"]
    ((_, refusal),) = server.take_out()
    assert wire.unpack(refusal)[2][0] == "WireError" and server.dropped["refused"] == 1


def test_answers_without_a_handler_are_bounded_within_frames() -> None:
    server, number = session(), 0
    for _ in range(2 * MAX_OUT // 500):
        pings = [request(number + more, wire.PING) for more in range(500)]
        number += 500
        server.receive_batch(CLIENT, pack_events(pings), START)
    assert len(server.out) == MAX_OUT and server.dropped["not answered"] == number - MAX_OUT


@pytest.mark.parametrize(
    "frame",
    [
        pack_events([b"\x90"] * (MAX_EVENTS + 1)),
        pack_events([b"x" * 1_000] * 66),
        msgpack.packb([b"\x90", "text"]),
        msgpack.packb([b"\x90", [b"\x90"]]),
        pack_events([request(1), request(2)])[:-1],
        pack_events([request(1)]) + b"\x00",
        b"\xdd\x00\x00\x00\x02\xc4\x01\x00",
    ],
    ids=range(7),
)
def test_a_frame_that_is_no_batch_is_dropped_as_a_whole(frame: bytes) -> None:
    server = session()
    assert server.receive_batch(CLIENT, frame, START) == 1
    assert server.dropped == {"malformed": 1} and not (server.ready or server.out or server.channels)


def test_events_that_make_no_sense_harm_no_others() -> None:
    server = session()
    rubbish = [b"", b"\x90", b"\xc1", b"\x93\x80\xa4echo\x90", b"\x93\x81\xaamessage_id\xc0\xa4echo\x90"]
    server.receive_batch(CLIENT, pack_events([*rubbish, request(1), *rubbish, request(1)]), START)
    assert [call.id for call in server.ready] == [b"m1"]
    assert server.dropped["malformed"] == 10 and server.dropped["duplicate"] == 1


def test_a_sidecar_leaves_the_question_to_its_hub() -> None:
    asked = request(1, args=[b"a", {"k": 1.5}], batch=1, deadline=50)
    assert wire.without(asked, "batch") == request(1, args=[b"a", {"k": 1.5}], deadline=50)


def test_old_clients_get_what_they_always_got() -> None:
    """Byte for byte: nothing of batches is in an answer to who has not asked."""
    pair = Pair()
    call, served = pair.begun("echo")
    assert call.state is State.OPEN
    del served.header["batch"]
    seen = pair.spy()
    pair.server.answer(served, "a")
    pair.advance()
    (letter,) = seen
    header = {"message_id": b"00000001" + b"5" * 24, "v": 3, "response_to": call.id}
    assert letter.payload == wire.pack(header, wire.OK, ["a"])
