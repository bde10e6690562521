"""Messages that wait for others: for how long, and when none does."""

from __future__ import annotations

from mesh.core.cork import HOLD, REST, SLOW, STUCK, Cork


def test_nothing_waits_until_several_are_woken() -> None:
    cork: Cork[str] = Cork(guarded=True)
    assert not cork.on and not cork
    cork.begin(1.0)
    assert cork.on and not cork.add("a link", 1.0)
    assert cork and cork.since == 1.0
    cork.end()
    assert not cork.on
    assert cork.release(1.0005) == ["a link"]
    assert not cork and cork.release(1.0006) == []


def test_the_oldest_waits_for_no_longer_than_a_moment() -> None:
    cork: Cork[str] = Cork(guarded=True)
    cork.begin(1.0)
    assert not cork.add("a", 1.0)
    assert not cork.add("b", 1.0 + 0.9 * HOLD)
    assert cork.add("b", 1.0 + 1.1 * HOLD)
    assert sorted(cork.release(1.0 + 1.1 * HOLD)) == ["a", "b"]


def test_without_the_watchdog_nothing_waits() -> None:
    cork: Cork[str] = Cork(guarded=False)
    cork.begin(1e9)
    assert not cork.on


def test_the_watchdog_is_told_of_who_keeps_the_loop() -> None:
    cork: Cork[str] = Cork(guarded=True)
    assert not cork.overdue(1e9)
    cork.begin(1.0)
    cork.add("a link", 1.0)
    assert not cork.overdue(1.0 + 0.9 * STUCK) and cork.overdue(1.0 + 1.1 * STUCK)
    cork.forget()
    assert not cork and not cork.overdue(1e9)


def test_nothing_waits_for_one_that_was_slow_until_it_is_quick_again() -> None:
    class Greenlet:
        pass

    cork: Cork[str] = Cork(guarded=True)
    one, other = Greenlet(), Greenlet()
    cork.note(one, 2 * SLOW)
    cork.note(other, 0.5 * SLOW)
    assert cork.is_slow(one) and not cork.is_slow(other)
    cork.note(one, 0.5 * SLOW)
    assert not cork.is_slow(one)


def test_where_whoever_is_answered_is_slow_again_and_again_no_call_waits() -> None:
    holds: Cork[str] = Cork(guarded=True)
    for now in (1.0, 2.0, 3.0):
        holds.begin(now)
        assert holds.on
        assert not holds.add("a link", now)
        assert holds.release(now + 2 * SLOW) == ["a link"]
    for now, on in ((3.1, False), (3.0 + REST, False), (3.1 + REST, True)):
        holds.begin(now)
        assert holds.on is on
    assert not holds
