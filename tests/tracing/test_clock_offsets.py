"""Clocks are put right by what calls of other traces tell, within bounds, whatever comes first."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mesh.core.trace_batch import unpack
from mesh.core.trace_record import Kind
from mesh.tracing import clock_offsets
from mesh.tracing.clock_offsets import ENOUGH, MOST_PAIRS, MOST_WAITING, MOST_WINDOWS, ClockOffsets
from mesh.tracing.tree import Tree
from tests.tracing.batches import NOW, Program, read, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER
AHEAD = 0.3
"""Seconds that the clock of stock's host is ahead of web's."""


class Bench:
    """Two programs that tell of calls between them."""

    def __init__(self) -> None:
        self.offsets = ClockOffsets()
        self.web, self.stock = Program("web"), Program("stock", ahead=AHEAD)
        self._number = 0
        # The programs' own clocks are known from the start.
        self.offsets.take(unpack(self.web.batch()), 0.0)
        self.offsets.take(unpack(self.stock.batch()), 0.0)

    def call(self, at: float, there: float, back: float, turned: bool = False, **more: Any) -> None:
        """One that takes so long on its way there and back."""
        self._number += 1
        name = f"{self._number:06d}"
        ended = at + there + 0.1 + back
        near = self.web.batch(record(CLIENT, name, began=at, ended=ended, **more))
        far = self.stock.batch(record(SERVER, name, began=at + there, ended=at + there + 0.1))
        for batch in (far, near) if turned else (near, far):
            self.offsets.take(unpack(batch), at)

    def between(self, began: float, ended: float) -> list[list[float]]:
        """Of web's clock and stock's, at a time of web's."""
        near, far = ([NOW + at + ahead for at in (began, ended)] for ahead in (0.0, self.stock.ahead))
        return self.offsets.between({"boot of web": near, "boot of stock": far, "boot of nobody": near})


def test_calls_within_a_minute_are_intersected() -> None:
    bench = Bench()
    assert bench.between(0.0, 9.0) == []
    bench.call(1.0, there=0.010, back=0.200)
    bench.call(2.0, there=0.200, back=0.002, turned=True)
    ((first, second, at, low, high),) = bench.between(5.0, 6.0)
    if (first, second) == (0, 1):
        assert (low, high) == pytest.approx((AHEAD - 0.002, AHEAD + 0.010), abs=1e-4)
    else:
        assert (first, second) == (1, 0)
        assert (low, high) == pytest.approx((-AHEAD - 0.010, -AHEAD + 0.002), abs=1e-4)
    assert at == pytest.approx(NOW + 5.0 + (AHEAD if first else 0.0))
    assert bench.between(-20.0, -10.0) == bench.between(70.0, 80.0) == []


def test_a_clock_that_is_set_begins_another_time() -> None:
    bench = Bench()
    bench.call(1.0, 0.001, 0.001)
    bench.stock.ahead = 10.0
    bench.call(30.0, 0.001, 0.001)
    told = bench.between(10.0, 40.0)
    assert sorted(round(abs(low + high) / 2, 2) for *_, low, high in told) == [AHEAD, 10.0]
    assert len(bench.between(40.0, 50.0)) == 1, "what began after it knows one clock alone"
    for minute in range(200):
        bench.call(100.0 + minute * 61, 0.001, 0.001)
    assert len(bench.between(-1e6, 1e6)) == MOST_WINDOWS
    hour_apart = Bench()
    hour_apart.stock.ahead = 3_600.0
    hour_apart.call(1.0, 0.001, 0.001)
    assert len(hour_apart.between(5.0, 6.0)) == 1
    assert not hour_apart.between(3_605.0, 3_606.0)


@pytest.mark.parametrize(
    "more",
    [
        {"outcome": "TimeoutExpired"},  # its server went on
        {"detail": {"attempts": 2}},  # it was sent to two, as a call that is late may be
        {"detail": {"open": True}},
    ],
)
def test_calls_that_say_nothing_of_clocks(more: dict[str, Any]) -> None:
    bench = Bench()
    bench.call(1.0, 0.001, 0.001, **more)
    assert bench.between(0.0, 9.0) == []


def test_a_call_that_was_made_again_says_nothing() -> None:
    """The server of the first attempt has carried it out, though its answer was lost."""
    bench = Bench()
    lost = record(CLIENT, "a", outcome="LostRemote", began=0.0, ended=5.0)
    again = record(CLIENT, "a", began=5.0, ended=5.2)
    for batch in (
        bench.stock.batch(record(SERVER, "a", began=0.01, ended=0.02)),
        bench.web.batch(lost, again),
        bench.stock.batch(record(SERVER, "a", began=5.01, ended=5.19)),
    ):
        bench.offsets.take(unpack(batch), 1.0)
    assert bench.between(0.0, 9.0) == []


def test_spans_of_one_id_in_two_traces_are_two() -> None:
    bench = Bench()
    bench.offsets.take(unpack(bench.web.batch(record(CLIENT, "a", ended=9.0, trace="aa" * 16))), 1.0)
    bench.offsets.take(unpack(bench.stock.batch(record(SERVER, "a", began=2.0, ended=3.0))), 1.0)
    assert bench.between(0.0, 9.0) == []


def test_clocks_that_drift_apart_were_not_set() -> None:
    """By 20 ppm, which a hundred calls a second tell to some microseconds."""
    bench, random = Bench(), Random(3)
    for number in range(60 * 100):
        at = number / 100
        bench.stock.ahead = AHEAD + at * 20e-6
        bench.call(at, random.uniform(1e-4, 1e-3), random.uniform(1e-4, 1e-3))
    told = bench.between(0.0, 60.0)
    bench.call(60.0, 1e-4, 1e-4)
    near, far = record(CLIENT, "x", ended=60.0), record(SERVER, "x", ended=59.0)
    found = read(bench.web.batch(near), bench.stock.batch(far))
    offsets = [(int(one), int(two), *rest) for one, two, *rest in told]
    assert Tree(found._replace(offsets=offsets)).clocks.steps == 0  # type: ignore[arg-type]


def test_processes_of_one_host_say_nothing() -> None:
    offsets = ClockOffsets()
    web, other = Program("web", "box"), Program("other", "box")
    for batch in (web.batch(record(CLIENT, "a")), other.batch(record(SERVER, "a"))):
        offsets.take(unpack(batch), 0.0)
    assert not offsets._waiting


def test_what_waits_and_what_is_known_is_bounded() -> None:
    offsets = ClockOffsets()
    for number in range(MOST_PAIRS + 100):
        batches = (
            Program(f"w{number}").batch(record(CLIENT, f"{number:08d}")),
            Program(f"s{number}").batch(record(SERVER, f"{number:08d}", began=0.1, ended=0.9)),
        )
        for batch in batches:
            offsets.take(unpack(batch), float(number))
    assert len(offsets._pairs) == MOST_PAIRS
    alone, random = Program("alone"), Random(1)
    for _ in range(20):
        calls = [record(CLIENT, "")._replace(span_id=f"{random.getrandbits(64):016x}") for _ in range(990)]
        offsets.take(unpack(alone.batch(*calls)), 1e6)
    assert len(offsets._waiting) == MOST_WAITING


def test_of_many_calls_some_are_looked_at_and_of_few_all() -> None:
    bench, random = Bench(), Random(2)

    def second(at: float, calls: int) -> int:
        sides = [record(CLIENT, "")._replace(span_id=f"{random.getrandbits(64):016x}") for _ in range(calls)]
        bench.offsets.take(unpack(bench.web.batch(*sides)), at)
        return bench.offsets._seen

    seen = [second(float(at), 990) for at in range(10, 30)]
    assert seen[0] == 990 and ENOUGH / 8 <= seen[-1] <= ENOUGH, seen
    seen = [second(float(at), 5) for at in range(30, 40)]
    assert seen[-1] == 5
    assert set(clock_offsets._CHOSEN[256]) == {"00"}


def test_a_trace_of_one_slow_call_is_put_right_by_the_others() -> None:
    bench = Bench()
    for at in range(1, 20):
        bench.call(float(at), 0.001, 0.001)
    slow = (
        bench.web.batch(record(CLIENT, "a", began=30.0, ended=35.0)),
        bench.stock.batch(record(SERVER, "a", began=34.0, ended=34.5)),
    )
    found = read(*slow)
    (alone,) = Tree(found).spans
    assert alone.offset is not None and alone.offset.doubt > 2.0
    told = bench.between(30.0, 35.0)
    (span,) = Tree(found._replace(offsets=[(int(i), int(j), *rest) for i, j, *rest in told])).spans  # type: ignore[misc]
    assert span.offset is not None and span.offset.doubt < 0.002
    assert span.offset.middle == pytest.approx(AHEAD, abs=0.002)
