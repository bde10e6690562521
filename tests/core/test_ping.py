"""A ping is answered by the session itself, whatever its calls are doing."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.server_call import HubCall
from mesh.core.server_session import MAX_OUT, Limits, ServerSession

PEER = b"client"
PONG = ["pong", "users"]


def ping(channel: bytes = b"1", *args: Any, **header: Any) -> bytes:
    return wire.pack({"message_id": channel, "v": 3, **header}, wire.PING, list(args))


def session_of(**limits: Any) -> ServerSession:
    return ServerSession(b"5" * 24, 5.0, Limits(**limits), "users")


def answers(session: ServerSession) -> list[tuple[Any, wire.Header, str, Any]]:
    out = session.take_out()
    return [(peer, *wire.unpack(payload)) for peer, payload in out]


@pytest.mark.parametrize("peer", [PEER, HubCall(0, b"token")])
def test_a_ping_takes_no_place_in_the_queue(peer: Any) -> None:
    session = session_of()
    session.receive(peer, ping(), 1.0)
    assert not session.ready and not session.channels and session.wake_at == float("inf")
    ((to, header, name, args),) = answers(session)
    assert (to, name, args) == (peer, wire.OK, [PONG])
    assert list(header) == ["message_id", "v", "response_to"] and header["response_to"] == b"1"


def test_it_is_what_a_handler_would_answer_byte_for_byte() -> None:
    one, other = session_of(), session_of()
    for header in ({}, {"mesh": 1}, {"v": 1}):
        one.receive(PEER, ping(**header), 1.0)
        other.receive(PEER, wire.pack({"message_id": b"1", "v": 3, **header}, "echo", []), 1.0)
        call = other.ready.popleft()
        assert other.begin(call, 1.0)
        assert one.out.pop() == (PEER, other.answer(call, PONG))


def test_a_full_queue_and_a_client_with_all_its_channels_open_hold_up_no_ping() -> None:
    session = session_of(queue=1, channels=1)
    for number in range(2):
        session.receive(PEER, wire.pack({"message_id": b"c%d" % number, "v": 3}, "work", []), 1.0)
    ((_, _, name, _),) = answers(session)
    assert name == wire.ERR
    session.receive(PEER, ping(), 1.0)
    assert answers(session)[0][2:] == (wire.OK, [PONG])


def test_a_server_that_stops_refuses_it_as_any_call() -> None:
    session = session_of()
    session.drain()
    session.receive(PEER, ping(), 1.0)
    ((_, header, name, args),) = answers(session)
    assert (name, args[0], header["refused"]) == (wire.ERR, "LostRemote", True)


@pytest.mark.parametrize("payload", [ping(b"1", 2), ping(kwargs={"a": 1})])
def test_one_with_arguments_is_a_call_like_others(payload: bytes) -> None:
    session = session_of()
    session.receive(PEER, payload, 1.0)
    assert not session.out and [call.method for call in session.ready] == [wire.PING]


def test_one_by_the_id_of_an_open_call_is_dropped() -> None:
    session = session_of()
    session.receive(PEER, wire.pack({"message_id": b"1", "v": 3}, "work", []), 1.0)
    session.receive(PEER, ping(), 1.0)
    assert not session.out and session.dropped == {"duplicate": 1}


def test_a_flood_of_them_fills_no_more_than_a_flood_of_refused_calls() -> None:
    session = session_of()
    for number in range(MAX_OUT + 5):
        session.receive(PEER, ping(b"%d" % number), 1.0)
    assert len(session.out) == MAX_OUT and session.dropped == {"not answered": 5}


def test_mesh_is_told_the_load_where_it_asks() -> None:
    session = session_of()
    session.take_load_from(lambda: (3, 4))
    session.receive(PEER, wire.pack({"message_id": b"c", "v": 3}, "work", []), 1.0)
    session.receive(PEER, ping(load=1), 1.0)
    ((_, header, _, args),) = answers(session)
    assert args == [[*PONG, {"running": 3, "most": 4, "waiting": 1}]]
    assert "load" not in header


def test_a_name_that_can_not_travel_is_told_as_well_as_it_can() -> None:
    session = ServerSession(b"5" * 24, 5.0, name="a\ud800b")
    session.receive(PEER, ping(), 1.0)
    assert answers(session)[0][3] == [["pong", "a\\ud800b"]]
