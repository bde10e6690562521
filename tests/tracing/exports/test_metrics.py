"""The collector's numbers as Prometheus reads them, by its own parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.cli.collected_metrics import metrics_endpoint
from mesh.core.sketch import Sketch
from mesh.core.trace_record import Kind
from mesh.errors import ConfigError, WireError
from mesh.tracing.collector import Collector
from mesh.tracing.exports.totals import BOUNDS, MOST_ROWS, Totals
from mesh.tracing.store import Bounds, StoreError
from mesh.tracing.stores.memory import MemoryStore
from tests.tracing.batches import Program, rate, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


class Store(MemoryStore):
    away = False

    def size(self) -> Any:
        if self.away:
            raise StoreError("the store is away")
        return super().size()


class Told:
    """A collector, and what its page says."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self.totals = Totals(most)
        self.store = Store(Bounds())
        self.now = 0.0
        self.collector = Collector(self.store, steady=lambda: self.now, exports=[self.totals])

    def numbers(self) -> dict[tuple[str, ...], float]:
        """By name and the values of the labels, of whole metrics."""
        text = self.collector._metrics(self.totals)
        found = {}
        for family in text_string_to_metric_families(text):
            assert family.documentation and family.type != "unknown", family
            for sample in family.samples:
                key = (sample.name, *sample.labels.values())
                assert key not in found
                found[key] = sample.value
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.collector._close(2.0)


def test_calls_of_all_processes_are_one_row_a_side_and_method(told: Told) -> None:
    web, orders = Program("web"), Program("orders")
    place = "orders.place"
    told.collector.records(web.batch(rates=[rate(CLIENT, "web", place, [0.004, 0.2], errors=1, still=3)]))
    told.collector.records(Program("cron").batch(rates=[rate(CLIENT, "cron", place, [70.0], still=1)]))
    told.collector.records(orders.batch(record(SERVER, "a"), rates=[rate(SERVER, "", place, [0.1])]))
    numbers = told.numbers()
    row = ("client", "orders", "place")
    assert numbers["mesh_calls_total", *row] == numbers["mesh_call_duration_seconds_count", *row] == 3
    assert numbers["mesh_call_errors_total", *row] == 1
    assert numbers["mesh_open_calls", *row] == 4
    assert numbers["mesh_call_duration_seconds_sum", *row] == pytest.approx(70.204)
    buckets = [numbers["mesh_call_duration_seconds_bucket", *row, f"{one:g}"] for one in BOUNDS]
    assert buckets == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert numbers["mesh_call_duration_seconds_bucket", *row, "+Inf"] == 3
    assert numbers["mesh_calls_total", "server", "orders", "place"] == 1
    assert (numbers[("mesh_collector_records_total",)], numbers[("mesh_collector_processes",)]) == (1, 3)
    assert numbers[("mesh_collector_store_up",)] == 1


def test_no_counter_ever_goes_back(told: Told) -> None:
    web = Program("web")
    told.collector.records(web.batch(rates=[rate(CLIENT, "web", "orders.place", [0.1], still=2)]))
    before = told.numbers()
    told.now = 10_000.0  # longer than the windows of `rates` are kept
    batch = web.batch(rates=[rate(CLIENT, "web", "orders.place", [0.1], errors=1)], dropped=5)
    told.collector.records(batch)
    told.collector.records(batch)
    after = told.numbers()
    counters = {key for key in before if key[0].endswith(("_total", "_count", "_sum", "_bucket"))}
    assert counters
    assert all(after[key] >= before[key] for key in counters)
    assert after["mesh_calls_total", "client", "orders", "place"] == 2
    assert ("mesh_open_calls", "client", "orders", "place") not in after
    assert after[("mesh_collector_dropped_total",)] == 5


def test_names_of_others_are_escaped(told: Told) -> None:
    name = 'a"b\\c\nd\x1b[31m'
    told.collector.records(Program("web").batch(rates=[rate(CLIENT, "web", f"orders.{name}", [0.1])]))
    assert told.numbers()["mesh_calls_total", "client", "orders", name] == 1


def test_made_up_names_are_one_row_after_so_many() -> None:
    told = Told(most=20)
    web = Program("web")
    for base in range(0, 100, 50):
        rates = [rate(CLIENT, "web", f"orders.m{base + one}", [0.1], still=1) for one in range(50)]
        told.collector.records(web.batch(rates=rates))
    numbers = told.numbers()
    told.collector._close(2.0)
    assert numbers["mesh_calls_total", "client", "(other)", "(other)"] == 80
    assert len([key for key in numbers if key[0] == "mesh_calls_total"]) == 21
    opened = {key: number for key, number in numbers.items() if key[0] == "mesh_open_calls"}
    assert (len(opened), sum(opened.values())) == (21, 100)


def test_times_that_are_no_numbers_do_not_spoil_the_sum(told: Told) -> None:
    for wrong in (float("nan"), float("inf"), -1.0):
        one = rate(CLIENT, "web", "orders.place", [0.1])
        one.sketch.total = wrong
        with pytest.raises(WireError):
            told.collector.records(Program("web").batch(rates=[one]))
    told.collector.records(Program("web").batch(rates=[rate(CLIENT, "web", "orders.place", [0.5])]))
    numbers = told.numbers()
    assert numbers["mesh_call_duration_seconds_sum", "client", "orders", "place"] == pytest.approx(0.5)


def test_a_store_that_is_away_has_no_size(told: Told) -> None:
    assert ("mesh_collector_store_bytes",) in told.numbers()
    told.store.away = True
    numbers = told.numbers()
    assert ("mesh_collector_store_bytes",) not in numbers
    assert ("mesh_collector_records_total",) in numbers


def test_a_sketch_is_spread_over_bounds() -> None:
    sketch = Sketch()
    sketch.add([0.001, 0.02, 0.02, 5.0])
    assert sketch.spread([0.01, 0.1, 1.0]) == [1, 2, 0, 1]
    assert Sketch().spread([1.0]) == [0, 0]


def test_where_it_is_served() -> None:
    assert metrics_endpoint("9101") == "tcp://127.0.0.1:9101"
    assert metrics_endpoint("*:9101") == "tcp://*:9101"
    for wrong in ("", "host", "host:0x1", "127.0.0.1:99999", "a b:1"):
        with pytest.raises(ConfigError, match=r"--metrics .*: it takes HOST:PORT"):
            metrics_endpoint(wrong)
