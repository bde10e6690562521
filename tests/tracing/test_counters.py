"""How often and how long methods are called, of all calls, over time."""

from __future__ import annotations

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing.counters import MOST_ROWS, OTHER, CallCounters, RateKey
from tests.tracing.batches import rate, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER
PLACE = RateKey(CLIENT, "web", "orders", "place")


def test_sketches_of_all_processes_add_up() -> None:
    counters = CallCounters(100.0)
    for second in range(20):
        for _ in range(2):
            counters.add([rate(CLIENT, "web", "orders.place", [0.1] * 9 + [1.0], errors=1)], 100.0 + second)
    span, rows = counters.over(60.0, 120.0)
    counts = rows[PLACE]
    assert (span, counts.sketch.count, counts.errors) == (20.0, 400, 40)
    assert counts.sketch.quantile(0.5) == pytest.approx(0.1, rel=0.02)
    assert counts.sketch.quantile(0.99) == pytest.approx(1.0, rel=0.02)


def test_what_is_older_does_not_count() -> None:
    counters = CallCounters(0.0)
    counters.add([rate(CLIENT, "web", "orders.place", [0.1] * 5)], 1.0)
    counters.add([rate(CLIENT, "web", "orders.place", [0.1])], 61.0)
    span, rows = counters.over(10.0, 62.0)
    assert (span, rows[PLACE].sketch.count) == (12.0, 1)
    span, rows = counters.over(60.0, 62.0)
    assert (span, rows[PLACE].sketch.count) == (62.0, 6)
    span, rows = counters.over(10.0, 100.0)
    assert (span, rows) == (10.0, {})
    span, rows = counters.over(3_600.0, 9_000.0)
    assert (span, rows) == (3_600.0, {})


def test_the_slowest_that_was_recorded_is_known_by_its_trace() -> None:
    counters = CallCounters(0.0)
    told = [record(CLIENT, str(n), ended=took, trace=f"t{n}") for n, took in enumerate((1.0, 3.0, 2.0))]
    counters.see(told, "web", 1.0)
    counters.see([record(CLIENT, "d", ended=0.5, trace="t9")], "web", 8.0)
    _, rows = counters.over(60.0, 9.0)
    assert (rows[PLACE].slowest, rows[PLACE].trace_id) == (3.0, "t1")


def test_a_hundred_thousand_made_up_methods_are_two_thousand_rows_and_one() -> None:
    counters = CallCounters(0.0)
    for n in range(0, 100_000, 1_000):
        counters.add([rate(SERVER, "", f"s{m}.m", [0.1]) for m in range(n, n + 1_000)], n / 10_000)
    _, rows = counters.over(60.0, 11.0)
    assert len(rows) == MOST_ROWS + 1
    assert rows[RateKey(SERVER, "", OTHER, OTHER)].sketch.count == 100_000 - MOST_ROWS
    counters.add([], 4_000.0)
    counters.add([rate(SERVER, "", "new.m", [0.1])], 4_010.0)
    assert [key.service for key in counters.over(60.0, 4_011.0)[1]] == ["new"]


def test_all_windows_have_the_same_key_of_a_row() -> None:
    """Which takes more memory than its numbers, and there are 720 windows."""
    counters = CallCounters(0.0)
    for window in range(3):
        counters.add([rate(SERVER, "", "orders.place", [0.1])], window * 5.0)
    _, windows = counters.windows(60.0, 14.0)
    assert len(windows) == 3
    assert len({id(key) for window in windows for key in window}) == 1
