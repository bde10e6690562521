"""Collectors of one store know each other's rates, and a new one those of the last hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from mesh.core.trace_record import Kind
from mesh.tracing import counters as module
from mesh.tracing.collector import Collector
from mesh.tracing.counters import CallCounters, Counts, RateKey, together
from mesh.tracing.shared_windows import FRESH, MOST_COLLECTORS, MOST_KNOWN, VERSION, SharedWindows
from mesh.tracing.store import Bounds
from mesh.tracing.stores.memory import MemoryStore
from tests.helpers.processes import eventually
from tests.tracing.batches import NOW, Program, rate, record
from tests.tracing.test_collector import Clock

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER
PLACE = RateKey(CLIENT, "web", "orders", "place")


class Shelf(MemoryStore):
    """A store that outlives collectors. shelf: its windows, which several may share."""

    def __init__(self, shelf: list[bytes]) -> None:
        super().__init__(Bounds())
        self._shelf = shelf
        self._read = 0

    def put_window(self, window: bytes, now: float) -> None:
        self._shelf.append(window)

    def windows(self, now: float) -> Iterator[bytes]:
        while self._read < len(self._shelf):
            yield self._shelf[self._read]
            self._read += 1  # now that it was taken in


class Bench:
    """Collectors with one shelf, whose clocks are the test's."""

    def __init__(self) -> None:
        self.shelf: list[bytes] = []
        self.clock = Clock()
        self.running: list[Collector] = []

    def begin(self, **more: Any) -> Collector:
        made = Collector(Shelf(self.shelf), self.clock.wall, self.clock.steady, **more)
        self.running.append(made)
        return made

    def knows(self, collector: Collector, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
        """Its rows of the last minute, once all have told what they have, and it has read that."""
        store: Any = collector._store

        def is_read() -> bool:
            for one in self.running:
                one._counters.turn(self.clock.now)
                one._share(self.clock.now)
                one._writer._windows_due = 0.0
            return store._read == len(self.shelf) and not any(one._writer._windows for one in self.running)

        eventually(is_read)
        return {(row["caller"], row["service"]): row for row in collector.rates(60.0)}


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for one in made.running:
        one._close(2.0)


def test_one_knows_the_rates_of_the_other_and_of_the_one_before(bench: Bench) -> None:
    here, there = bench.begin(), bench.begin()
    web, till, orders = Program("web"), Program("till"), Program("orders")
    for _ in range(2):
        here.records(web.batch(rates=[rate(CLIENT, "web", "orders.place", [0.1] * 50, errors=5)]))
        there.records(
            till.batch(
                record(CLIENT, "a", call="orders.place", ended=3.0),
                rates=[rate(CLIENT, "till", "orders.place", [0.1] * 30 + [3.0] * 20, still=7)],
            )
        )
        there.records(orders.batch(rates=[rate(SERVER, "", "orders.place", [0.1] * 100)]))
        bench.clock.now += 6.0
        # A window ends when the next batch comes.
        here.records(web.batch())
        there.records(till.batch())
    known = bench.knows(here)
    assert {key: round(row["rate"] * bench.clock.now) for key, row in known.items()} == {
        ("web", "orders"): 100,
        ("till", "orders"): 100,
        ("", "orders"): 200,
    }
    told = known["till", "orders"]
    assert (told["open"], told["slowest"]) == (7, 3.0)
    assert told["p50"] == pytest.approx(0.1, rel=0.05) and told["p99"] == pytest.approx(3.0, rel=0.05)
    assert known["web", "orders"]["errors"] > 0
    assert {one["service"]: one["processes"] for one in here.graph(1.0)["nodes"]}["till"] == 1
    assert bench.knows(there).keys() == known.keys()
    bench.clock.now += FRESH + 1.0
    assert bench.knows(here)["till", "orders"]["open"] == 0, "the other one may have ended"
    after = bench.begin()
    assert {key: row["rate"] for key, row in bench.knows(after).items()} == {
        key: row["rate"] for key, row in bench.knows(here).items()
    }
    bench.clock.now += 4_000.0
    assert not bench.knows(bench.begin())


def test_what_is_counted_at_the_end_is_left_too(bench: Bench) -> None:
    here = bench.begin()
    here.records(Program("web").batch(rates=[rate(CLIENT, "web", "orders.place", [0.1])]))
    bench.running.remove(here)
    here._close(2.0)
    bench.clock.now += 2.0
    assert ("web", "orders") in bench.knows(bench.begin())


def test_names_that_one_knows_for_endpoints_are_told(bench: Bench) -> None:
    here, there = bench.begin(), bench.begin()
    endpoint = "tcp://10.0.0.1:4242"
    web, orders = Program("web"), Program("orders")
    here.records(web.batch(record(CLIENT, "a", call=f"{endpoint}.place", peer=endpoint)))
    here.records(orders.batch(record(SERVER, "a"), rates=[rate(CLIENT, "web", "orders.place", [0.2])]))
    here.records(web.batch(rates=[rate(CLIENT, "web", f"{endpoint}.place", [0.1] * 9)]))
    bench.clock.now += 6.0
    here.records(web.batch())
    assert ("web", "orders") in bench.knows(here)
    assert bench.knows(there).keys() == bench.knows(here).keys()


def test_rows_of_one_name_are_put_together() -> None:
    counters = CallCounters(0.0)
    counters.add(
        [rate(CLIENT, "web", "orders.place", [0.1], errors=1), rate(CLIENT, "web", "tcp://a:1.place", [0.2])],
        1.0,
    )
    counters.end_window(2.0)
    ((_, rows),) = counters.just_over
    found = together(rows, {"tcp://a:1": "orders"})
    assert set(found) == {PLACE}
    again = CallCounters(0.0)
    again.join(0.0, found, 3.0)
    again.join(0.5, found, 3.0)
    again.join(-9_000.0, found, 3.0)
    again.join(9_000.0, found, 3.0)
    counts = again.over(60.0, 3.0)[1][PLACE]
    assert (counts.sketch.count, counts.errors, len(again._over)) == (4, 2, 2)


def test_a_window_comes_once_and_rubbish_never() -> None:
    one, other = SharedWindows(NOW), SharedWindows(NOW)
    counts = Counts().pack()
    packed = one.pack(NOW, NOW + 5.0, {PLACE: counts}, {PLACE: 3}, {"web": 1})
    assert one.take(packed, NOW + 6.0) is None, "its own"
    window = other.take(packed, NOW + 6.0)
    assert window is not None and window.rows == {PLACE: counts}
    assert (window.open, window.alive) == ({PLACE: 3}, {"web": 1})
    assert other.take(packed, NOW + 6.0) is None
    assert [one.open for one in other.fresh(NOW + 9.0)] == [{PLACE: 3}]
    assert not list(other.fresh(NOW + 5.0 + FRESH + 1.0))


def _damaged() -> list[bytes]:
    """Windows that another version may have left, or nobody."""
    sketch = [0.1, 0.1, {}]
    good = [b"other...", VERSION, 1, NOW, NOW, [], [], {}]

    def row(*counts: Any) -> list[Any]:
        return [1, "web", "orders", "place", msgpack.packb(counts)]

    def whole(at: int, value: Any) -> bytes:
        return bytes(msgpack.packb([*good[:at], value, *good[at + 1 :]]))

    return [
        b"",
        b"\xc1",
        b"\x91" * 5_000,
        msgpack.packb([1, 2]),
        whole(0, ["a"]),
        whole(1, VERSION + 1),
        whole(2, "1"),
        whole(3, "then"),
        whole(3, float("nan")),
        whole(4, None),
        whole(5, [[1]]),
        whole(5, [row(1, 0.0, "", sketch, 5)]),
        whole(5, [row("1", 0.0, "", sketch)]),
        whole(5, [row(2**61, 0.0, "", sketch)]),
        whole(5, [row(1, 0.0, None, sketch)]),
        whole(5, [row(1, "0", "", sketch)]),
        whole(5, [row(1, 0.0, "", [0.1, 0.1, []])]),
        whole(5, [[1, "web", 5, "place", Counts().pack()]]),
        whole(5, [[1, "web", "orders", "place", "counts"]]),
        whole(6, [[1, "web", "orders", "place", "3"]]),
        whole(6, [[1, "web", "orders", "place", -3]]),
        whole(7, {"web": "1"}),
        whole(7, {5: 1}),
        whole(7, []),
    ]


@pytest.mark.parametrize("packed", _damaged())
def test_what_is_no_window_is_passed_over(packed: bytes) -> None:
    assert SharedWindows(NOW).take(packed, NOW) is None


def test_a_collector_whose_clock_is_ahead_is_believed_but_for_its_time(bench: Bench) -> None:
    here = bench.begin()
    ahead = SharedWindows(NOW)
    rows = CallCounters(0.0)
    rows.add([rate(CLIENT, "web", "orders.place", [0.1])], 1.0)
    rows.end_window(2.0)
    ((_, told),) = rows.just_over
    bench.shelf.append(ahead.pack(NOW + 600.0, NOW + 605.0, told, {}, {}))
    bench.clock.now += 6.0
    assert ("web", "orders") in bench.knows(here)


def test_windows_that_were_thrown_away_for_their_size_make_no_rates_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    counters = CallCounters(0.0)
    for window in range(100):
        counters.add([rate(SERVER, "", f"s{n}.m", [0.1] * 5) for n in range(10)], window * 5.0)
    span, rows = counters.over(3_600.0, 500.0)
    assert span < 100.0
    assert sum(counts.sketch.count for counts in rows.values()) / span == pytest.approx(10.0, rel=0.1)
    assert counters._bytes <= 20_000


def test_what_is_known_of_others_is_bounded() -> None:
    own = SharedWindows(NOW)
    for number in range(MOST_COLLECTORS + 10):
        assert own.take(msgpack.packb([number.to_bytes(8, "big"), VERSION, 0, NOW, NOW, [], [], {}]), NOW)
    assert len(list(own.fresh(NOW))) == MOST_COLLECTORS
    for number in range(MOST_KNOWN):
        own.take(msgpack.packb([b"a", VERSION, number, NOW, NOW, [], [], {}]), NOW)
    assert len(own._known) == MOST_KNOWN
