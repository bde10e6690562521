"""Which endpoint a call of a session goes to, and whether it is tried again."""

from __future__ import annotations

import random

import pytest

from mesh.core import wire
from mesh.core.attempts import LAST_PAUSE, may_retry, pause
from mesh.core.call import RETRIES, Options
from mesh.core.channel import NEVER
from mesh.core.client_session import PING_SILENT
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
    calls = [client.call(timeout=None) for _ in range(4)]
    world.advance(4.0)
    assert sum(isinstance(call.error, LostRemote) for call in calls) == 2
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


def test_a_ping_in_a_while_finds_out_whether_it_is_well_again() -> None:
    world = World()
    client, frozen, well = two_of_which_one_is_frozen(world)
    world.advance(PING_SILENT)
    assert client.call().peer is well.peer, "it did not answer the ping"
    world.fate = lambda letter: (0.0,)
    world.advance(PING_SILENT)
    assert client.call().peer is frozen.peer, "whose calls are fewer"
    world.advance(PING_SILENT)
    assert client.session.balancer.wake_at == NEVER, "it is pinged no more"


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
    for retries, most in ((None, RETRIES), (1, 1), (0, 0)):
        options = Options(retries=retries)
        found = [may_retry(error, options, attempts, idempotent=idempotent) for attempts in range(1, 5)]
        assert found == [again and attempts <= most for attempts in range(1, 5)]


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
    workerless.peer.leaving = world.now + 10.0
    client.session.balancer.silent(silent.peer, world.now, 30.0)
    assert client.call().peer is workerless.peer
