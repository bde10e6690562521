"""Flow control: what a server may send, what a client grants, and what either does about excess."""

from __future__ import annotations

import math
from collections import Counter
from itertools import count, repeat
from typing import Any

import pytest

from mesh.core import wire
from mesh.core.channel import State
from mesh.core.client_call import FIRST_WINDOW, Call
from mesh.core.server_session import MAX_CREDIT
from mesh.core.window import LAST_WINDOW, OLD_WINDOWS, WINDOW_BYTES, WINDOWS
from mesh.errors import TimeoutExpired, WireError
from tests.helpers.pair import Letter, Pair


def streaming(pair: Pair, items: Any, **options: Any) -> Call:
    pair.server.handlers["stream"] = lambda server, call: server.stream(call, items)
    call = pair.call("stream", **options)
    pair.advance()
    return call


def names(letters: list[Letter], *, to_server: bool) -> list[str]:
    return [letter.name for letter in letters if letter.to_server is to_server]


def test_the_first_credit_is_1() -> None:
    pair = Pair()
    letters = pair.spy()
    call = streaming(pair, count())
    assert names(letters, to_server=False) == ["STREAM"]
    assert list(call.items or ()) == [0]
    assert pair.server.running[0].credit == 0


def test_every_item_arrives_once_and_in_order() -> None:
    pair = Pair()
    call = streaming(pair, iter(range(5_000)))
    taken: list[int] = []
    while call.state is not State.DONE or call.items:
        taken += pair.client.take(call)
        pair.advance()
    assert taken == list(range(5_000)) and call.error is None
    assert not pair.client.session.calls and not pair.server.session.calls


def test_an_item_travels_bare() -> None:
    pair = Pair()
    letters = pair.spy()
    streaming(pair, [(1, 2)])
    assert wire.unpack(letters[1].payload)[1:] == (wire.STREAM, [1, 2])


def test_the_window_grows_to_its_last() -> None:
    pair = Pair()
    call = streaming(pair, count())
    assert call.items is not None
    ahead = [len(call.items)]
    for _ in range(5_000):
        call.items.popleft()
        more = pair.client.session.grant(call)
        if more is not None:
            pair.connection.send(True, more)
            pair.advance()
            ahead.append(len(call.items))
    assert ahead[:2] == [1, FIRST_WINDOW]
    assert max(ahead) == LAST_WINDOW == ahead[-1]
    assert len(ahead) < 20, "credit is given in large pieces"


@pytest.mark.parametrize("streams", [1, 4, 100, 900])
def test_all_streams_of_one_server_together_hold_no_more_than_it_keeps(streams: int) -> None:
    pair = Pair()
    pair.server.handlers["stream"] = lambda server, call: server.stream(call, count())
    calls = [pair.call("stream", timeout=600) for _ in range(streams)]
    pair.advance()
    for _ in range(10):  # the windows have their size after six
        for call in calls:
            pair.client.take(call)
        pair.advance()
    held = sum(call.credit + len(call.items or ()) for call in calls)
    assert held <= max(WINDOWS, 2 * streams)
    assert held >= min(WINDOWS, LAST_WINDOW * streams) // 2


class TestOldServers:
    """They drop in silence what is too much for their socket; Node's takes a grant for all it may send."""

    def pair(self, server_sets: bool) -> Pair:
        """server_sets: a grant replaces what is left, as in Node, and is not added to it, as in Python."""
        pair = Pair()

        def stream(server: Any, call: Any) -> None:
            call.header.clear()
            call.header["message_id"] = call.id  # it knows no other key
            server.stream(call, count())

        pair.server.handlers["stream"] = stream
        if server_sets:
            more = pair.server.session._more

            def setting(call: Any, args: Any, now: float) -> None:
                call.credit = min(call.credit, 0)
                more(call, args, now)

            pair.server.session._more = setting  # type: ignore[method-assign]
        return pair

    @pytest.mark.parametrize("server_sets", [False, True])
    @pytest.mark.parametrize("streams", [1, 20, 600])
    def test_all_streams_together_hold_little(self, streams: int, server_sets: bool) -> None:
        pair = self.pair(server_sets)
        calls = [pair.call("stream", timeout=None) for _ in range(streams)]
        pair.advance()
        taken: list[list[int]] = [[] for _ in calls]
        for _ in range(20):
            for call, mine in zip(calls, taken, strict=True):
                mine += pair.client.take(call)
            assert sum(call.credit for call in calls) <= max(OLD_WINDOWS, streams)
            assert max(call.credit for call in calls) <= FIRST_WINDOW
            pair.advance()
        assert not pair.peer.mesh
        for mine in taken:
            assert mine == list(range(len(mine))) and len(mine) > 10, "it goes on, and nothing is lost"

    @pytest.mark.parametrize("server_sets", [False, True])
    def test_a_window_that_shrinks_stops_nobody(self, server_sets: bool) -> None:
        pair = self.pair(server_sets)
        first = pair.call("stream", timeout=None)
        pair.advance()
        pair.client.take(first)
        pair.advance()
        others = [pair.call("stream", timeout=None) for _ in range(100)]
        pair.advance()
        taken = 0
        for _ in range(100):
            for call in [first, *others]:
                got = len(pair.client.take(call))
                taken += got if call is first else 0
            pair.advance()
        assert taken > 200

    def test_large_items_are_bounded_in_bytes(self) -> None:
        pair = self.pair(False)
        pair.server.handlers["large"] = lambda server, call: (
            call.header.pop("deadline", None),
            server.stream(call, repeat(b"x" * (WINDOW_BYTES // 10))),
        )
        call = pair.call("large", timeout=None)
        pair.advance()
        for _ in range(5):
            pair.client.take(call)
            assert call.credit <= 10
            pair.advance()


def test_a_window_of_large_items_is_bounded_in_bytes() -> None:
    pair = Pair()
    item = b"x" * (WINDOW_BYTES // 20)
    call = streaming(pair, repeat(item, 500))
    most = 0
    while call.state is not State.DONE:
        most = max(most, len(call.items or ()))
        pair.client.take(call)
        pair.advance()
    assert 10 <= most <= 20


def test_items_larger_than_the_window_still_flow() -> None:
    pair = Pair()
    call = streaming(pair, repeat(b"x" * (WINDOW_BYTES + 1), 7))
    taken = 0
    for _ in range(10):
        assert len(call.items or ()) <= 2
        taken += len(pair.client.take(call))
        pair.advance()
    assert taken == 7 and call.state is State.DONE


def test_a_reader_that_stops_stops_the_server() -> None:
    pair = Pair(heartbeat=None, server_heartbeat=None)
    call = streaming(pair, count())
    pair.client.take(call)
    pair.advance()
    held = len(call.items or ())
    pair.advance(3_600.0)
    assert len(call.items or ()) == held == FIRST_WINDOW


def test_heartbeats_and_credit_cost_no_credit() -> None:
    pair = Pair()
    call = streaming(pair, count())
    (served,) = pair.server.running
    for _ in range(50):
        pair.say(call.id, wire.BEAT, [0])
        pair.say(call.id, wire.MORE, [1])
        pair.say(call.id, wire.BEAT, [0], to_server=True)
    assert call.credit == served.credit == 0 and call.error is None
    assert len(call.items or ()) == 1


@pytest.mark.parametrize("extra", [1, 1_000])
def test_a_server_that_sends_more_than_granted_breaks_the_protocol(extra: int) -> None:
    pair = Pair()
    call, _ = pair.begun("stream")
    for number in range(1 + extra):
        pair.say(call.id, wire.STREAM, number)
    assert isinstance(call.error, WireError)
    assert str(call.error) == "tcp://server:1 sent more of a stream than it was granted (method 'stream')"
    assert list(call.items or ()) == [0], "what was granted can be taken"
    assert pair.client.session.dropped == Counter(protocol=1, late=extra - 1)
    assert not pair.client.session.calls and pair.peer.open == 0


@pytest.mark.parametrize(
    "args",
    [
        None,
        [],
        {},
        "5",
        5,
        [None],
        ["5"],
        [1.0],
        [math.nan],
        [math.inf],
        [-1],
        [-(2**63)],
        [2**32],
        [2**64 - 1],
    ]
    + [[True], [[5]], [{}]],
)
def test_credit_that_is_no_number_is_dropped(args: Any) -> None:
    pair = Pair()
    streaming(pair, count())
    (served,) = pair.server.running
    pair.say(served.id, wire.MORE, args, to_server=True)
    assert served.credit == 0 and pair.server.session.dropped == {"malformed": 1}
    pair.say(served.id, wire.MORE, [3], to_server=True)
    assert pair.server.session.dropped == {"malformed": 1}


def test_credit_has_an_end() -> None:
    pair = Pair()
    _, served = pair.begun()
    for _ in range(100):
        pair.say(served.id, wire.MORE, [2**32 - 1], to_server=True)
    assert served.credit == MAX_CREDIT


def test_a_waiting_handler_is_woken_once_however_often_it_is_granted() -> None:
    """A peer may grant and grant while the loop, whose turn it is to wake the handler, is blocked."""
    pair = Pair()
    streaming(pair, count())
    (served,) = pair.server.running
    more = wire.pack({"message_id": b"m", "v": 3, "response_to": served.id}, wire.MORE, [1])
    for _ in range(1_000):
        pair.server.session.receive(served.peer, more, pair.now)
    assert pair.server.session.woken == [served]
    assert served.credit == 1_000


def test_version_2_grants_with_its_heartbeat() -> None:
    pair = Pair()
    pair.server.handlers["stream"] = lambda server, call: server.stream(call, count())
    for version, items in ((1, 5), (2, 5), (3, 1)):
        letters = pair.spy()
        channel = f"channel {version}"
        pair.say(None, "stream", [], to_server=True, message_id=channel, v=version)
        pair.say(channel, wire.BEAT, [4], to_server=True, v=version)
        assert names(letters, to_server=False) == [wire.STREAM] * items, f"version {version}"


def test_credit_that_comes_before_the_handler_begins_counts() -> None:
    pair = Pair(pool=0)
    call = pair.call("stream")
    pair.advance()
    pair.say(call.id, wire.MORE, [4], to_server=True)
    assert pair.server.session.ready[0].credit == 5


class TestWaitingForItems:
    def test_the_timeout_bounds_the_wait_for_each_item(self) -> None:
        pair = Pair()
        call = streaming(pair, count(), timeout=2.0)
        pair.fate = lambda letter: () if letter.name == wire.STREAM else (0.0,)
        pair.client.take(call, timeout=2.0)
        pair.advance(1.9)
        assert call.error is None
        pair.advance(0.11)
        assert isinstance(call.error, TimeoutExpired)
        assert str(call.error) == "no answer from tcp://server:1 to 'stream' after 2 s"
        pair.advance()
        assert pair.server.ended[0].given_up, "the server is told"

    def test_a_reader_that_takes_its_time_over_an_item_is_not_hurried(self) -> None:
        pair = Pair()
        call = streaming(pair, count(), timeout=2.0)
        pair.fate = lambda letter: (1.0,)
        pair.client.take(call, timeout=2.0)  # nothing is there yet: it waits, and gets an item in time
        pair.advance(2.0)
        assert call.items
        pair.advance(10.0)  # and works on it for longer than its timeout
        assert call.error is None and call.state is State.STREAMING
        assert pair.client.take(call, timeout=2.0)

    def test_nobody_waits_without_a_timeout(self) -> None:
        pair = Pair(heartbeat=None, server_heartbeat=None)
        call = streaming(pair, count())
        pair.fate = lambda letter: ()
        pair.client.take(call)
        pair.advance(1e6)
        assert call.error is None

    def test_the_waiter_is_woken_for_an_item_and_for_the_end(self) -> None:
        pair = Pair()
        call = streaming(pair, [1, 2])
        assert pair.client.woken == [call]
        assert pair.client.take(call) == [1]
        pair.advance()
        assert pair.client.woken == [call, call]
        assert pair.client.take(call) == [2] and call.state is State.DONE

    def test_without_a_waiter_nobody_is_woken(self) -> None:
        pair = Pair()
        call = streaming(pair, count())
        pair.say(call.id, wire.STREAM_DONE, None)
        assert pair.client.woken == [call]


class TestLeaving:
    def test_a_cancelled_stream_ends_its_handler(self) -> None:
        pair = Pair()
        call = streaming(pair, count())
        (served,) = pair.server.running
        pair.client.cancel(call)
        pair.advance()
        assert served.given_up and served in pair.server.ended
        assert not pair.server.session.calls and not pair.client.session.calls
        assert call.error is None and pair.peer.open == 0

    def test_a_cancel_is_a_heartbeat_to_an_old_peer(self) -> None:
        pair = Pair()
        call, _ = pair.begun()
        letters = pair.spy()
        pair.client.cancel(call)
        header, name, args = wire.unpack(letters[0].payload)
        assert (name, args) == (wire.BEAT, [0])
        assert header["response_to"] == call.id and header["cancel"] is True

    def test_only_true_cancels(self) -> None:
        pair = Pair()
        _, served = pair.begun()
        for cancel in (False, 1, "True", [], None):
            pair.say(served.id, wire.BEAT, [0], to_server=True, cancel=cancel)
        pair.say(served.id, wire.MORE, [0], to_server=True, cancel=True)
        assert not served.given_up

    def test_a_call_that_has_ended_cant_be_cancelled(self) -> None:
        pair = Pair()
        call, served = pair.begun()
        pair.server.answer(served, 1)
        pair.advance()
        assert pair.client.session.cancel(call, pair.now) is None
        assert call.value == 1

    def test_an_unsent_call_is_cancelled_in_silence(self) -> None:
        pair = Pair(up=False)
        call = pair.call()
        assert pair.client.session.cancel(call, pair.now) is None
        assert not pair.client.session.unsent and not pair.client.session.calls

    def test_what_arrives_after_a_cancel_wakes_nobody(self) -> None:
        pair = Pair()
        call, served = pair.begun()
        pair.server.answer(served, 1)
        pair.client.cancel(call)
        pair.advance()
        assert not pair.client.woken and pair.client.session.dropped == {"late": 1}


def test_a_grant_is_for_streams_that_go_on() -> None:
    pair = Pair()
    call, served = pair.begun()
    assert pair.client.session.grant(call) is None
    pair.server.answer(served, 1)
    pair.advance()
    assert pair.client.session.grant(call) is None


def test_an_item_that_cant_travel_names_its_place() -> None:
    pair = Pair()
    _, served = pair.begun()
    with pytest.raises(TypeError, match=r"the item\['a'\] is of type complex"):
        pair.server.session.item(served, {"a": 1j})
    with pytest.raises(TypeError, match=r"the result\[0\] is of type object"):
        pair.server.session.answer(served, [object()])
    assert served.credit == 1 and served.state is State.OPEN
    pair.server.answer(served, 1)
