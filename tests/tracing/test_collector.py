"""The collector's service: what it takes in, and what it answers; in this process, with the test's clock."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import gevent
import pytest

from mesh.core.trace_batch import MAX_BYTES, unpack
from mesh.core.trace_record import Kind
from mesh.errors import Overloaded, WireError
from mesh.tracing import collector as module
from mesh.tracing import pieces
from mesh.tracing.collector import Collector, _within
from mesh.tracing.open_spans import OpenSpans
from mesh.tracing.processes import MOST, MOST_LOSSES, MOST_QUESTIONS, Processes
from mesh.tracing.store import Bounds, StoreError
from mesh.tracing.stores.memory import MemoryStore
from mesh.tracing.summaries import Summary
from mesh.tracing.taps import MOST as MOST_TAPS
from mesh.tracing.taps import MOST_QUEUED
from mesh.tracing.tree import Tree
from tests.helpers.processes import eventually
from tests.tracing.batches import NOW, TRACE, Program, as_span, rate, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


class Clock:
    """Both clocks of a collector: seconds since it began."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return NOW + self.now

    def steady(self) -> float:
        return self.now


class Unwilling(MemoryStore):
    """A store that is away as long as the test says."""

    away = False

    def write(self, *arguments: Any) -> None:
        if self.away:
            raise StoreError("the store is away")
        super().write(*arguments)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Unwilling:
    return Unwilling(Bounds())


@pytest.fixture
def collector(clock: Clock, store: Unwilling) -> Iterator[Collector]:
    made = Collector(store, clock.wall, clock.steady)
    yield made
    store.away = False
    made._close(2.0)


def tree_of(collector: Collector, trace: str = TRACE) -> Tree:
    answer = collector.trace(trace)
    return Tree(pieces.read(trace, answer["pieces"]))


def test_a_batch_is_acknowledged_and_can_be_read(collector: Collector) -> None:
    assert collector.records(Program("web").batch(record(CLIENT, "a"))) == {"rate": None, "slow": None}
    assert [span.method for span in tree_of(collector).spans] == ["place"]
    assert collector.find(TRACE[:5]) == [TRACE]
    (found,) = collector.traces(service="orders")["traces"]
    assert (found["id"], found["process"]) == (TRACE, "web@web")
    assert collector.traces(service="nobody") == {"traces": [], "all": True, "dropped": 0}


def test_a_batch_that_comes_twice_counts_once(collector: Collector) -> None:
    web = Program("web")
    batch = web.batch(record(CLIENT, "a"), rates=[rate(CLIENT, "web", "orders.place", [0.1])], number=7)
    collector.records(batch)
    assert collector.records(batch) == {"rate": None, "slow": None}
    collector.records(Program("other").batch(record(CLIENT, "b"), number=7))
    status = collector.status()
    assert (status["records"], status["twice"], len(status["processes"])) == (2, 1, 2)


def test_the_two_sides_may_come_an_hour_apart_and_in_any_order(collector: Collector, clock: Clock) -> None:
    web, orders = Program("web"), Program("orders", ahead=3_600.0)
    collector.records(orders.batch(record(SERVER, "a", began=0.1, ended=0.9), number=2))
    clock.now = 3_600.0
    collector.records(web.batch(record(CLIENT, "a"), number=2))
    collector.records(orders.batch(record(CLIENT, "b", "a", "stock.take", 0.2, 0.3), number=1))
    (root,) = tree_of(collector).roots
    assert root.callee is not None
    assert [child.method for child in root.children] == ["take"]
    (found,) = collector.traces()["traces"]
    assert (found["method"], found["spans"], round(found["took"], 4)) == ("place", 2, 1.0)


def test_rubbish_at_the_door(collector: Collector) -> None:
    whole = Program("web").batch(record(CLIENT, "a"))
    chance = random.Random(1)
    rubbish: list[Any] = [b"", b"\xc1", os.urandom(100), whole[:-1], whole + b"x", "text", None, 42, [1], {}]
    rubbish += [b"\x91" * 100_000, b"x" * (MAX_BYTES + 1)]
    for _ in range(300):
        broken = bytearray(whole)
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        rubbish.append(bytes(broken))
    refused = 0
    for one in rubbish:
        try:
            collector.records(one)
        except WireError:
            refused += 1
    assert refused >= 12
    assert collector.status()["rubbish"] == refused
    collector.records(whole.replace(b"web", b"abc"))
    for values in (
        (1, []),
        ("x" * 16, []),
        (b"x" * 16, [1, "", 1, "", ""]),
        (b"x" * 16, ["n" * 999, "", 1, "", ""]),
    ):
        with pytest.raises(WireError):
            collector.question(*values)  # type: ignore[arg-type]
    for name, value in {"limit": 0, "slower": "x", "since": -1, "service": 7, "tag": "x" * 999}.items():
        with pytest.raises(ValueError, match=name):
            collector.traces(**{name: value})  # type: ignore[arg-type]


def test_a_store_that_is_away_is_felt_by_nobody_but_in_the_end_told(
    collector: Collector, store: Unwilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector._writer, "_most", 5_000)
    web = Program("web")
    store.away = True
    taken = 0
    with pytest.raises(Overloaded, match="queue is full"):
        for n in range(100):
            collector.records(web.batch(record(CLIENT, "a", trace=f"t{n}")))
            taken += 1
    assert 5 < taken < 30
    eventually(lambda: collector.status()["trouble"] == "the store is away")
    store.away = False
    eventually(lambda: not collector.status()["queued"])
    collector.records(web.batch(record(CLIENT, "a", trace="t-last")))
    assert len(collector.traces(limit=100)["traces"]) == taken + 1
    assert collector.status()["lost"] == 0


def test_a_trace_is_cut_at_a_hundred_thousand_spans(collector: Collector) -> None:
    web = Program("web")
    collector.records(web.batch(record(CLIENT, "root")))
    for n in range(101):
        collector.records(
            web.batch(*(record(CLIENT, f"{n}-{one}", "root", "s.m", 0.1, 0.2) for one in range(1_000)))
        )
    tree = tree_of(collector)
    assert (len(tree.spans), tree.cut) == (100_000, 1_001)
    (found,) = collector.traces()["traces"]
    assert (found["spans"], found["cut"], collector.status()["cut"]) == (100_000, 1_001, 1_001)


def test_ids_of_other_programs_and_names_with_anything_in_them(collector: Collector) -> None:
    collector.records(
        Program("we\x1bb").batch(record(CLIENT, "a", call="\x1b[2J.m\n", trace="<8F3A2C>", outcome="\x07"))
    )
    assert collector.find("<8F") == ["<8F3A2C>"]
    (span,) = tree_of(collector, "<8F3A2C>").spans
    assert (span.service, span.method) == ("\x1b[2J", "m\n")


def test_rates_are_of_all_calls(collector: Collector, clock: Clock) -> None:
    web, orders = Program("web"), Program("orders")
    clock.now = 9.0
    told = rate(CLIENT, "web", "orders.place", [0.1] * 99 + [2.0], errors=10, still=4)
    collector.records(web.batch(record(CLIENT, "a", ended=2.0), rates=[told]))
    collector.records(orders.batch(rates=[rate(SERVER, "", "orders.place", [0.05] * 100)]))
    clock.now = 10.0
    client, server = sorted(collector.rates(), key=lambda row: row["side"])
    assert (client["caller"], client["service"], client["method"]) == ("web", "orders", "place")
    assert (client["rate"], client["errors"], client["open"]) == (10.0, 1.0, 4)
    assert client["p50"] == pytest.approx(0.1, rel=0.02)
    assert (client["longest"], client["slowest_id"]) == (2.0, TRACE)
    assert (server["side"], server["caller"]) == ("server", "")
    graph = collector.graph()
    (edge,) = graph["edges"]
    assert (edge["caller"], edge["service"], edge["rate"], edge["error_share"]) == (
        "web",
        "orders",
        10.0,
        0.1,
    )
    nodes = {node["service"]: node for node in graph["nodes"]}
    assert (nodes["orders"]["p99"], nodes["orders"]["processes"]) == (pytest.approx(0.05, rel=0.02), 1)
    assert nodes["web"]["rate"] == 0.0


def test_questions_reach_processes_that_nobody_can_connect_to(collector: Collector) -> None:
    web, silent = Program("web"), Program("silent")

    def poll() -> None:
        found = collector.question(web.identity, list(web.about))
        assert found is not None
        number, what, arguments = found
        assert (what, arguments) == ("open_calls", ["orders", False])
        assert not collector.answered(silent.identity, number, [])
        assert collector.answered(web.identity, number, [{"method": "place", "age": 3.0}, "rubbish"])

    waits = [gevent.spawn(poll), gevent.spawn(collector.question, silent.identity, list(silent.about))]
    gevent.sleep(0.01)
    still = record(CLIENT, "a", ended=5.0, detail={"open": True}, outcome="pending")
    collector.records(silent.batch(still))
    answer = collector.open_calls("orders")
    asked, told = answer["calls"]
    assert (asked["method"], asked["name"], asked["process"]) == ("place", "web", web.identity.hex())
    assert (told["told"], told["name"], told["trace_id"]) == (True, "silent", TRACE)
    assert [one["name"] for one in answer["silent"]] == ["silent"]
    gevent.joinall(waits, timeout=5, raise_error=True)
    collector.records(silent.batch(record(CLIENT, "a")))
    assert not [row for row in collector.open_calls()["calls"] if row.get("told")]
    assert not collector.answered(web.identity, 10**9, [])


def test_spans_that_are_open_are_kept_without_what_may_be_large() -> None:
    spans = OpenSpans()
    still = record(CLIENT, "a", detail={"open": True, "tags": {"note": "x" * 60_000}}, outcome="pending")
    spans.take(unpack(Program("web").batch(still)), 0.0)
    ((kept, _, _),) = spans._open.values()
    assert kept == still._replace(detail=None, began=kept.began, started=kept.started, ended=kept.ended)


def test_one_that_is_not_told_of_again_has_ended() -> None:
    spans, web = OpenSpans(), Program("web")
    still = record(CLIENT, "a", detail={"open": True}, outcome="pending", began=1.0, ended=5.0)
    spans.take(unpack(web.batch(still)), 1_000.0)
    for seconds, number in ((5.0, 1), (15.0, 1), (17.0, 0)):
        assert len(spans.rows([web.identity], None, 1_000.0 + seconds)) == number


def test_why_looks_at_no_more_spans_than_take_some_seconds() -> None:
    found = [Summary(str(number), 0.0, 0.0, asked=spans) for number, spans in enumerate([5, 3, 9, 4, 1])]
    assert list(_within(found, 8, 10)) == ["0", "1", "4"]


def test_what_processes_fill_is_bounded() -> None:
    processes = Processes()
    for n in range(MOST + 10):
        processes.of(n.to_bytes(16, "big"), Program("web").about)
    assert len(processes) == MOST
    (first, *_) = processes
    assert first.identity == (10).to_bytes(16, "big")
    for _ in range(MOST_QUESTIONS + 5):
        processes.ask([first], "open_calls", [], 0.0)
    assert len(first.questions) == MOST_QUESTIONS
    assert not processes._waiting


def test_who_looks_on_sees_records_as_they_come(collector: Collector) -> None:
    web = Program("web")
    seen: list[dict[str, Any]] = []
    tap = collector.tap("orders", "place", seconds=60.0)
    looking = gevent.spawn(lambda: seen.extend(islice(tap, MOST_QUEUED)))
    gevent.sleep(0.01)
    calls = [record(CLIENT, str(n)) for n in range(990)]
    collector.records(web.batch(*calls, record(CLIENT, "x", call="stock.take")))
    collector.records(web.batch(*calls))
    looking.get(timeout=30)
    assert len(seen) == MOST_QUEUED, "and what came too fast is not kept"
    assert (seen[0]["side"], seen[0]["process"], seen[0]["span_id"]) == ("client", "web@web", as_span("0"))
    assert all(one["service"] == "orders" for one in seen)
    tap.close()  # type: ignore[attr-defined]  # it is a generator
    assert not collector._taps._open
    open_taps = [collector.tap(seconds=5.0) for _ in range(MOST_TAPS + 1)]
    tasks = [gevent.spawn(next, tap) for tap in open_taps[:-1]]
    gevent.sleep(0.01)
    with pytest.raises(Overloaded):
        next(open_taps[-1])
    gevent.killall(tasks)


def test_why_some_are_slow(collector: Collector) -> None:
    web, good, bad = Program("web"), Program("orders", "box-1"), Program("orders", "box-2")
    for n in range(40):
        slow = n % 8 == 0
        took = 2.0 if slow else 0.1
        trace = f"{n:032x}"
        collector.records(
            web.batch(record(CLIENT, "a", ended=took, trace=trace, detail={"tags": {"shop": n % 2}}))
        )
        collector.records((bad if slow else good).batch(record(SERVER, "a", ended=took, trace=trace)))
    told = collector.why("orders", "place", slower=1.0)
    assert (told["calls"], told["slow"]["calls"], told["failing"]["calls"]) == (40, 5, 0)
    found = {(one["what"], one["value"]): (one["share"], one["others"]) for one in told["slow"]["common"]}
    assert found["worker", "orders@box-2:1"] == (1.0, 0.0)
    assert found["host", "box-2"] == (1.0, 0.0)
    assert ("caller", "web@web:1") not in found
    assert len(told["slow"]["examples"]) == 3
    assert collector.why("orders", "nothing")["calls"] == 0


def test_what_a_process_lost_is_told(collector: Collector) -> None:
    web = Program("web")
    collector.records(web.batch(dropped=5))
    collector.records(web.batch(dropped=2))
    status = collector.status()
    assert (status["dropped"], status["processes"][0]["dropped"]) == (7, 7)


def test_how_far_clocks_are_apart(collector: Collector) -> None:
    web, stock = Program("web"), Program("stock")
    collector.records(stock.batch())
    collector.records(web.batch(record(CLIENT, "a")))
    collector.records(stock.batch(record(SERVER, "a", began=0.1, ended=0.8)))
    times = {"boot of web": [NOW, NOW + 1.0], "boot of stock": [NOW, NOW + 1]}
    ((first, second, at, low, high),) = collector.clocks(times)
    assert {first, second} == {0, 1} and at == pytest.approx(NOW, abs=0.2)
    assert sorted((abs(low), abs(high))) == pytest.approx([0.1, 0.2])
    assert collector.clocks({}) == collector.clocks({"other": [0.0, 1.0]}) == []
    many = {str(number): [1.0, 2.0] for number in range(MOST + 1)}
    for bad in (None, {"a": 1}, {"a": [1]}, {"a": ["x", 1]}, {1: [1, 2]}, many):
        with pytest.raises(ValueError, match="times must be"):
            collector.clocks(bad)  # type: ignore[arg-type]


def test_what_all_processes_are_told_to_go_by(clock: Clock) -> None:
    def rules(**given: float) -> Any:
        collector = Collector(MemoryStore(Bounds()), clock.wall, clock.steady, **given)
        try:
            return collector.records(Program("web").batch())
        finally:
            collector._close()

    assert rules() == {"rate": None, "slow": None}
    assert rules(rate=0.0, slow=2.5) == {"rate": 0.0, "slow": 2.5}


def test_when_a_process_lost_records_is_told(collector: Collector) -> None:
    web, other = Program("web"), Program("other")
    collector.records(web.batch(record(CLIENT, "a"), ahead=0.0))
    for at in (10.0, 20.0, 30.0):
        collector.records(web.batch(record(CLIENT, "b"), ahead=at, dropped=int(at)))

    def dropped(began: float, ended: float) -> list[int]:
        return collector.dropped([other.identity, web.identity], NOW + began, NOW + ended)

    assert dropped(12.0, 18.0) == [0, 20]
    assert dropped(-9.0, 9.0) == [0, 10]
    assert dropped(-9.0, -1.0) == dropped(31.0, 40.0) == [0, 0]
    # One that the collector did not know, as it was away while records were dropped.
    collector.records(other.batch(record(CLIENT, "c", began=-9.0, ended=-8.0), ahead=0.0, dropped=3))
    assert dropped(-8.0, -7.0) == [3, 0]
    assert dropped(-12.0, -10.0) == [0, 0]
    # Whoever looks for traces is told, too, of all since the oldest of these.
    assert collector.traces()["dropped"] == 63
    for n in range(MOST_LOSSES):
        collector.records(web.batch(ahead=100.0 + n, dropped=1))
    assert dropped(0.0, 1_000.0)[1] == MOST_LOSSES
    for bad in ([b"short"], "x", [web.identity] * (MOST + 1)):
        with pytest.raises((ValueError, WireError)):
            collector.dropped(bad, 0.0, 1.0)  # type: ignore[arg-type]


def test_a_large_trace_is_given_in_part(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SENT", 5_000)
    web = Program("web")
    for n in range(10):
        collector.records(web.batch(*(record(CLIENT, f"{n}-{one}") for one in range(20))))
        assert collector._writer.wait_written(5.0)
    answer = collector.trace(TRACE)
    assert 0 < len(answer["pieces"]) < 10
    assert answer["cut"]
