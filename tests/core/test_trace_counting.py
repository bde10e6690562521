"""Rates come from all calls, open ones are told of, and made-up names fill nothing."""

from __future__ import annotations

from random import Random

import pytest

from mesh.core import trace_counting
from mesh.core.recording import MAX_METHODS, OTHER, Recorder
from mesh.core.sampling import Sampler
from mesh.core.span import Span
from mesh.core.span_ids import SpanIds
from mesh.core.trace_counting import Counting
from mesh.core.trace_record import PENDING, Kind, Record
from tests.tracing.batches import records_in

SPAN = Span("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "a" * 16)


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        random = Random(7)
        self.recorder = Recorder(
            lambda: self.now, Sampler(random.random, SpanIds(random.getrandbits), 0.0), 1.0
        )
        self.counting = Counting(self.recorder, "web")
        self.times = self.recorder.times_of(Kind.CLIENT, "orders")

    def second(self) -> None:
        self.now += 1.0
        self.counting.second(self.now)

    def look(self, seconds: float, began: float) -> list[Record]:
        """Look at an open call after that time."""
        self.now += seconds
        call = (Kind.CLIENT, "orders", "place", began, began, SPAN, "tcp://a:1", self.now)
        self.counting.open_call(*call)
        self.counting.second(self.now)
        return records_in(self.recorder.kept)


def test_all_calls_of_a_second_are_counted() -> None:
    bench = Bench()
    for number in range(100):
        bench.times.ended("place", number / 100, failed=number < 5)
    bench.times.ended("find", 0.1, failed=False)
    bench.second()
    place, find = sorted(bench.counting.take(10), key=lambda row: -row.sketch.count)
    assert place[:7] == (Kind.CLIENT, "web", "orders", "place", 1.0, 5, 0)
    assert place.sketch.count == 100 and place.sketch.quantile(0.5) == pytest.approx(0.5, rel=0.05)
    assert find.sketch.count == 1
    bench.second()
    assert not bench.counting.take(10), "nothing is told twice"


def test_while_the_collector_is_away_seconds_go_together() -> None:
    bench = Bench()
    for _ in range(3):
        bench.times.ended("place", 0.1, failed=True)
        bench.second()
    [first] = bench.counting.take(10)
    assert (first.seconds, first.sketch.count, first.errors) == (1.0, 1, 1)
    bench.second()
    [rest] = bench.counting.take(10)
    assert (rest.seconds, rest.sketch.count, rest.errors) == (3.0, 2, 2)


def test_while_the_collector_is_away_open_calls_are_counted_once() -> None:
    bench = Bench()
    bench.times.ended("place", 0.1, failed=False)
    bench.second()
    for _ in range(60):
        bench.counting.open_call(Kind.CLIENT, "orders", "place", 1.0, 1.0, None, "", bench.now)
        bench.second()
    bench.counting.take(10)
    bench.counting.open_call(Kind.CLIENT, "orders", "place", 1.0, 1.0, None, "", bench.now)
    bench.second()
    [rest] = bench.counting.take(10)
    assert (rest.seconds, rest.open) == (61.0, 1)


def test_made_up_names_are_counted_together() -> None:
    bench = Bench()
    for number in range(100_000):
        bench.times.ended(f"made_up_{number}", 0.1, failed=True)
    bench.second()
    rows = bench.counting.take(100_000)
    assert len(rows) == MAX_METHODS + 1
    other = next(row for row in rows if row.method == OTHER)
    assert other.sketch.count == other.errors == 100_000 - MAX_METHODS


def test_an_open_call_is_told_of_when_its_age_has_doubled() -> None:
    bench = Bench()
    bench.second()
    told = [bool(bench.look(0.5, 101.0)) for _ in range(20)]  # at the ages of 0.5, 1.0, 1.5 s …
    assert [0.5 + number / 2 for number, one in enumerate(told) if one] == [1.0, 2.0, 4.0, 8.0]


def test_what_is_told_of_it() -> None:
    bench = Bench()
    bench.second()
    [record] = bench.look(1.5, 101.0)
    assert record[:6] == (Kind.CLIENT, SPAN.trace_id, SPAN.span_id, SPAN.parent_id, "orders", "place")
    assert (record.outcome, record.ended - record.began, record.detail) == (PENDING, 1.5, {"open": True})
    assert bench.counting.take(10)[-1].open == 1


def test_of_many_open_calls_no_more_are_told_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_counting, "MAX_OPEN", 5)
    bench = Bench()
    bench.second()
    bench.now += 2.0
    for _ in range(50):
        bench.counting.open_call(Kind.CLIENT, "orders", "place", 101.0, 0.0, SPAN, "", bench.now)
    assert len(bench.recorder.kept) == 5
    bench.counting.second(bench.now)
    assert bench.counting.take(10)[0].open == 50


def test_who_calls_is_called_as_the_server_that_begins_after_its_first_client() -> None:
    bench = Bench()
    bench.times.ended("place", 0.1, failed=False)
    bench.second()
    bench.counting.name = "shop"
    bench.times.ended("place", 0.1, failed=False)
    bench.second()
    assert [row.caller for row in bench.counting.take(10)] == ["web"]
    bench.second()
    assert [row.caller for row in bench.counting.take(10)] == ["shop"]
