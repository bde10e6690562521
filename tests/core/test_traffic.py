"""Calls split by weight, and faults put in, with chance that the test owns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest

from mesh.core.traffic import LONGEST_DROP, Faults, Split
from mesh.errors import LostRemote, RemoteError, TimeoutExpired

SPLIT = Split((("v1", 95), ("v2", 5)))


def test_calls_are_split_by_weight() -> None:
    random = Random(1).random
    counts = Counter(SPLIT.choose(random()) for _ in range(20_000))
    assert set(counts) == {"v1", "v2"} and 900 < counts["v2"] < 1100


def test_the_ends_of_chance() -> None:
    last = 1.0 - 2.0**-53
    assert SPLIT.choose(0.0) == "v1" and SPLIT.choose(last) == "v2"
    none_for_two = Split((("v1", 0), ("v2", 3), ("v3", 0)))
    assert {none_for_two.choose(chance) for chance in (0.0, 0.5, last)} == {"v2"}
    assert {none_for_two.choose(0.0, b"%d" % key) for key in range(100)} == {"v2"}


def test_a_key_stays_with_its_service_whatever_chance_says() -> None:
    keys = [b"%d" % number for number in range(4000)]
    first = {key: SPLIT.choose(0.0, key) for key in keys}
    assert first == {key: SPLIT.choose(0.999, key) for key in keys}
    assert 150 < Counter(first.values())["v2"] < 250
    more = Split((("v1", 90), ("v2", 10)))
    moved = [key for key in keys if more.choose(0.0, key) != first[key]]
    assert all(first[key] == "v1" for key in moved) and 120 < len(moved) < 280


def chances(*values: float) -> Callable[[], float]:
    left: Iterator[float] = iter(values)
    return lambda: next(left)


FAULTS = Faults(delayed=10.0, delay=0.5, failed=1.0, dropped=2.0)


def test_nothing_befalls_most_calls() -> None:
    assert FAULTS.strike(chances(0.02, 0.1, 0.0103), "get", 1.0) is None
    assert Faults().strike(lambda: 0.0, "get", 1.0) is None


def test_a_call_is_delayed_and_may_fail_after_that() -> None:
    strike = FAULTS.strike(chances(0.5, 0.09, 0.5), "get", None)
    assert strike and strike.pause == 0.5 and strike.error is None
    strike = FAULTS.strike(chances(0.5, 0.09, 0.0), "get", 1.0)
    assert strike and strike.pause == 0.5 and isinstance(strike.error, RemoteError)
    assert str(strike.error) == "FaultForTests: 'get' fails, as `faults` in services.yml wants it"


def test_percents_are_of_all_calls() -> None:
    random = Random(1).random
    strikes = [Faults(failed=60.0, dropped=40.0).strike(random, "get", None) for _ in range(10_000)]
    counts = Counter(type(strike.error) if strike else None for strike in strikes)
    assert set(counts) == {RemoteError, LostRemote} and 5_800 < counts[RemoteError] < 6_200


def test_a_delay_is_no_longer_than_the_caller_waits() -> None:
    strike = FAULTS.strike(chances(0.5, 0.0), "get", 0.2)
    assert strike and strike.pause == 0.2 and isinstance(strike.error, TimeoutExpired)


@pytest.mark.parametrize(
    ("timeout", "pause", "error"),
    [(1.0, 1.0, TimeoutExpired), (30.0, LONGEST_DROP, LostRemote), (None, LONGEST_DROP, LostRemote)],
)
def test_a_dropped_call_ends(timeout: float | None, pause: float, error: type[Exception]) -> None:
    strike = FAULTS.strike(chances(0.0), "get", timeout)
    assert strike and strike.pause == pause and isinstance(strike.error, error)
