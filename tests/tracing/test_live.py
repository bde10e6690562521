"""Rates as rows, and calls as they pass: what is shown of what a collector tells."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.tracing import live
from mesh.tracing.live import EDGE, METHOD, RateTable, brief, cells, per_second, rows_of, shown
from mesh.tracing.passing import MOST, Joined


def rate(side: str, caller: str, call: str, **more: Any) -> dict[str, Any]:
    service, _, method = call.rpartition(".")
    numbers = dict.fromkeys(("errors", "p50", "p95", "p99", "longest", "slowest"), 0.0)
    told = {"side": side, "caller": caller, "service": service, "method": method, "rate": 1.0, "open": 0}
    return {**told, **numbers, "slowest_id": "", **more}


RATES = [
    rate("client", "web", "orders.place", rate=5.0, p99=0.2),
    rate("client", "cron", "orders.place", rate=1.0, p99=0.9, errors=0.5),
    rate("server", "", "orders.place", rate=6.0),
    rate("server", "", "stock.take", rate=7.0, open=3),
    rate("client", "web", "old.service", rate=0.5),
    rate("client", "web", "gone.away", rate=0.0),
    rate("other", "web", "news.said"),
]


def test_a_row_for_each_caller_or_for_each_method() -> None:
    by_edge = {row.names for row in rows_of(RATES, EDGE)}
    assert by_edge == {
        ("web", "orders", "place"),
        ("cron", "orders", "place"),
        ("web", "old", "service"),
        ("*", "stock", "take"),
    }
    by_method = {row.names: row.rate for row in rows_of(RATES, METHOD)}
    assert by_method == {
        ("*", "orders", "place"): 6.0,
        ("*", "stock", "take"): 7.0,
        ("web", "old", "service"): 0.5,
    }


@pytest.mark.parametrize(
    ("sort", "first"),
    [("rate", "stock"), ("errors", "orders"), ("p99", "orders"), ("open", "stock"), ("name", "old")],
)
def test_order(sort: str, first: str) -> None:
    assert shown(rows_of(RATES), sort=sort)[0].service == first


def test_only_some() -> None:
    rows = rows_of(RATES)
    assert [row.caller for row in shown(rows, ["web"])] == ["web", "web"]
    assert [row.caller for row in shown(rows, ["orders"], "CRON")] == ["cron"]
    assert [row.caller for row in shown(rows, text="web orders.pl")] == ["web"]
    look = RateTable(METHOD, "rate", "take", ())
    assert [row.call for row in look.rows(RATES)] == ["stock.take"]


def test_what_a_row_says() -> None:
    (row,) = rows_of([rate("client", "web", "a.b", rate=4812.4, errors=0.05, p50=0.0024, p95=0.051, p99=1.2)])
    told = dict(zip(live.HEAD, cells(row), strict=True))
    assert (told["RATE"], told["ERRORS"], told["P50"], told["P99"]) == ("4,812", "0.05", "2.4ms", "1.2s")
    assert (told["OPEN"], told["SLOWEST"], told["TRACE"]) == ("-", "-", "-")
    (stuck,) = rows_of([rate("server", "", "a.b", rate=0.0, open=7)])
    assert cells(stuck)[live.HEAD.index("P99")] == "-"
    assert live.told(stuck)["caller"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000851, "85µs"),
        (0.0024, "2.4ms"),
        (0.0511, "51ms"),
        (1.25, "1.2s"),
        (185, "3m05s"),
        (0.9999, "1.0s"),
    ],
)
def test_times_in_few_characters(seconds: float, text: str) -> None:
    assert brief(seconds) == text


def test_numbers_in_few_characters() -> None:
    assert [per_second(rate) for rate in (0, 0.004, 0.5, 99.9, 4812)] == [
        "0.0",
        "0.00",
        "0.5",
        "99.9",
        "4,812",
    ]


# Calls as they pass


def side(name: str, span: str = "a", took: float = 0.1, **more: Any) -> dict[str, Any]:
    told = {"trace_id": "t", "span_id": span, "parent_id": "", "side": name, "service": "s", "method": "m"}
    who = {"process": f"{name}@box", "pid": 7, "detail": None, "lost": 0}
    return {**told, "began": 100.0, "took": took, "outcome": "OK", **who, **more}


@pytest.mark.parametrize(
    "order", [("client", "hub", "server"), ("server", "hub", "client"), ("hub", "server", "client")]
)
def test_the_sides_of_a_call_are_one_whatever_comes_first(order: tuple[str, ...]) -> None:
    joined = Joined()
    told = {"client": 0.3, "hub": 0.2, "server": 0.1}
    records = [
        side(name, took=told[name], outcome="KeyError", method="" if name == "hub" else "m") for name in order
    ]
    assert [list(joined.add(one, 0.0)) for one in records[:2]] == [[], []]
    (call,) = joined.add(records[2], 0.1)
    assert (call.took, call.served, call.outcome) == (0.3, 0.1, "KeyError")
    assert (call.caller, call.callee, call.hub) == ("client@box:7", "server@box:7", "hub@box:7")
    assert (call.told()["hub"], call.told()["method"]) == ("hub@box:7", "m")
    assert list(joined.due(99.0)) == []


def test_a_side_that_stays_alone_is_told_after_a_moment() -> None:
    joined = Joined()
    assert not list(joined.add(side("server", "a"), 0.0))
    assert not list(joined.add(side("client", "b"), 0.5))
    assert not list(joined.due(0.9))
    (call,) = joined.due(1.0)
    assert (call.callee, call.caller, call.took, call.served) == ("server@box:7", "", None, 0.1)
    (call,) = joined.due(0.6, 0.0)
    assert call.told()["callee"] is None


def test_what_is_no_call_that_has_ended_does_not_pass() -> None:
    joined = Joined()
    assert not list(joined.add(side("local"), 0.0))
    assert not list(joined.add(side("client", outcome="pending", lost=3), 0.0))
    assert not list(joined.due(9.0))
    assert joined.lost == 3


def test_of_one_method_no_other_passes_though_hubs_tell_of_all() -> None:
    joined = Joined("m")
    assert not list(joined.add(side("hub", "a", method=""), 0.0))
    assert not list(joined.add(side("hub", "b", method=""), 0.0))
    assert not list(joined.add(side("client", "b"), 0.0))
    (call,) = joined.add(side("server", "b"), 0.0)
    assert (call.method, call.hub) == ("m", "hub@box:7")
    assert not list(joined.due(9.0)), "the other hub's call was of another method"


def test_calls_that_wait_are_bounded() -> None:
    joined = Joined()
    out = [call for n in range(MOST + 10) for call in joined.add(side("client", str(n)), 0.0)]
    assert [call.span_id for call in out] == [str(n) for n in range(10)]
