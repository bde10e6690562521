"""When one peer is left alone for its failures, for how long, and how it comes back."""

from __future__ import annotations

import pytest

from mesh.core.channel import NEVER
from mesh.core.ejection import ENOUGH, IN_A_ROW, JITTER, LONGEST, SHORTEST, WINDOW, Conduct


def good(conduct: Conduct, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        conduct.good += 1
        if conduct.suspect:
            conduct.well(now)


def test_failures_one_behind_the_other() -> None:
    conduct = Conduct()
    assert [conduct.failed(float(time)) for time in range(IN_A_ROW)] == [False] * (IN_A_ROW - 1) + [True]


def test_a_good_call_between_them_begins_anew() -> None:
    conduct = Conduct()
    assert not any(conduct.failed(0.0) for _ in range(IN_A_ROW - 1))
    good(conduct, 1)
    assert not any(conduct.failed(0.0) for _ in range(IN_A_ROW - 1))


@pytest.mark.parametrize(("between", "ejected"), [(3, True), (5, False)])
def test_below_four_good_ones_of_five(between: int, ejected: bool) -> None:
    conduct = Conduct()
    told = []
    for _ in range(20):
        told.append(conduct.failed(1.0))
        good(conduct, between, 1.0)
    assert any(told) == ejected
    if ejected:
        assert told.index(True) * (between + 1) + 1 >= ENOUGH, "of fewer it tells nothing"


def test_only_what_failed_within_a_while_counts() -> None:
    conduct = Conduct()
    told = []
    for number in range(40):
        told.append(conduct.failed(number * WINDOW / 4))
        good(conduct, 1)
    assert not any(told)


def test_many_good_ones_of_long_ago_do_not_count() -> None:
    conduct = Conduct()
    good(conduct, 100_000)
    told = []
    for _ in range(12):
        told.append(conduct.failed(1.0))
        good(conduct, 1)
    assert any(told)


def eject(conduct: Conduct, now: float, chance: float = 0.0) -> float:
    """Seconds for which it is left alone; then it is back."""
    conduct.eject(now, chance)
    seconds = conduct.probe_at - now
    conduct.pinged = True
    conduct.well(conduct.probe_at)
    conduct.well(now + seconds)
    assert conduct.probe_at == NEVER and not (conduct.ejected or conduct.trial or conduct.suspect)
    return seconds


def test_each_time_for_longer_up_to_a_bound() -> None:
    conduct, now, lengths = Conduct(), 0.0, []
    for _ in range(10):
        lengths.append(eject(conduct, now))
        now += lengths[-1] + 1.0
    assert lengths[:4] == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST, 8 * SHORTEST]
    assert lengths[-1] == lengths[-2] == LONGEST / (1 + JITTER)


def test_jitter_keeps_within_the_bounds() -> None:
    assert eject(Conduct(), 0.0, 1.0) == SHORTEST * (1 + JITTER)
    conduct = Conduct()
    assert max(eject(conduct, 0.0, 1.0) for _ in range(20)) == LONGEST


def test_who_was_well_for_longer_than_it_was_out_begins_anew() -> None:
    conduct = Conduct()
    first = eject(conduct, 0.0)
    second = eject(conduct, first + 1.0)
    assert second == 2 * SHORTEST
    assert eject(conduct, first + 1.0 + second + second + 1.0) == SHORTEST


def test_pings_without_an_answer_come_at_longer_intervals() -> None:
    conduct = Conduct()
    conduct.eject(0.0, 0.0)
    times = [conduct.probe_at]
    for _ in range(3):
        conduct.ping(times[-1], 0.0)
        times.append(conduct.probe_at)
    assert times == [5.0, 15.0, 35.0, 75.0]
