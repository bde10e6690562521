"""Who says that it is at the other end of a connection."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.callers import FROM_PROCESS, MOST_CALLERS, MOST_NAME, Callers
from mesh.core.client_session import ClientSession
from mesh.core.peer import Peer
from mesh.core.server_call import HubCall
from mesh.core.server_session import ServerSession

ME = ("web-2", 811, "uwsgi")


def header_of(session: ClientSession) -> wire.Header:
    return wire.unpack(session.open("get", (), None, 0.0, 5.0).payload)[0]


@pytest.fixture
def client() -> ClientSession:
    session = ClientSession(b"c" * 24, lambda: 0.5)
    session.process = ME
    return session


def test_a_client_says_it_with_the_first_call_on_a_connection(client: ClientSession) -> None:
    peer = Peer("tcp://a:1")
    client.add(peer)
    client.peer_up(peer, 0.0)
    first, second = header_of(client), header_of(client)
    assert (first["batch"], first[FROM_PROCESS]) == (1, [*ME])
    assert "batch" not in second and FROM_PROCESS not in second
    client.peer_down(peer, "it broke", 1.0)
    client.peer_up(peer, 2.0)
    assert header_of(client)[FROM_PROCESS] == [*ME]


def test_it_says_so_with_calls_that_wait_for_a_connection_and_asks_nothing(client: ClientSession) -> None:
    header = header_of(client)
    assert (header["batch"], header[FROM_PROCESS]) == (0, [*ME])
    session = ServerSession(b"5" * 24, 5.0)
    session.receive(b"peer", wire.pack(header, "get", []), 0.0)
    call = session.ready.popleft()
    assert session.begin(call, 0.0) and "batch" not in wire.unpack(session.answer(call, 1))[0]
    assert str(session.open_calls_told.callers.get(b"peer")) == "web-2:811"


def test_a_client_that_is_not_told_who_it_is_says_nothing() -> None:
    assert FROM_PROCESS not in header_of(ClientSession(b"c" * 24, lambda: 0.5))


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "web:1", [], ["web", 1], ["web", "1", "x"], ["", 1, "x"], ["web", -1, "x"],
        ["web", 2**32, "x"],
        ["web", True, "x"], ["web", 1, None], [b"web", 1, "x"], {"web": 1},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out(value: Any) -> None:
    callers: Callers[bytes] = Callers()
    callers.note(b"peer", value)
    assert callers.get(b"peer") is None


def test_names_have_an_end_and_nothing_that_a_terminal_obeys() -> None:
    callers: Callers[bytes] = Callers()
    callers.note(b"peer", ["\x1b[2Jweb" + "x" * 1000, 7, "a\nb\ud800"])
    caller = callers.get(b"peer")
    assert caller is not None and caller.host.startswith("[2Jweb") and len(caller.host) < MOST_NAME
    assert caller.program == "ab"


def test_of_too_many_the_first_are_forgotten() -> None:
    callers: Callers[int] = Callers()
    for number in range(MOST_CALLERS + 5):
        callers.note(number, ["web", number, ""])
    assert len(callers) == MOST_CALLERS
    assert callers.get(4) is None and callers.get(5) is not None


def test_a_server_forgets_who_has_gone_and_keeps_nothing_of_what_hubs_pass_on() -> None:
    session = ServerSession(b"5" * 24, 5.0)
    callers = session.open_calls_told.callers
    for peer in (b"peer", (b"device", b"peer"), HubCall(0, b"token")):
        header = {"message_id": b"1", "v": 3, "batch": 1, FROM_PROCESS: [*ME]}
        session.receive(peer, wire.pack(header, "get", []), 0.0)
    assert len(callers) == 2
    session.lost([b"peer"])
    assert callers.get(b"peer") is None and len(callers) == 1
