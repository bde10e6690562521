"""How many calls may be tried again, by a clock that the test owns."""

from __future__ import annotations

import pytest

from mesh.core.budget import MEMORY, RESERVE, SHARE, RetryBudget


def taken(budget: RetryBudget, now: float, most: int = 1_000_000) -> int:
    """How many retries there are at that moment."""
    count = 0
    while count < most and budget.take(now):
        count += 1
    return count


def test_who_calls_seldom_has_some_too() -> None:
    budget = RetryBudget()
    assert taken(budget, 1_000.0) == RESERVE * MEMORY
    assert taken(budget, 1_000.0) == 0
    assert taken(budget, 1_001.0) == RESERVE
    assert taken(budget, 5_000.0) == RESERVE * MEMORY, "what was not taken does not add up"


@pytest.mark.parametrize("step", [0.01, 1.0])
def test_a_fifth_of_the_calls(step: float) -> None:
    budget, rate, retried = RetryBudget(), 2_000, 0
    for second in range(int(60 / step)):
        budget.calls += int(rate * step)
        retried += taken(budget, second * step)
    assert retried == pytest.approx(60 * (rate * SHARE + RESERVE), rel=0.06)


def test_what_was_earned_long_ago_is_forgotten() -> None:
    budget = RetryBudget()
    budget.calls = 1_000_000
    taken(budget, 0.0)
    budget.calls += 1_000_000
    assert taken(budget, 3_600.0) < 1_000, "an hour ago, most of them"
    budget.calls += 10_000
    assert budget.take(3_600.0)
    assert taken(budget, 3_600.0 + 10 * MEMORY) <= RESERVE * MEMORY + 1


def test_a_clock_that_stands_still_gives_nothing() -> None:
    budget = RetryBudget()
    taken(budget, 5.0)
    assert not budget.take(5.0) and not budget.take(4.0)
