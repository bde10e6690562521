"""A trace in the formats of others."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing.dashboard import export
from mesh.tracing.dashboard.source import to_json
from mesh.tracing.tree import Tree
from tests.tracing.batches import Program, read, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


def side_by_side() -> Tree:
    """A call that makes two at once, and another after them."""
    web, orders = Program("web"), Program("orders", "web")
    calls = [("b", 0.1, 0.5), ("c", 0.2, 0.7), ("d", 0.75, 0.8)]
    made = [record(CLIENT, span, "a", "stock.take", began, ended) for span, began, ended in calls]
    return Tree(read(web.batch(record(CLIENT, "a")), orders.batch(record(SERVER, "a"), *made)))


def test_what_is_within_a_lane_of_chrome_is_nested() -> None:
    events = export.chrome(side_by_side())["traceEvents"]
    assert [event["args"]["name"] for event in events if event["ph"] == "M"] == ["web@web", "orders@web"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [one["name"] for one in spans] == ["orders.place", *["stock.take"] * 3]
    assert [one["ts"] for one in spans] == pytest.approx([0, 100_000, 200_000, 750_000], abs=1)
    assert [one["dur"] for one in spans] == pytest.approx([1_000_000, 400_000, 500_000, 50_000], abs=1)
    assert [one["tid"] for one in spans] == [1, 1, 2, 1]
    for one in spans:
        for other in spans:
            if one is not other and (one["pid"], one["tid"]) == (other["pid"], other["tid"]):
                assert apart(one, other) or within(one, other) or within(other, one)


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = sorted((one, other), key=lambda event: int(event["ts"]))
    return int(first["ts"]) + int(first["dur"]) <= int(second["ts"])


def within(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return other["ts"] <= one["ts"] and one["ts"] + one["dur"] <= other["ts"] + other["dur"]  # type: ignore[no-any-return]


def test_what_opens_in_speedscope_closes_in_turn() -> None:
    file = export.speedscope(side_by_side())
    assert [frame["name"] for frame in file["shared"]["frames"]] == ["orders.place", "stock.take"]
    assert [len(profile["events"]) for profile in file["profiles"]] == [6, 2]
    for profile in file["profiles"]:
        stack, last = [], 0
        for event in profile["events"]:
            assert last <= event["at"] <= profile["endValue"]
            last = event["at"]
            if event["type"] == "O":
                stack.append(event["frame"])
            else:
                assert stack.pop() == event["frame"]
        assert not stack


def test_an_error_is_in_the_name() -> None:
    tree = Tree(read(Program("web").batch(record(CLIENT, "a", outcome="KeyError"))))
    assert export.chrome(tree)["traceEvents"][-1]["name"] == "orders.place (KeyError)"


def test_many_calls_at_once_have_a_lane_each() -> None:
    times = [0.1 + number / 10_000 for number in range(900)]
    calls = [record(CLIENT, str(number), "a", began=at, ended=at + 1) for number, at in enumerate(times)]
    tree = Tree(read(Program("web").batch(record(CLIENT, "a", ended=2.0), *calls)))
    assert len(export.speedscope(tree)["profiles"]) == 900


def test_what_json_has_no_form_for_is_told_as_text() -> None:
    value = {"a": float("nan"), "b": [float("inf"), b"\xff"], 3: "\ud800"}
    assert to_json(value) == b'{"a":"nan","b":["inf","b\'\\\\xff\'"],"3":"\\ud800"}'
