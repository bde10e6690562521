"""Which address of a host is dialled, when the next is, and when the host is asked for again."""

from __future__ import annotations

import pytest

from mesh.core.channel import NEVER
from mesh.core.host_addresses import (
    ASK_AGAIN,
    LONGEST_ASK,
    LONGEST_PATIENCE,
    PATIENCE,
    HostAddresses,
    HostAnswer,
)

FOUR = HostAnswer(("10.0.0.1",), whole=False)
TWO = HostAnswer(("10.0.0.1", "10.0.0.2"), whole=False)
BOTH = HostAnswer(("10.0.0.1", "fd00::1"))
NOTHING = HostAnswer((), "its host 'users' can't be resolved")


def asked(answer: HostAnswer, now: float = 0.0, known: tuple[str, ...] = ()) -> HostAddresses:
    """A route that has had its first answer at that time."""
    route = HostAddresses("users", 0.0, known)
    assert route.ask_at == 0.0
    route.asked(0.0)
    route.found(answer, now)
    return route


def at(route: HostAddresses, now: float) -> str:
    route.on_timer(now)
    return route.at


def test_it_is_told_that_nobody_has_answered_yet_and_then_why_there_is_none() -> None:
    route = HostAddresses("users", 0.0)
    assert route.problem == "its host 'users' is still being looked up, nobody has answered yet"
    assert not route.at and not route.answered
    route.asked(0.0)
    assert route.ask_at == route.move_at == NEVER
    route.found(NOTHING, 1.0)
    assert (route.problem, route.at, route.answered) == (NOTHING.problem, "", True)
    route.found(FOUR, 2.0)
    assert (route.problem, route.at) == ("", "10.0.0.1")


def test_the_next_is_tried_after_a_quarter_of_a_second_and_at_once_where_it_is_refused() -> None:
    route = asked(TWO)
    assert at(route, PATIENCE - 0.01) == "10.0.0.1" and route.move_at == PATIENCE
    assert at(route, PATIENCE) == "10.0.0.2"
    route = asked(TWO)
    route.refused(0.01)
    assert route.at == "10.0.0.2"


def test_each_round_has_more_patience_up_to_some_and_goes_through_all() -> None:
    route, now, times = asked(HostAnswer(("10.0.0.1", "10.0.0.2"))), 0.0, []
    for _ in range(5_000):
        before, now = now, route.move_at
        at(route, now)
        times.append((route.at, now - before))
    assert times[0] == ("10.0.0.2", pytest.approx(PATIENCE))
    tried = [address for address, seconds in times if seconds > PATIENCE]
    assert set(tried) == {"10.0.0.1", "10.0.0.2"}
    assert max(seconds for _, seconds in times) == pytest.approx(LONGEST_PATIENCE)


def test_where_all_refuse_there_is_a_pause_between_the_rounds() -> None:
    route, now, dialled = asked(HostAnswer(("10.0.0.1", "10.0.0.2"))), 0.0, 0
    while now < 60.0:
        before = route.at
        route.refused(now)
        if route.at == before:
            now = route.move_at
            route.on_timer(now)
        dialled += 1
    assert 100 <= dialled <= 160, "two a second"


def test_a_lone_address_is_left_to_libzmq() -> None:
    route = asked(HostAnswer(("10.0.0.1",)))
    assert route.move_at == NEVER
    route.refused(0.1)
    assert (route.at, route.move_at) == ("10.0.0.1", NEVER)


@pytest.mark.parametrize("refused", [True, False])
def test_the_addresses_of_ipv6_are_asked_for_where_those_of_ipv4_do_not_do(refused: bool) -> None:
    route = asked(FOUR)
    now = 0.01 if refused else PATIENCE
    if refused:
        route.refused(now)
    else:
        route.on_timer(now)
    assert route.ask_at == now and route.whole and route.at == "10.0.0.1"
    route.asked(now)
    route.found(BOTH, now + 0.001)
    assert route.at == "fd00::1"
    route.connected()
    route.stands()
    assert route.move_at == route.ask_at == NEVER
    assert route.whole, "else its own address would not be in the next answer"


def test_an_answer_without_them_that_was_under_way_is_no_reason_to_wait() -> None:
    route = asked(FOUR, known=("10.0.0.9",))
    route.refused(0.1)
    route.asked(0.1)
    route.found(FOUR, 0.2)
    assert route.ask_at == 0.2 and route.whole


def test_an_address_that_connects_is_left_alone() -> None:
    route = asked(TWO)
    route.connected()
    assert at(route, 100.0) == "10.0.0.1"
    route.stands()
    route.found(HostAnswer(("10.0.0.7",)), 100.0)
    assert at(route, 200.0) == "10.0.0.1" and route.move_at == route.ask_at == NEVER


def test_a_handshake_is_not_left_for_an_address_that_was_found_meanwhile() -> None:
    route = asked(FOUR)
    route.on_timer(PATIENCE)
    route.asked(PATIENCE)
    route.connected()
    route.found(BOTH, PATIENCE + 0.01)
    assert route.at == "10.0.0.1"


def test_after_a_break_it_is_asked_at_once_and_the_new_address_is_dialled() -> None:
    route = asked(FOUR)
    route.connected()
    route.stands()
    route.broke(100.0)
    assert (route.at, route.ask_at) == ("10.0.0.1", 100.0)
    route.asked(100.0)
    route.found(HostAnswer(("10.0.0.7",), whole=False), 100.1)
    assert route.at == "10.0.0.7"


def test_without_a_connection_it_is_asked_again_and_again_and_not_too_often() -> None:
    route, times = asked(FOUR), []
    while route.ask_at < 60.0:
        times.append(route.ask_at)
        route.asked(times[-1])
        route.found(HostAnswer(("10.0.0.1",)) if len(times) % 2 else NOTHING, times[-1])
        assert route.at == "10.0.0.1", "what is known stays"
    pauses = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert pauses[0] == ASK_AGAIN and max(pauses) == LONGEST_ASK and len(times) < 20


def test_connections_that_break_again_and_again_are_no_reason_to_ask_more_than_once_a_second() -> None:
    route, questions, now = asked(FOUR), 0, 0.0
    while now < 10.0:
        route.connected()
        route.stands()
        route.broke(now)
        if route.ask_at <= now:
            questions += 1
            route.asked(now)
            route.found(FOUR, now)
        now += 0.01
    assert questions <= 11


def test_what_was_known_does_where_nobody_answers() -> None:
    route = HostAddresses("users", 0.0, ("10.0.0.9", "10.0.0.8"))
    assert route.at == ""
    route.asked(0.0)
    assert at(route, PATIENCE) == "10.0.0.9"
    assert at(route, 2 * PATIENCE) == "10.0.0.8"
    route.found(FOUR, 10.0)
    assert route.at == "10.0.0.1"


def test_what_was_known_is_dialled_at_once_where_the_answer_is_that_there_is_none() -> None:
    route = asked(NOTHING, 0.01, known=("10.0.0.9",))
    assert route.at == "10.0.0.9" and route.problem == NOTHING.problem


def test_after_a_refused_handshake_it_is_another_s_turn_and_the_host_is_asked_for() -> None:
    route = asked(HostAnswer(("10.0.0.1", "10.0.0.2")))
    route.asked(1.0)
    for address in ("10.0.0.2", "10.0.0.1", "10.0.0.2"):
        route.connected()
        route.redialled(5.0)
        assert route.at == address and route.ask_at == 5.0


def test_an_address_that_the_host_has_no_more_is_not_tried_again() -> None:
    route = asked(FOUR)
    route.connected()
    route.stands()
    route.found(HostAnswer(("10.0.0.9",)), 1.0)
    assert route.at == "10.0.0.1", "not while the connection stands"
    route.broke(2.0)
    assert route.at == "10.0.0.9"
