"""Copies of calls that are late: when they go out, whose answer counts, and that none is left."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core.channel import NEVER, State
from mesh.core.client_session import Call
from mesh.core.hedging import KEPT, SAMPLES, Times
from mesh.core.route import Route
from mesh.core.server_session import ServerCall
from mesh.errors import LostRemote, RemoteError, TimeoutExpired
from tests.helpers.pair import ClientEnd, Connection, ServerEnd, World, lost

USUAL = 0.010
LATE = 0.200
"""Seconds that one call of twenty takes, so that a call which takes longer is late."""


class Hedged(World):
    """A client of two servers that has asked for hedging, and whose calls were answered often enough."""

    def __init__(self, method: str = "get", calls: int = SAMPLES) -> None:
        super().__init__()
        self.client = ClientEnd(self)
        self.links = [Connection(self, self.client, ServerEnd(self), name) for name in ("a", "b")]
        for link in self.links:
            link.up()
        self.session: Any = self.client.session
        for number in range(calls):
            call = self.open(method)
            self.advance(LATE if number % 20 == 0 else USUAL)
            self.answer(call, "early")

    def open(
        self, method: str = "get", *, idempotent: bool = True, hedge: bool = True, **options: Any
    ) -> Call:
        extra = {"idempotent": True} if idempotent else None
        call: Call = self.session.open(
            method, (1,), extra, self.now, options.pop("timeout", 30.0), Route(hedge=hedge), self
        )
        self.client.send(call)
        self.advance()
        return call

    def link_of(self, call: Call) -> Connection:
        assert call.peer is not None
        return self.client.connections[call.peer]

    def served(self, link: Connection) -> ServerCall:
        return link.server.running[-1]

    def answer(self, call: Call, value: str) -> None:
        """By the server that the call went to first."""
        link = self.link_of(call)
        link.server.answer(self.served(link), value)
        self.advance()

    def late(self, **options: Any) -> tuple[Call, Connection, Connection]:
        """A call that is late, the one it went to, and the one that has a copy."""
        call = self.open(**options)
        first = self.link_of(call)
        second = next(link for link in self.links if link is not first)
        self.advance(LATE + USUAL)
        return call, first, second

    def check_nothing_is_left(self) -> None:
        self.advance(1.0)
        assert not self.session.calls and [link.peer.open for link in self.links] == [0, 0]
        assert not any(link.peer.unanswered for link in self.links)
        for link in self.links:
            assert not link.server.session.calls, "it was told"


def test_the_copy_goes_to_another_and_its_answer_counts() -> None:
    world = Hedged()
    call, first, second = world.late()
    assert world.served(second).args == [1] and len(first.server.running) == len(second.server.running) == 1
    second.server.answer(world.served(second), "from the copy")
    world.advance()
    assert call.state is State.DONE and call.value == "from the copy" and world.client.woken[-1] is call
    assert world.served(first).given_up, "it need not go on"
    first.server.answer(world.served(first), "too late")
    world.check_nothing_is_left()


def test_the_first_answer_counts_also_from_who_was_late() -> None:
    world = Hedged()
    call, _, second = world.late()
    world.answer(call, "late")
    assert call.value == "late" and world.served(second).given_up
    world.check_nothing_is_left()


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"idempotent": False}, SAMPLES),
        ({"hedge": False}, SAMPLES),
        ({}, SAMPLES - 1),
        ({"method": "put"}, SAMPLES),
    ],
)
def test_none_goes_out_without_being_asked_for_or_before_it_is_known_what_is_late(
    options: dict[str, Any], calls: int
) -> None:
    world = Hedged(calls=calls)
    call, _, second = world.late(**options)
    assert not second.server.running
    world.answer(call, "late")


def test_none_is_sent_where_the_other_is_not_well_or_the_budget_is_spent() -> None:
    world = Hedged()
    world.links[1].down()
    call, _, second = world.late()
    assert second is world.links[1] and not second.server.running
    world.answer(call, "late")
    second.up()
    while world.session.budget.take(world.now + 1.0):
        pass
    _, _, second = world.late()
    assert not second.server.running


def test_where_one_is_lost_the_other_goes_on() -> None:
    world = Hedged()
    call, first, second = world.late()
    first.down()
    assert call.state is State.OPEN and call.peer is second.peer
    second.server.answer(world.served(second), "from the copy")
    world.advance()
    assert call.value == "from the copy"
    world.check_nothing_is_left()


def test_where_the_copy_is_lost_the_call_goes_on() -> None:
    world = Hedged()
    call, _, second = world.late()
    second.down()
    world.answer(call, "late")
    assert call.value == "late"
    world.check_nothing_is_left()


def test_where_both_are_lost_the_call_is() -> None:
    world = Hedged()
    call, first, second = world.late()
    first.down()
    second.down()
    assert isinstance(call.error, LostRemote) and not world.session.calls


def test_what_a_handler_raises_is_an_answer() -> None:
    world = Hedged()
    call, _, second = world.late()
    second.server.fail(world.served(second), KeyError("x"))
    world.advance()
    assert isinstance(call.error, RemoteError)
    world.check_nothing_is_left()


def test_the_time_is_over_for_both() -> None:
    world = Hedged()
    world.fate = lost
    call = world.open(timeout=1.0)
    world.advance(1.1)
    assert isinstance(call.error, TimeoutExpired) and call.peer is not None
    assert not world.session.calls and [link.peer.open for link in world.links] == [0, 0]


def test_who_leaves_leaves_both() -> None:
    world = Hedged()
    call, first, second = world.late()
    world.client.cancel(call)
    world.advance(1.0)
    assert world.served(first).given_up and world.served(second).given_up
    world.check_nothing_is_left()


def test_heartbeats_of_the_copy_are_no_answer() -> None:
    world = Hedged()
    call, first, _ = world.late()
    world.advance(20.0)
    assert call.state is State.OPEN and call.peer is first.peer and call.copy is not None
    world.session.fail_all(lambda call: LostRemote("closed"))
    assert isinstance(call.error, LostRemote)


def test_a_stream_is_not_sent_twice() -> None:
    world = Hedged("count")
    call, first, second = world.late(method="count")
    first.server.stream(world.served(first), iter(range(3)))
    world.advance()
    assert call.state is State.STREAMING and world.served(second).given_up
    assert world.client.take(call) == [0]
    world.client.cancel(call)
    world.advance()
    call, _, second = world.late(method="count")
    assert not second.server.running, "it is known to be one"


def test_what_is_late_follows_what_calls_take() -> None:
    times = Times()
    for _ in range(SAMPLES - 1):
        times.add(0.01)
    assert times.late() is None
    times.add(0.01)
    assert times.late() == 0.01
    for _ in range(KEPT):
        times.add(0.05)
    assert times.late() == 0.05
    assert Call.hedge_at == NEVER


def test_one_that_never_left_goes_on_by_its_copy() -> None:
    """Its connection breaks while it waits there still, and its copy is with another."""
    world = Hedged()
    call = world.open()
    world.advance(2 * LATE)
    assert call.copy is not None  # type: ignore[attr-defined]
    copy_at = call.copy.peer  # type: ignore[attr-defined]
    world.session.put_back([call])
    assert (call.peer, call.copy) == (copy_at, None)  # type: ignore[attr-defined]
    world.answer(call, "by the other")
    world.advance()
    assert call.state is State.DONE and call.value == "by the other"
    assert not world.session.calls and copy_at.open == 0
