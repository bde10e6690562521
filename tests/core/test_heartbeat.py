"""Heartbeats: who gives them, how long either end is patient, and what the other is told."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.channel import BEATS_LATE, Channel, Sign, State
from mesh.core.client_session import ClientSession
from mesh.core.server_session import Limits
from mesh.errors import ConfigError, LostRemote
from tests.helpers.pair import Letter, Pair

LATE = 1 + 2 * BEATS_LATE


def beats(letters: list[Letter], *, to_server: bool) -> int:
    return sum(letter.name == wire.BEAT and letter.to_server is to_server for letter in letters)


class TestTheRule:
    def channel(self) -> Channel:
        return Channel(b"1", 100.0, 5.0)

    def test_patience_begins_with_the_first_beat(self) -> None:
        channel = self.channel()
        assert channel.beat(104.9, 5.0, 5.0) is Sign.QUIET
        assert channel.beat(120.0, 5.0, 5.0) is Sign.BEAT, "a late timer is nobody's fault"
        assert channel.beat(125.0, 5.0, 5.0) is Sign.BEAT
        assert channel.beat(130.0, 5.0, 5.0) is Sign.BEAT, "lost only after more than twice the heartbeat"
        assert channel.beat(135.0, 5.0, 5.0) is Sign.LOST

    def test_a_sign_of_life_begins_it_anew(self) -> None:
        channel = self.channel()
        channel.beat(105.0, 5.0, 5.0)
        channel.last_heard = 109.0
        assert channel.beat(110.0, 5.0, 5.0) is Sign.BEAT
        assert channel.beat(115.0, 5.0, 5.0) is Sign.BEAT
        assert channel.beat(120.0, 5.0, 5.0) is Sign.LOST

    def test_beats_and_patience_are_two_intervals(self) -> None:
        channel = self.channel()
        channel.beat(105.0, 1.0, 60.0)
        for now in range(106, 226):
            assert channel.next_beat == now
            assert channel.beat(now, 1.0, 60.0) is Sign.BEAT
        assert channel.beat(226.0, 1.0, 60.0) is Sign.LOST

    def test_the_time_for_which_this_process_stood_still_is_nobodys_silence(self) -> None:
        channel = self.channel()
        channel.beat(105.0, 5.0, 5.0)
        channel.last_heard = 109.0
        assert channel.beat(1000.0, 5.0, 5.0) is Sign.BEAT, "890 s late"
        assert channel.last_heard == 999.0
        assert channel.beat(1005.0, 5.0, 5.0) is Sign.BEAT
        assert channel.beat(1010.0, 5.0, 5.0) is Sign.LOST

    def test_the_other_end_may_have_stood_still_as_well(self) -> None:
        channel = self.channel()
        channel.beat(105.0, 5.0, 5.0)
        channel.last_heard = 104.9
        assert channel.beat(110.0, 5.0, 5.0) is Sign.BEAT
        assert channel.beat(175.0, 5.0, 5.0) is Sign.BEAT, "it can hardly have spoken since"
        assert channel.beat(180.0, 5.0, 5.0) is Sign.LOST

    def test_a_process_that_is_always_late_finds_the_end_too(self) -> None:
        channel, now, signs = self.channel(), 105.0, []
        while Sign.LOST not in signs:
            signs.append(channel.beat(now, 5.0, 5.0))
            now += 12.0
        assert len(signs) == 5


def test_both_ends_beat_on_every_open_call() -> None:
    pair = Pair()
    letters = pair.spy()
    for _ in range(3):
        pair.call(timeout=None)
    pair.advance(61.0)
    assert 3 * 11 <= beats(letters, to_server=True) <= 3 * 12
    assert 3 * 11 <= beats(letters, to_server=False) <= 3 * 12
    assert len(pair.server.running) == 3 and not pair.client.woken


def test_no_beat_before_one_is_due() -> None:
    pair = Pair()
    letters = pair.spy()
    pair.call(timeout=None)
    pair.advance(4.99)
    assert len(letters) == 1
    pair.advance(0.02)
    assert beats(letters, to_server=True) == beats(letters, to_server=False) == 1
    args = {letter.to_server: wire.unpack(letter.payload)[2] for letter in letters[1:]}
    assert args == {True: [0], False: [0]}


def test_many_calls_are_looked_at_together() -> None:
    """Each look costs as much as there are open calls: it must not come once for each of them."""
    pair = Pair(server_heartbeat=5.0)
    for _ in range(1_000):
        pair.call(timeout=None)
        pair.advance(0.005)
    looks = {"client": 0, "server": 0}
    for name, end in (("client", pair.client), ("server", pair.server)):

        def counted(tick: Any = end.tick, name: str = name) -> None:
            looks[name] += 1
            tick()

        end.tick = counted  # type: ignore[method-assign]
    pair.advance(50.0)
    assert looks["client"] <= 10 / BEATS_LATE and looks["server"] <= 10 / BEATS_LATE
    assert len(pair.server.running) == 1_000


@pytest.mark.parametrize("interval", [0.05, 1.0, 5.0])
def test_a_stuck_server_is_lost_after_twice_the_heartbeat(interval: float) -> None:
    pair = Pair(heartbeat=interval, server_heartbeat=interval)
    call, _ = pair.begun("work", timeout=None)
    pair.fate = lambda letter: (0.0,) if letter.to_server else ()
    pair.advance(3 * interval)
    assert call.state is State.OPEN
    pair.advance(interval * LATE)
    assert isinstance(call.error, LostRemote) and not call.error.refused
    assert "tcp://server:1 is stuck (no heartbeat for " in str(call.error)
    assert pair.peer.open == 0


def test_both_ends_on_a_machine_that_slept_keep_their_calls() -> None:
    pair = Pair()
    call, served = pair.begun("work", timeout=None)
    pair.advance(12.0)
    pair.now += 600.0
    pair.advance(60.0)
    assert call.state is State.OPEN and not served.given_up


def test_a_silent_client_is_lost_and_told() -> None:
    """It may only have kept still: then its caller must not wait for what will never come."""
    pair = Pair()
    call, served = pair.begun("work", timeout=None)
    pair.fate = lambda letter: () if letter.to_server else (0.0,)
    pair.advance(15.0)
    assert not served.given_up
    pair.advance(5.0 * LATE)
    assert served.given_up and pair.server.session.dropped == {"lost": 1}
    assert isinstance(call.error, LostRemote) and not call.error.refused
    assert "the server heard no heartbeat for" in str(call.error)
    assert not pair.server.session.calls


def test_a_silent_client_whose_call_has_not_begun_may_try_again() -> None:
    pair = Pair(pool=0)
    call = pair.call("work", timeout=None)
    pair.advance()
    pair.fate = lambda letter: () if letter.to_server else (0.0,)
    pair.advance(21.0)
    assert isinstance(call.error, LostRemote) and call.error.refused
    assert pair.server.session._queued == 0


@pytest.mark.parametrize("sign", [wire.BEAT, wire.MORE])
def test_any_event_of_the_client_is_a_sign_of_life(sign: str) -> None:
    pair = Pair()
    _, served = pair.begun("work", timeout=None)
    pair.fate = lambda letter: (0.0,) if letter.name == sign or not letter.to_server else ()
    for _ in range(20):
        pair.advance(4.0)
        pair.say(served.id, sign, [0], to_server=True)
    assert not served.given_up


def test_the_items_of_a_stream_are_signs_of_life() -> None:
    pair = Pair()
    call, served = pair.begun("work", timeout=None)
    pair.fate = lambda letter: () if letter.name == wire.BEAT and not letter.to_server else (0.0,)
    for number in range(10):
        pair.advance(4.0)
        pair.server.session.item(served, number)
        pair.say(call.id, wire.STREAM, number)
        pair.client.take(call)
    assert call.error is None and call.state is State.STREAMING


class TestOldPeers:
    def ask(self, pair: Pair, version: int | None) -> Any:
        header = {} if version is None else {"v": version}
        payload = wire.pack({"message_id": b"old", **header}, "work", [])
        pair.server.receive(pair.connection.identity, payload)
        return pair.server.running[-1]

    @pytest.mark.parametrize("version", [None, 0, 1])
    def test_version_1_gets_no_beat_until_it_gives_one(self, version: int | None) -> None:
        pair = Pair()
        served = self.ask(pair, version)
        letters = pair.spy()
        pair.advance(600.0)
        assert not letters and not served.given_up
        pair.say(b"old", wire.BEAT, [0], to_server=True, v=version)
        pair.advance(5.0 * LATE)
        assert beats(letters, to_server=False) == 1
        pair.advance(20.0)
        assert served.given_up, "who has begun to beat has to go on"

    def test_version_1_is_never_probed(self) -> None:
        pair = Pair()
        self.ask(pair, 1)
        assert pair.server.session.probes() == []

    @pytest.mark.parametrize("version", [2, 3])
    def test_later_versions_get_them_as_usual(self, version: int) -> None:
        pair = Pair()
        served = self.ask(pair, version)
        letters = pair.spy()
        pair.advance(5.0 * LATE)
        assert beats(letters, to_server=False) == 1
        pair.advance(20.0)
        assert served.given_up


class TestOtherIntervals:
    """The `heartbeat` header: the server beats at the shorter of the two, and waits for the longer."""

    @pytest.mark.parametrize(("client", "server"), [(1.0, 5.0), (5.0, 1.0), (60.0, 5.0), (0.05, 60.0)])
    def test_ends_of_different_pace_do_not_lose_each_other(self, client: float, server: float) -> None:
        pair = Pair(heartbeat=client, server_heartbeat=server)
        call, served = pair.begun("work", timeout=None)
        if client == 5.0:
            # The default goes without saying: to it the server keeps its own pace, as an old one.
            assert (served.interval, served.patience) == (server, server)
            return
        assert (served.interval, served.patience) == (min(client, server), max(client, server))
        pair.advance(10 * max(client, server))
        assert call.state is State.OPEN and not served.given_up

    def test_the_default_is_not_said(self) -> None:
        pair = Pair()
        _, served = pair.begun()
        assert set(served.header) == {"message_id", "v", "deadline", "batch"}

    def test_a_client_without_heartbeats_says_so_and_is_waited_for(self) -> None:
        pair = Pair(heartbeat=None)
        call, served = pair.begun("work", timeout=None)
        assert served.header["heartbeat"] == 0
        pair.advance(500.0)
        assert call.state is State.OPEN and not served.given_up
        pair.server.answer(served, 1)
        pair.advance()
        assert call.value == 1

    def test_but_not_for_ever(self) -> None:
        pair = Pair(heartbeat=None)
        call, served = pair.begun("work", timeout=None)
        pair.advance(2 * Limits().max_heartbeat + 15.0)
        assert served.given_up
        assert isinstance(call.error, LostRemote), "and it is told"

    def test_a_server_without_heartbeats_gives_and_expects_none(self) -> None:
        pair = Pair(heartbeat=None, server_heartbeat=None)
        letters = pair.spy()
        call, served = pair.begun("work", timeout=None)
        pair.advance(1e6)
        assert len(letters) == 1 and call.state is State.OPEN and not served.given_up

    @pytest.mark.parametrize(
        "heartbeat", [-1, 2**63, 2**64 - 1, -(2**63), 1.5, True, "1", None, [], float("nan")]
    )
    def test_rubbish_is_bounded(self, heartbeat: Any) -> None:
        pair = Pair()
        pair.say(None, "work", [], to_server=True, message_id=b"1", heartbeat=heartbeat)
        (served,) = pair.server.running
        assert served.interval == 5.0
        assert served.patience == (Limits().max_heartbeat if heartbeat in (2**63, 2**64 - 1) else 5.0)

    def test_a_peer_cant_ask_for_a_flood_of_beats(self) -> None:
        pair = Pair()
        pair.say(None, "work", [], to_server=True, message_id=b"1", heartbeat=1)
        letters = pair.spy()
        pair.advance(1.0)
        assert 15 <= len(letters) <= 20

    def test_patience_is_a_setting(self) -> None:
        pair = Pair(heartbeat=200.0, limits=Limits(max_heartbeat=60.0))
        _, served = pair.begun("work", timeout=None)
        assert served.patience == 60.0

    @pytest.mark.parametrize("heartbeat", [0, 0.0, -1.0, 0.001, float("nan"), float("inf")])
    def test_a_client_that_cant_keep_its_heartbeat_is_refused(self, heartbeat: float) -> None:
        with pytest.raises(ConfigError, match=r"heartbeat must be from 0\.05 to \d+ seconds, or None"):
            ClientSession(b"c" * 24, lambda: 0.5, heartbeat)


class TestProbes:
    def test_one_for_each_peer_with_an_open_call(self) -> None:
        pair = Pair()
        for identity in (b"a", b"b"):
            for number in range(3):
                request = wire.pack({"message_id": f"{number}", "v": 3}, "work", [])
                pair.server.receive(identity, request)
        assert [peer for peer, _ in pair.server.session.probes()] == [b"a", b"b"]
        pair.server.session.lost([b"a", b"never seen"])
        assert [peer for peer, _ in pair.server.session.probes()] == [b"b"]

    def test_a_probe_is_a_heartbeat_on_the_channel(self) -> None:
        pair = Pair()
        call, _ = pair.begun()
        ((peer, payload),) = pair.server.session.probes()
        header, name, args = wire.unpack(payload)
        assert (peer, name, args) == (pair.connection.identity, wire.BEAT, [0])
        assert header["response_to"] == call.id


def test_a_call_that_waited_for_its_connection_beats_from_then_on() -> None:
    """However long it waited, and although nothing else has moved the timer since."""
    pair = Pair(up=False)
    call = pair.call("work", timeout=None)
    pair.advance(42.0)
    pair.connection.up()
    letters = pair.spy()
    pair.advance(4.9)
    assert beats(letters, to_server=True) == 0
    pair.advance(5.0)
    assert beats(letters, to_server=True) == 1
    pair.advance(60.0)
    assert call.state is State.OPEN and not pair.server.running[0].given_up
