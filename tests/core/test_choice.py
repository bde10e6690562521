"""Which endpoint a call goes to, and whether it is tried again."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mesh.core import wire
from mesh.core.attempts import LAST_PAUSE, may_retry, pause
from mesh.core.balance import Peer, choose
from mesh.core.call import Options
from mesh.core.client_session import TRY_SILENT
from mesh.errors import (
    LostRemote,
    MeshError,
    MethodNotFound,
    Overloaded,
    RemoteError,
    TimeoutExpired,
    WireError,
)
from tests.helpers.pair import ClientEnd, Connection, ServerEnd, World


def peers(*loads: int, dead: tuple[int, ...] = (), weights: dict[int, int] | None = None) -> list[Peer]:
    made = []
    for number, load in enumerate(loads):
        peer = Peer(f"tcp://server:{number}", (weights or {}).get(number, 1))
        peer.open, peer.live = load, number not in dead
        made.append(peer)
    return made


def chosen(among: list[Peer], times: int = 1_000) -> Counter[str]:
    chance = random.Random(1)
    found: Counter[str] = Counter()
    for _ in range(times):
        peer = choose(among, chance.random)
        found[peer.endpoint[-1] if peer else "none"] += 1
    return found


@pytest.mark.parametrize(
    ("among", "expected"),
    [
        ([], {"none"}),
        (peers(0), {"0"}),
        (peers(7), {"0"}),
        (peers(0, dead=(0,)), {"none"}),
        (peers(0, 0, dead=(0, 1)), {"none"}),
        (peers(5, 0, dead=(1,)), {"0"}),
        (peers(3, 2, 4), {"1"}),
        (peers(0, 2, 4, dead=(0,)), {"1"}),
        (peers(9, 4, weights={0: 3}), {"0"}),
        (peers(9, 3, weights={0: 3}), {"0", "1"}),
        (peers(10, 3, weights={0: 3}), {"1"}),
        (peers(1, 0, 0, 1), {"1", "2"}),
    ],
)
def test_the_live_peer_with_the_fewest_open_calls_for_its_weight(
    among: list[Peer], expected: set[str]
) -> None:
    assert set(chosen(among)) == expected


def test_ties_are_broken_evenly() -> None:
    found = chosen(peers(1, 0, 0, 0, 0), times=8_000)
    assert set(found) == {"1", "2", "3", "4"}
    assert all(1_800 < times < 2_200 for times in found.values())


def test_without_ties_no_random_number_is_drawn() -> None:
    def never() -> float:
        raise AssertionError("drawn")

    assert choose(peers(3, 2, 4), never) is not None


def test_load_follows_the_weights() -> None:
    among = peers(0, 0, 0, weights={0: 1, 1: 2, 2: 5})
    chance = random.Random(1)
    for _ in range(800):
        peer = choose(among, chance.random)
        assert peer is not None
        peer.open += 1
    assert [peer.open for peer in among] == [100, 200, 500]


def test_a_dead_server_of_three_takes_no_call() -> None:
    world = World()
    client = ClientEnd(world, random=random.Random(1).random)
    links = [Connection(world, client, ServerEnd(world), f"tcp://server:{number}") for number in range(3)]
    for link in links:
        link.up()
    links[1].down()
    for _ in range(300):
        client.call()
    world.advance()
    assert [len(link.server.running) for link in links] == [150, 0, 150]


def two_of_which_one_is_frozen(world: World) -> tuple[ClientEnd, Connection, Connection]:
    """And all that went to it has been given up."""
    client = ClientEnd(world, random=random.Random(1).random, heartbeat=1.0)
    frozen, well = (Connection(world, client, ServerEnd(world), f"tcp://server:{n}") for n in range(2))
    for link in (frozen, well):
        link.up()
    world.fate = lambda letter: () if letter.connection is frozen else (0.0,)
    calls = [client.call(timeout=None) for _ in range(10)]
    world.advance(4.0)
    assert sum(isinstance(call.error, LostRemote) for call in calls) == 5
    return client, frozen, well


def test_a_server_that_was_silent_is_given_no_calls() -> None:
    world = World()
    client, _, well = two_of_which_one_is_frozen(world)
    for _ in range(10):
        assert client.call().peer is well.peer


def test_it_is_given_calls_again_when_it_says_something() -> None:
    world = World()
    client, frozen, _ = two_of_which_one_is_frozen(world)
    frozen.client.receive(frozen.peer, wire.pack({"message_id": b"x", "response_to": b"late"}, "OK", [1]))
    assert client.call().peer is frozen.peer


def test_one_call_in_a_while_finds_out_whether_it_is_well_again() -> None:
    world = World()
    client, frozen, well = two_of_which_one_is_frozen(world)
    for _ in range(3):
        world.advance(TRY_SILENT)
        assert client.call().peer is frozen.peer
        assert client.call().peer is well.peer


def test_it_is_the_last_resort() -> None:
    world = World()
    client, frozen, well = two_of_which_one_is_frozen(world)
    well.down()
    assert client.call().peer is frozen.peer
    frozen.down()
    frozen.up()
    well.up()
    assert {client.call().peer for _ in range(10)} == {frozen.peer, well.peer}


class TestOptions:
    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e10, -float("inf")])
    def test_a_timeout_that_no_clock_can_hold_is_refused(self, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout must be more than 0 and at most 1000000000 seconds"):
            Options(timeout=timeout)

    @pytest.mark.parametrize("timeout", [None, 0.001, 5, 1e9])
    def test_timeouts(self, timeout: float | None) -> None:
        assert Options(timeout=timeout).timeout == timeout

    def test_retries_are_not_negative(self) -> None:
        with pytest.raises(ValueError, match=r"retries must be a whole number from 0 .* not -1"):
            Options(retries=-1)


def refused(error: MeshError) -> MeshError:
    error.refused = True
    return error


@pytest.mark.parametrize(
    ("error", "idempotent", "again"),
    [
        (LostRemote("x"), False, False),
        (LostRemote("x"), True, True),
        (refused(LostRemote("x")), False, True),
        (refused(Overloaded("x")), False, True),
        (Overloaded("x"), True, False),
        (TimeoutExpired("x"), True, False),
        (refused(TimeoutExpired("x")), False, True),
        (refused(WireError("too large")), True, False),
        (refused(MethodNotFound("x")), True, False),
        (RemoteError("KeyError", "a"), True, False),
        (RemoteError("KeyError", "a"), False, False),
    ],
)
def test_a_second_time_only_where_no_handler_saw_it_or_may_see_it_twice(
    error: MeshError, idempotent: bool, again: bool
) -> None:
    options = Options(retries=2, idempotent=idempotent)
    assert [may_retry(error, options, attempts) for attempts in (1, 2, 3)] == [again, again, False]
    assert not may_retry(error, Options(idempotent=idempotent), 1)


def test_pauses_double_with_jitter_and_have_an_end() -> None:
    longest = [pause(attempts, lambda: 1.0) for attempts in range(1, 100)]
    shortest = [pause(attempts, lambda: 0.0) for attempts in range(1, 100)]
    assert longest[:3] == pytest.approx([0.04, 0.08, 0.16])
    assert shortest == pytest.approx([one / 2 for one in longest])
    assert longest[-1] == LAST_PAUSE and pause(10**9, lambda: 1.0) == LAST_PAUSE


def test_a_hub_that_is_silent_is_no_better_than_one_without_workers() -> None:
    world = World()
    client = ClientEnd(world)
    workerless, silent = (Connection(world, client, ServerEnd(world), name) for name in ("a", "b"))
    for one in (workerless, silent):
        one.up()
    client.session._some_leave = workerless.peer.leaving = world.now + 10.0
    silent.peer.silent = True
    assert client.call().peer is workerless.peer
