"""How somebody waits at a client's session: for an item, for a connection; and who is refused."""

from __future__ import annotations

import pytest

from mesh.core import wire
from mesh.core.channel import NEVER, State
from mesh.core.client_session import MAX_ASKED, Call, ClientSession
from mesh.core.peer import Peer
from mesh.errors import LostRemote


@pytest.fixture
def session() -> ClientSession:
    return ClientSession(b"c" * 24, lambda: 0.5)


@pytest.fixture
def peer(session: ClientSession) -> Peer:
    one = Peer("tcp://there")
    session.add(one)
    session.peer_up(one, 0.0)
    return one


def stream(session: ClientSession, peer: Peer) -> Call:
    """A call whose first item has come."""
    call = session.open("export", (), None, 0.0, None, waiter="first")
    item(session, peer, call)
    assert session.take_woken() == [call]
    call.waiter = None
    return call


def item(session: ClientSession, peer: Peer, call: Call, name: str = wire.STREAM) -> None:
    event = wire.pack({"message_id": b"a", "v": 3, "response_to": call.id}, name, "item")
    session.receive(peer, event, 0.0)


class TestItems:
    def test_nobody_waits_for_one_that_is_there(self, session: ClientSession, peer: Peer) -> None:
        call = stream(session, peer)
        assert not session.await_item(call, "reader", 1.0, 5.0)
        assert call.waiter is None

    def test_who_waits_is_woken_by_it_once(self, session: ClientSession, peer: Peer) -> None:
        call = stream(session, peer)
        assert call.items is not None
        call.items.clear()
        session.grant(call)
        assert session.await_item(call, "reader", 1.0, 5.0)
        assert session.wake_at <= 6.0
        with pytest.raises(RuntimeError, match="another greenlet or task"):
            session.await_item(call, "other", 1.0, 5.0)
        item(session, peer, call)
        assert session.take_woken() == [call] and session.take_woken() == []

    def test_nobody_waits_after_the_end(self, session: ClientSession, peer: Peer) -> None:
        call = stream(session, peer)
        assert call.items is not None
        call.items.clear()
        item(session, peer, call, wire.STREAM_DONE)
        assert call.state is State.DONE
        assert not session.await_item(call, "reader", 1.0, None)


class TestConnections:
    def test_who_waits_is_woken_when_one_stands(self, session: ClientSession) -> None:
        waiting = session.await_connection("waiter", 5.0)
        assert session.wake_at == 5.0 and not session.connected(0.0)
        peer = Peer("tcp://there")
        session.add(peer)
        session.peer_up(peer, 0.0)
        assert session.take_woken() == [waiting] and session.connected(0.0)
        session.peer_up(peer, 0.0)
        assert session.take_woken() == []

    def test_or_when_the_time_is_over(self, session: ClientSession) -> None:
        early, late = session.await_connection("early", 5.0), session.await_connection("late", 7.0)
        session.on_timer(4.9)
        assert session.take_woken() == [] and session.wake_at == 5.0
        session.on_timer(5.0)
        assert session.take_woken() == [early] and session.wake_at == 7.0
        session.on_timer(7.0)
        assert session.take_woken() == [late]
        session.on_timer(8.0)
        assert session.wake_at == NEVER

    def test_or_when_the_client_is_closed(self, session: ClientSession) -> None:
        waiting = session.await_connection("waiter", 5.0)
        session.fail_all(lambda call: LostRemote("closed"))
        assert session.take_woken() == [waiting]

    def test_one_that_stops_is_none(self, session: ClientSession, peer: Peer) -> None:
        peer.leaving = 2.0
        assert not session.connected(1.0) and session.connected(2.0)
        assert session.staying(1.0) == [peer], "unless it is the only one"
        other = Peer("tcp://elsewhere")
        session.add(other)
        session.peer_up(other, 0.0)
        assert session.staying(1.0) == [other] and session.staying(2.0) == [peer, other]


def test_in_a_fork_every_call_ends_and_nobody_is_woken(session: ClientSession, peer: Peer) -> None:
    sent = session.open("sent", (), None, 0.0, 5.0, waiter="a greenlet of the parent")
    session.peer_down(peer, "as it happens", 0.0)
    session.take_woken()
    waiting = session.open("unsent", (), None, 0.0, 5.0, waiter="a greenlet of the parent")
    session.await_connection("a greenlet of the parent", 5.0)
    session.forget_all(lambda call: LostRemote(call.method))
    assert isinstance(sent.error, LostRemote) and str(waiting.error) == "unsent"
    assert waiting.state is State.DONE and waiting.waiter is None
    assert not (session.calls or session.unsent or session.take_woken())
    session.peer_up(peer, 0.0)
    assert session.take_woken() == []


def test_calls_of_peers_are_refused_as_far_as_they_are_kept(session: ClientSession, peer: Peer) -> None:
    for number in range(MAX_ASKED + 10):
        session.receive(peer, wire.pack({"message_id": b"%d" % number, "v": 3}, "get", []), 0.0)
    answers = session.refuse_asked()
    assert len(answers) == MAX_ASKED and session.refuse_asked() == []
    empty, event = answers[0]
    header, name, _ = wire.unpack(event)
    assert (empty, name, header["response_to"], header["refused"]) == (b"", wire.ERR, b"0", True)
    assert session.refuse([b"", b"rubbish"]) is None
