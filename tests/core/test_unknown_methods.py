"""A call of a method that there is not is answered by the session itself, whatever its calls are doing."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.server_call import HubCall
from mesh.core.server_session import MAX_OUT, Limits, ServerSession

PEER = b"client"


def session_of(**limits: Any) -> ServerSession:
    session = ServerSession(b"5" * 24, 5.0, Limits(**limits), "users")
    session.expose({"get"}, lambda name: f"no {name}")
    return session


def request(method: str, channel: bytes = b"1", **header: Any) -> bytes:
    return wire.pack({"message_id": channel, "v": 3, "deadline": 1_000, **header}, method, [1])


def answers(session: ServerSession) -> list[tuple[Any, wire.Header, str, Any]]:
    out, session.out = session.out, []
    return [(peer, *wire.unpack(payload)) for peer, payload in out]


@pytest.mark.parametrize("peer", [PEER, HubCall(0, b"token")])
def test_it_takes_no_place_in_the_queue(peer: Any) -> None:
    session = session_of()
    session.receive(peer, request("gte"), 1.0)
    assert not session.ready and not session.channels and session.wake_at == float("inf")
    ((to, header, name, args),) = answers(session)
    assert (to, name, args) == (peer, wire.ERR, [wire.UNKNOWN_METHOD, "no gte", ""])
    assert header["refused"] is True and header["response_to"] == b"1"
    assert session.dropped == {"unknown method": 1}


def test_a_full_queue_and_a_client_with_all_its_channels_open_do_not_hold_it_up() -> None:
    session = session_of(queue=1, channels=1)
    for number in range(2):
        session.receive(PEER, request("get", b"c%d" % number), 1.0)
    assert answers(session)[0][3][0] == "Overloaded"
    session.receive(PEER, request("gte"), 1.0)
    assert answers(session)[0][3][0] == wire.UNKNOWN_METHOD


def test_a_server_that_stops_refuses_it_as_any_call_for_another_may_have_the_method() -> None:
    session = session_of()
    session.draining = True
    session.receive(PEER, request("gte"), 1.0)
    assert answers(session)[0][3][0] == "LostRemote"


def test_a_method_that_there_is_waits_for_its_handler() -> None:
    session = session_of()
    session.receive(PEER, request("get"), 1.0)
    assert not session.out and [call.method for call in session.ready] == ["get"]


def test_a_session_that_is_told_no_methods_leaves_them_all_to_its_driver() -> None:
    session = ServerSession(b"5" * 24, 5.0)
    session.receive(PEER, request("gte"), 1.0)
    assert [call.method for call in session.ready] == ["gte"]


def test_a_flood_of_them_fills_no_more_than_a_flood_of_refused_calls() -> None:
    session = session_of()
    for number in range(MAX_OUT + 5):
        session.receive(PEER, request("gte", b"%d" % number), 1.0)
    assert len(session.out) == MAX_OUT
    assert session.dropped == {"unknown method": MAX_OUT, "not answered": 5}
