"""A trace as a page gets it."""

from __future__ import annotations

import json

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing.dashboard.packed import LEFT_OUT, packed
from mesh.tracing.dashboard.source import to_json
from mesh.tracing.tree import Tree
from tests.tracing.batches import NOW, Program, as_span, read, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


def test_both_sides_of_a_call_are_one_row() -> None:
    web, orders = Program("web", "one"), Program("orders", "one")
    made = record(CLIENT, "b", "a", "stock.take", 0.5, 0.5, outcome="pending", detail={"open": True})
    called = web.batch(record(CLIENT, "a", started=0.125, ended=1.0, detail={"tags": {"user": 4}}))
    served = orders.batch(record(SERVER, "a", began=0.25, started=0.375, ended=0.875), made)
    told = packed(Tree(read(called, served)))
    texts = told["texts"]
    first, second = told["spans"]
    assert first[:2] == (as_span("a"), -1)
    assert [texts[number] for number in first[2:6]] == ["client", "orders", "place", "OK"]
    assert first[6:10] == (0, 1_000_000, 0, 1)
    hold, lag, hub, queue, handler, back, doubt, credit = first[10]
    assert [hold, lag, queue, handler, back] == pytest.approx([125e3, 125e3, 125e3, 500e3, 125e3], abs=2)
    assert (hub, doubt, credit) == (None, 0, None)
    assert first[11] == {"tags": {"user": 4}}
    assert second[:2] == (as_span("b"), 0)
    assert second[6:10] == (500_000, None, 1, None)
    assert abs(told["began"] - NOW) < 1e-3 and told["critical"][0] == 0
    assert [process["label"] for process in told["processes"]] == ["web@one", "orders@one"]


def test_tracebacks_are_bounded() -> None:
    text = "x" * 60_000
    spans = [record(SERVER, str(number), outcome="E", detail={"traceback": text}) for number in range(200)]
    program = Program("web")
    tree = Tree(read(*(program.batch(*spans[start : start + 10]) for start in range(0, 200, 10))))
    told = [row[-1]["traceback"] for row in packed(tree)["spans"]]
    assert told == [text] * 139 + [LEFT_OUT] * 61


def test_many_spans_take_few_bytes() -> None:
    calls = [record(CLIENT, str(number), "a", "stock.take") for number in range(900)]
    sides = [record(SERVER, str(number), call="stock.take") for number in range(900)]
    tree = Tree(read(Program("web").batch(record(CLIENT, "a"), *calls), Program("stock").batch(*sides)))
    body = to_json(packed(tree))
    assert len(json.loads(body)["spans"]) == 901
    assert len(body) < 901 * 120


def test_a_trace_of_nothing() -> None:
    assert packed(Tree(read()))["spans"] == []


def test_what_its_programs_had_no_room_for() -> None:
    found = read(Program("web").batch(record(CLIENT, "a")), Program("stock").batch(record(SERVER, "a")))
    assert packed(Tree(found))["dropped"] == 0
    assert packed(Tree(found._replace(dropped=[3, 4])))["dropped"] == 7
