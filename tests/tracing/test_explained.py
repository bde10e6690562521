"""What slow or failing calls have in common, and how that is said."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing import explained, reasons
from mesh.tracing.explained import says, too_little
from mesh.tracing.reasons import ExplainedCall, chance
from tests.tracing.batches import Program, read, record


def calls(number: int, took: float, outcome: str = "OK", **features: Any) -> list[ExplainedCall]:
    told = frozenset((what.replace("_", " "), str(value)) for what, value in features.items())
    return [ExplainedCall(f"t{n}", took, outcome, told) for n in range(number)]


def test_a_plain_sentence_with_both_shares() -> None:
    every = [
        *calls(9, 2.0, worker="stock@box-3:402", host="box-3", caller="web@a:1"),
        *calls(1, 2.0, worker="stock@box-1:7", host="box-1", caller="web@a:1"),
        *calls(21, 0.1, worker="stock@box-3:402", host="box-3", caller="web@a:1"),
        *calls(59, 0.1, worker="stock@box-1:7", host="box-1", caller="web@a:1"),
    ]
    answer = reasons.common(every, 1.0)
    assert list(says(answer)) == [
        "9 of 10 slow calls went to stock@box-3:402 (host box-3); 30 of 90 of all did"
    ]
    assert too_little(answer, "slow") == ""
    assert too_little(answer, "failing") == "none failed"
    assert explained.summary(answer, "stock", "take", 60) == (
        "stock.take: 90 recorded calls in the last 60 min, 0 failed, 10 slow (1.0s or more)"
    )


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"hub": "hub@a:1"}, "went through the hub hub@a:1"),
        ({"caller": "web@a:1"}, "came from web@a:1"),
        ({"release": "1.2"}, "ran in release 1.2"),
        ({"attempts": 3}, "took 3 attempts"),
        ({"attempts": 1}, "took 1 attempt"),
        ({"tag_user": 42}, "had the tag user=42"),
        ({"endpoint": "tcp://a:1"}, "went to tcp://a:1"),
    ],
)
def test_what_they_have(feature: dict[str, Any], said: str) -> None:
    answer = reasons.common([*calls(20, 0.1, "KeyError", **feature), *calls(80, 0.1)], 9.0)
    assert list(says(answer)) == [f"20 of 20 failing calls {said}; 20 of 100 of all did"]
    assert explained.outcomes(answer, "failing") == "KeyError ×20"  # noqa: RUF001


def test_what_chance_would_bring_about_is_not_told() -> None:
    """Half of the calls went to either worker; that three of the three slow ones went to one is nothing."""
    every = [*calls(3, 2.0, worker="a"), *calls(7, 0.1, worker="a"), *calls(10, 0.1, worker="b")]
    answer = reasons.common(every, 1.0)
    assert list(says(answer)) == []
    assert "nothing sets the 3 slow calls apart" in too_little(answer, "slow")
    every = [call._replace(trace_id=f"{n}") for n in range(10) for call in every]
    assert list(says(reasons.common(every, 1.0))) == ["30 of 30 slow calls went to a; 100 of 200 of all did"]


def test_where_there_is_too_little_to_tell() -> None:
    answer = reasons.common([*calls(2, 0.1, "KeyError", worker="a"), *calls(50, 0.1, worker="b")], 9.0)
    assert too_little(answer, "failing") == "2 failing calls: too few to tell what they have in common"
    assert too_little(answer, "slow") == "none is slow"
    answer = reasons.common(calls(50, 0.1, "KeyError", worker="a"), None)
    assert (
        too_little(answer, "failing") == "all 50 calls are failing: there are no others to compare them with"
    )


def test_chance_is_the_tail_of_what_blind_draws_give() -> None:
    exact = sum(comb(10, k) * comb(20, 6 - k) for k in range(4, 7)) / comb(30, 6)
    assert chance(4, 6, 10, 30) == pytest.approx(exact)
    assert chance(0, 6, 10, 30) == pytest.approx(1.0)
    assert chance(6, 6, 28, 30) == pytest.approx(comb(28, 6) / comb(30, 6))


def test_what_is_told_of_a_call_through_a_hub_that_was_tried_again() -> None:
    """The hub names no method, and the client calls by the endpoint: the server knows what it is."""
    web, hub, orders = Program("web"), Program("hub"), Program("orders")
    trace = read(
        web.batch(
            record(Kind.LOCAL, "root", call="shop.checkout", ended=4.0, detail={"tags": {"user": 42}}),
            record(Kind.CLIENT, "a", "root", "tcp://a:1.place", 0.0, 1.0, outcome="LostRemote"),
            record(Kind.CLIENT, "a", "root", "tcp://a:1.place", 1.5, 3.5),
        ),
        hub.batch(record(Kind.HUB, "a", call="orders.", began=1.5, ended=3.4)),
        orders.batch(record(Kind.SERVER, "a", began=1.6, ended=3.3, detail={"tags": {"shop": "north"}})),
        orders.batch(record(Kind.SERVER, "b", ended=9.0, detail={"open": True})),
    )
    (call,) = reasons.calls_in(trace, "orders", "place")
    assert (call.took, call.outcome) == (3.5, "OK")
    assert call.features >= {
        ("worker", "orders@orders:1"),
        ("hub", "hub@hub:1"),
        ("caller", "web@web:1"),
        ("attempts", "2"),
        ("tag user", "42"),
        ("tag shop", "north"),
    }
    assert len(list(reasons.calls_in(trace, "tcp://a:1", "place"))) == 1
    assert list(reasons.calls_in(trace, "shop", "place")) == []


def test_tags_come_down_a_deep_trace_to_all_that_it_has_caused() -> None:
    """Each span once, where to climb to the root from each took a collector minutes."""
    depth, root = 3_000, {"tags": {"user": 7}}
    chain = [record(Kind.CLIENT, "0", call="s.m", detail=root)]
    chain += [record(Kind.CLIENT, f"{n:x}", f"{n - 1:x}", "s.m", n / 1e6) for n in range(1, depth)]
    told = [Program("web", boot="b").batch(*chain[at : at + 1_000]) for at in range(0, depth, 1_000)]
    found = list(reasons.calls_in(read(*told), "s", "m"))
    assert len(found) == depth and all(("tag user", "7") in call.features for call in found)
    spans = reasons.Tree(read(*told)).spans
    known: dict[str, frozenset[tuple[str, str]]] = {}
    assert len({id(reasons._tags(span, known)) for span in spans}) == 1
