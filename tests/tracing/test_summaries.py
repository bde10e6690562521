"""Looking for traces: by partial summaries that are merged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.core.recording import CANCELLED
from mesh.core.trace_batch import unpack
from mesh.core.trace_record import Kind
from mesh.tracing import pieces, summaries
from mesh.tracing.summaries import Summary, Wanted
from tests.tracing.batches import NOW, Program, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


def block(*told: bytes) -> bytes:
    """A block of what these batches tell."""
    found = [
        summaries.of_records(trace_id, batch, records)
        for batch in map(unpack, told)
        for trace_id, records in pieces.by_trace(batch).items()
    ]
    return summaries.pack(found)


def user(number: int) -> dict[str, Any]:
    return {"tags": {"user": number}}


def test_a_trace_is_put_together_of_all_who_tell() -> None:
    web, orders = Program("web"), Program("orders")
    early = block(web.batch(record(CLIENT, "a", began=0.5, ended=2.5, detail=user(42))))
    late = block(
        orders.batch(
            record(SERVER, "a", began=0.7, ended=2.4, outcome="KeyError"),
            record(CLIENT, "b", "a", "stock.take", 0.8, 0.9, outcome="KeyError"),
        )
    )
    for blocks in ([early, late], [late, early]):
        (found,), whole = summaries.search(blocks, Wanted(), 10, 1_000)
        assert whole
        told = found.told()
        assert told.pop("began") == pytest.approx(NOW + 0.5)
        assert told.pop("took") == pytest.approx(2.0, abs=1e-5)
        assert told == {
            "id": found.trace_id, "service": "orders", "method": "place", "outcome": "OK", "spans": 2,
            "errors": 1, "cut": 0, "process": "web@web", "failed": ["KeyError"],
        }  # fmt: skip


def test_a_failure_that_its_server_alone_tells_of_is_found() -> None:
    """A client of zerorpc tells nothing. What was cancelled has not failed."""
    failed = block(Program("orders").batch(record(SERVER, "a", outcome="KeyError")))
    ended = block(Program("orders").batch(record(SERVER, "b", outcome=CANCELLED)))
    for error in ("", "KeyError"):
        (found,), _ = summaries.search([failed], Wanted(error=error), 10, 1_000)
        assert found.failed == {"KeyError"}
    assert summaries.search([ended], Wanted(error=""), 10, 1_000) == ([], True)
    assert len(summaries.search([ended], Wanted(error=CANCELLED), 10, 1_000)[0]) == 1


def test_an_event_whose_handler_has_raised_is_found() -> None:
    sent = block(Program("web").batch(record(Kind.SENT, "a", call="mail.placed")))
    failed = block(Program("mail").batch(record(Kind.RECEIVED, "a", call="mail.placed", outcome="KeyError")))
    for error in ("", "KeyError"):
        (found,), _ = summaries.search([sent, failed], Wanted(error=error), 10, 1_000)
        assert (found.errors, found.failed) == (1, {"KeyError"})
    assert summaries.search([sent, failed], Wanted(error="ValueError"), 10, 1_000) == ([], True)


def test_the_topmost_server_stands_for_a_caller_that_has_not_told() -> None:
    web, orders, stock = Program("web"), Program("orders"), Program("stock", ahead=-3_600.0)
    top = block(
        orders.batch(
            record(SERVER, "a", began=0.5, ended=2.5, outcome="KeyError"),
            record(CLIENT, "b", "a", "stock.take", 0.8, 0.9),
        )
    )
    below = block(stock.batch(record(SERVER, "b", call="stock.take", began=0.8, ended=0.9)))
    for blocks in ([top, below], [below, top]):
        (found,), _ = summaries.search(blocks, Wanted(), 10, 1_000)
        told = found.told()
        assert (told["service"], told["method"], told["outcome"]) == ("orders", "place", "KeyError")
        assert (told["process"], round(told["took"], 3)) == ("?", 2.0)
    caller = block(web.batch(record(CLIENT, "a", ended=1.0)))
    for blocks in ([top, caller], [caller, top]):
        (found,), _ = summaries.search(blocks, Wanted(), 10, 1_000)
        assert (found.told()["process"], found.told()["outcome"], found.took) == ("web@web", "OK", 1.0)
    (found,), _ = summaries.search([block(web.batch(record(CLIENT, "b", "a")))], Wanted(), 10, 1_000)
    assert (found.told()["method"], found.told()["process"]) == ("", "")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "321"),
        ({"service": "orders"}, "21"),
        ({"method": "take"}, "3"),
        ({"service": "orders", "method": "take"}, ""),
        ({"error": ""}, "2"),
        ({"error": "KeyError"}, "2"),
        ({"error": "ValueError"}, ""),
        ({"slower": 1.0}, "3"),
        ({"since": NOW + 15}, "32"),
        ({"tag": "user"}, "31"),
        ({"tag": "user=42"}, "1"),
        ({"tag": "use"}, ""),
    ],
)
def test_what_is_wanted(wanted: dict[str, Any], found: str) -> None:
    web = Program("web")
    blocks = [
        block(web.batch(record(CLIENT, "c", "", "stock.take", 30, 33, trace="3", detail=user(1)))),
        block(web.batch(record(CLIENT, "b", began=20, ended=20.5, trace="2", outcome="KeyError"))),
        block(web.batch(record(CLIENT, "a", began=10, ended=10.5, trace="1", detail=user(42)))),
    ]  # fmt: skip
    some, whole = summaries.search(blocks, Wanted(**wanted), 10, 1_000)
    assert ("".join(one.trace_id for one in some), whole) == (found, True)


def test_a_search_has_an_end() -> None:
    web = Program("web")
    blocks = [
        block(*(web.batch(record(CLIENT, "a", began=-n, trace=f"{n}-{one}")) for one in range(10)))
        for n in range(10)
    ]
    some, whole = summaries.search(blocks, Wanted(service="nobody"), 10, 35)
    assert (some, whole) == ([], False)
    some, whole = summaries.search(blocks, Wanted(), 5, 1_000)
    assert ([one.trace_id[0] for one in some], whole) == (["0"] * 5, True)
    assert summaries.with_prefix(blocks, "3-", 4, 1_000) == ["3-0", "3-1", "3-2", "3-3"]


def test_a_search_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "REMEMBERED", 500)

    def blocks() -> Iterator[bytes]:
        for n in range(30):
            names = [f"s\nname {n} {one}" for one in range(summaries.MOST_NAMES)]
            yield summaries.pack(Summary(f"{n}-{one}", 0.0, 1.0, calls=set(names)) for one in range(100))

    tracemalloc.start()
    try:
        assert summaries.search(blocks(), Wanted(service="nobody"), 10, 10_000) == ([], True)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_parts_of_a_trace_count_together_unless_too_many_others_lie_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summaries, "REMEMBERED", 10)
    other = [summaries.pack([Summary(f"other {n}", 0.0, 1.0)]) for n in range(30)]
    tagged = summaries.pack([Summary("t", 0.0, 1.0, tags={"user=42", "shop=1"})])
    called = summaries.pack([Summary("t", 0.0, 1.0, calls={"s\nm", "s\nn"})])
    wanted = Wanted(service="s", method="m", tag="user")
    (found,), _ = summaries.search([called, *other[:9], tagged], wanted, 10, 1_000)
    assert (found.calls, found.tags) == ({"s\nm"}, {"user=42"})
    assert summaries.search([called, *other, tagged], wanted, 10, 1_000) == ([], True)
    (found,), _ = summaries.search([called, *other, tagged], Wanted(service="s"), 10, 1_000)
    assert found.trace_id == "t"  # what was found is not forgotten


def test_names_of_one_trace_are_bounded() -> None:
    whole = Summary("t", 0.0, 1.0)
    for n in range(500):
        whole.merge(Summary("t", 0.0, 1.0, calls={f"s\n{n}"}, tags={f"k={n}"}, failed={str(n)}))
    assert max(map(len, (whole.calls, whole.tags, whole.failed))) == summaries.MOST_NAMES
