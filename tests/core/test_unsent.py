"""Calls that wait for a connection: how many, in what order, for whom, and until when."""

from __future__ import annotations

import itertools

import pytest

from mesh.core import wire
from mesh.core.channel import State
from mesh.core.client_session import MAX_UNSENT
from mesh.errors import LostRemote, Overloaded, TimeoutExpired, WireError
from tests.helpers.pair import ClientEnd, Connection, Pair, ServerEnd, World


def two_servers() -> tuple[World, ClientEnd, list[Connection]]:
    world = World()
    client = ClientEnd(world)
    links = [Connection(world, client, ServerEnd(world), f"tcp://server:{number}") for number in (1, 2)]
    return world, client, links


def test_they_go_in_order_to_the_first_that_is_there() -> None:
    world, client, (first, second) = two_servers()
    calls = [client.call(str(number)) for number in range(5)]
    assert all(call.state is State.QUEUED and call.peer is None for call in calls)
    second.up()
    first.up()
    world.advance()
    assert [call.method for call in second.server.running] == ["0", "1", "2", "3", "4"]
    assert not first.server.running and not client.session.unsent
    assert (first.peer.open, second.peer.open) == (0, 5)


def test_they_are_bounded() -> None:
    pair = Pair(up=False)
    for _ in range(MAX_UNSENT):
        pair.call()
    with pytest.raises(Overloaded) as caught:
        pair.call("work")
    assert caught.value.refused
    why = "10000 calls wait for a connection to tcp://server:1 already"
    assert str(caught.value) == f"'work' was not sent: {why}"
    assert len(pair.client.session.calls) == len(pair.client.session.unsent) == MAX_UNSENT


def test_those_that_have_ended_make_room() -> None:
    """Although one that waits for ever stands before them all."""
    pair = Pair(up=False)
    patient = pair.call(timeout=None)
    for _ in range(3):
        for _ in range(MAX_UNSENT - 1):
            pair.call(timeout=1.0)
        pair.advance(2.0)
        assert list(pair.client.session.unsent.values()) == [patient]


def test_one_that_is_not_sent_in_time_says_why() -> None:
    pair = Pair(up=False)
    pair.peer.why = "connection refused"
    call = pair.call("work", timeout=2.0)
    pair.advance(2.1)
    assert isinstance(call.error, TimeoutExpired) and call.error.refused
    assert str(call.error) == "'work' could not be sent after 2 s: tcp://server:1: connection refused"


def test_a_client_without_endpoints_says_so() -> None:
    client = ClientEnd(World())
    call = client.call("work", timeout=2.0)
    client.world.advance(2.1)
    assert (
        str(call.error)
        == "'work' could not be sent after 2 s: no name server has told yet where the service is"
    )


def test_only_the_first_few_endpoints_are_told() -> None:
    client = ClientEnd(World())
    for number in range(100):
        Connection(client.world, client, ServerEnd(client.world), f"tcp://server:{number}")
    call = client.call("work", timeout=2.0)
    client.world.advance(2.1)
    assert str(call.error).count("no connection yet") == 3


def test_one_that_was_cancelled_is_not_sent() -> None:
    pair = Pair(up=False)
    kept, cancelled = pair.call("kept"), pair.call("cancelled")
    pair.client.cancel(cancelled)
    pair.connection.up()
    pair.advance()
    assert [call.method for call in pair.server.running] == ["kept"] and kept.state is State.OPEN


class TestPuttingBack:
    """Calls that were given to a connection which broke before it took them."""

    def test_they_go_to_the_next_connection(self) -> None:
        world, client, (first, second) = two_servers()
        first.up()
        first.stalled = True
        calls = [client.call(str(number)) for number in range(3)]
        first.down()
        assert [call.state for call in calls] == [State.QUEUED] * 3 and first.peer.open == 0
        second.up()
        world.advance()
        assert [call.method for call in second.server.running] == ["0", "1", "2"]
        assert second.peer.open == 3

    def test_they_go_at_once_to_another_that_is_there(self) -> None:
        world, client, (first, second) = two_servers()
        first.up()
        first.stalled = True
        calls = [client.call(str(number)) for number in range(3)]
        second.up()
        assert second.peer.open == 0
        first.down()
        world.advance()
        assert [call.method for call in second.server.running] == ["0", "1", "2"]
        assert all(call.peer is second.peer for call in calls) and not client.session.unsent

    def test_what_was_sent_is_lost_all_the_same(self) -> None:
        world, client, (first, second) = two_servers()
        first.up()
        sent = client.call("sent")
        first.stalled = True
        kept = client.call("kept")
        second.up()
        first.down()
        world.advance()
        assert isinstance(sent.error, LostRemote) and not sent.error.refused
        assert [call.method for call in second.server.running] == ["kept"] and kept.state is State.OPEN

    def test_they_keep_their_deadline(self) -> None:
        world, client, (first, _) = two_servers()
        first.up()
        first.stalled = True
        call = client.call("work", timeout=2.0)
        first.down()
        world.advance(2.1)
        assert isinstance(call.error, TimeoutExpired) and call.error.refused

    def test_those_that_have_ended_stay_so(self) -> None:
        pair = Pair()
        call, served = pair.begun()
        pair.server.answer(served, 1)
        pair.advance()
        waiting = Pair(up=False).call()
        pair.client.session.put_back([call, waiting])
        assert call.state is State.DONE and not pair.client.session.unsent


class TestCallsForOnePeer:
    """Those that another server might not understand, such as one with keyword arguments."""

    def test_they_go_there_although_another_is_idle(self) -> None:
        world, client, links = two_servers()
        for link in links:
            link.up()
        for _ in range(5):
            client.call("work", peer=links[1].peer)
        world.advance()
        assert len(links[1].server.running) == 5

    def test_they_are_refused_when_it_is_gone(self) -> None:
        _, client, (first, second) = two_servers()
        first.up()
        gone = r"tcp://server:2 is gone .* before 'work' could be sent"
        with pytest.raises(LostRemote, match=gone) as caught:
            client.call("work", peer=second.peer)
        assert caught.value.refused
        assert not client.session.calls and not client.session.unsent

    def test_they_are_not_put_back_for_another(self) -> None:
        world, client, (first, second) = two_servers()
        first.up()
        first.stalled = True
        pinned, _ = client.call("pinned", peer=first.peer), client.call("free")
        first.down()
        assert isinstance(pinned.error, LostRemote) and pinned.error.refused
        assert client.woken == [pinned]
        second.up()
        world.advance()
        assert [call.method for call in second.server.running] == ["free"]


class TestWhatCantBeSent:
    @pytest.mark.parametrize("up", [True, False])
    def test_it_leaves_nothing_behind(self, up: bool) -> None:
        pair = Pair(up=up)
        with pytest.raises(TypeError, match=r"args\[0\]\['x'\] is of type complex"):
            pair.call("work", {"x": 1j})
        with pytest.raises(TypeError, match=r"kwargs\['a'\]\[1\] is of type object"):
            pair.call("work", extra={"kwargs": {"a": [1, object()]}})
        with pytest.raises(TypeError, match="args is nested more than 1000 levels deep"):
            value: list[object] = []
            for _ in itertools.repeat(None, 5_000):
                value = [value]
            pair.call("work", value)
        pair.client.session._max_message = 10_000
        over = r"the call of 'work' takes 1\d+ bytes, the limit is 10000: send less at once"
        with pytest.raises(WireError, match=over):
            pair.call("work", "x" * 10_000)
        session = pair.client.session
        assert not session.calls and not session.unsent and pair.peer.open == 0

    def test_a_method_without_an_end_makes_no_message_without_an_end(self) -> None:
        pair = Pair()
        call = pair.call("m" * 10**6, timeout=1.0)
        pair.advance()
        assert isinstance(call.error, WireError) and len(str(call.error)) < 300
        with pytest.raises(TypeError) as caught:
            pair.call("m" * 10**6, object())
        assert len(str(caught.value)) < 300


def test_what_the_header_carries_besides() -> None:
    pair = Pair()
    letters = pair.spy()
    pair.call("work", timeout=1.0, extra={"service": "users", "idempotent": True, "kwargs": {"a": 1}})
    header, name, args = wire.unpack(letters[0].payload)
    assert list(header) == ["message_id", "v", "deadline", "service", "idempotent", "kwargs", "batch"]
    assert (header["v"], name, args) == (3, "work", [])


def test_a_call_that_can_not_be_packed_leaves_the_question_to_the_next() -> None:
    pair = Pair()
    letters = pair.spy()
    with pytest.raises(TypeError):
        pair.call("work", object())
    pair.call("work")
    pair.call("work")
    assert ["batch" in wire.unpack(letter.payload)[0] for letter in letters] == [True, False]
