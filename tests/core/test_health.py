"""When a server is asked, when it counts as sick, and what makes it well again."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.channel import NEVER
from mesh.core.health import LONGEST_PAUSE, Health

BASE = b"0123456789abcdef01234567"


class Asked:
    """A Health whose clock and server the test plays."""

    def __init__(self) -> None:
        self.health = Health(BASE, 1.0)
        self.now = 100.0
        self.asked: list[bytes] = []

    def look(self) -> int:
        """The number of new questions."""
        pings = self.health.take_pings()
        for ping in pings:
            header, name, args = wire.unpack(ping)
            assert (name, args, header["mesh"], header["v"]) == (wire.PING, [], 1, 3)
            assert self.health.asked(header["message_id"])
            self.asked.append(header["message_id"])
        return len(pings)

    def until(self, when: float) -> int:
        """Let time pass; the number of questions meanwhile."""
        count = 0
        while self.health.wake_at <= when:
            self.now = max(self.now, self.health.wake_at)
            self.health.on_timer(self.now)
            assert self.health.wake_at > self.now
            count += self.look()
        self.now = when
        return count

    def answer(self, name: str = "OK", args: Any = (["pong", "x"],), **header: Any) -> None:
        self.health.heard(self.now)
        args = list(args) if isinstance(args, tuple) else args
        self.health.answered({"response_to": self.asked[-1], **header}, name, args, self.now)


@pytest.fixture
def server() -> Asked:
    asked = Asked()
    asked.health.connected(asked.now)
    assert asked.look() == 1
    return asked


def test_nobody_is_asked_without_a_connection() -> None:
    asked = Asked()
    assert not asked.health.well
    assert asked.health.wake_at is NEVER
    assert asked.look() == 0


def test_a_server_is_well_once_it_has_answered(server: Asked) -> None:
    assert not server.health.well
    server.answer()
    assert server.health.well
    assert not server.health.mesh


def test_a_server_of_mesh_says_so(server: Asked) -> None:
    server.answer(mesh=1)
    assert server.health.mesh


def test_other_events_do_not_make_a_server_well(server: Asked) -> None:
    server.health.heard(server.now)
    server.answer(wire.BEAT, (0,))
    assert not server.health.well


def test_a_server_that_is_heard_is_not_asked(server: Asked) -> None:
    server.answer()
    for _ in range(20):
        assert server.until(server.now + 0.9) == 0
        server.health.heard(server.now)
    assert server.until(server.now + 1.0) == 1


def test_a_silent_server_is_asked_once_and_sick_after_three_heartbeats(server: Asked) -> None:
    server.answer()
    began = server.now
    assert server.until(began + 2.99) == 1
    assert server.health.well
    server.until(began + 3.0)
    assert not server.health.well
    assert server.health.why == "it has not answered for 3.0 s"


def test_it_is_sick_as_soon_when_it_was_heard_while_it_was_asked(server: Asked) -> None:
    server.answer()
    began = server.now
    server.until(began + 1.1)
    server.health.heard(server.now)
    server.until(began + 1.1 + 3.0)
    assert not server.health.well


def test_any_sign_of_life_answers_for_a_well_server(server: Asked) -> None:
    server.answer()
    server.until(server.now + 1.5)
    server.health.heard(server.now)
    server.until(server.now + 2.5)
    assert server.health.well


def test_whoever_stood_still_asks_before_it_judges(server: Asked) -> None:
    server.answer()
    server.now += 60.0
    server.health.on_timer(server.now)
    assert server.health.well
    assert server.look() == 1
    server.until(server.now + 0.9)
    assert server.health.well


def test_a_sick_server_is_asked_ever_less_often_and_at_once_when_it_is_heard(server: Asked) -> None:
    server.answer()
    server.until(server.now + 3.0)
    assert 5 <= server.until(server.now + LONGEST_PAUSE) <= 7
    assert server.until(server.now + 10 * LONGEST_PAUSE) <= 11
    server.health.heard(server.now)
    assert server.until(server.now + 1.0) == 1
    server.answer()
    assert server.health.well


def test_a_new_connection_begins_anew(server: Asked) -> None:
    server.answer(mesh=1)
    server.health.broke("the connection broke")
    assert not server.health.well
    assert server.health.why == "the connection broke"
    assert server.health.wake_at is NEVER
    server.health.connected(server.now)
    assert server.look() == 1
    assert not server.health.well
    server.answer()
    assert server.health.well
    assert not server.health.mesh


@pytest.mark.parametrize(
    "args",
    [
        ["NameError", "_zerorpc_ping", ""],
        ["Error", "Method not found", None],
        ["NameError('_zerorpc_ping')"],
        ["AttributeError", "x", ""],
    ],
)
def test_a_server_without_the_method_is_well(server: Asked, args: list[Any]) -> None:
    server.answer(wire.ERR, args)
    assert server.health.well
    assert not server.health.mesh


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["MemoryError", "out of it", ""], "it answers a ping with an error, MemoryError: out of it"),
        (["Overloaded", "1000 calls wait already", ""], "Overloaded: 1000 calls wait already"),
        ([], "which has no text"),
        (None, "which has no text"),
        ([b"\xff", {}], "{}"),
    ],
)
def test_a_server_that_answers_with_another_error_is_sick(server: Asked, args: Any, why: str) -> None:
    server.answer(wire.ERR, args)
    assert not server.health.well
    assert why in server.health.why
    assert server.until(server.now + 1.0) == 1
    server.answer()
    assert server.health.well
    server.answer(wire.ERR, args)
    assert not server.health.well
    assert why in server.health.why
