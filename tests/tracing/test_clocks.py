"""How far clocks are apart, by what calls tell."""

from __future__ import annotations

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing.clocks import UNKNOWN, Bound, Clocks, Offset
from mesh.tracing.parts import parts_of
from mesh.tracing.tree import Tree
from tests.tracing.batches import NOW, Program, read, record

HOUR = 3_600.0


def call(web: Program, orders: Program, span: str, at: float, step: float = 0.0) -> list[bytes]:
    """A call of 10 ms there, 100 ms of handler and 10 ms back. step: by which the callee's clock was set."""
    return [
        web.batch(record(Kind.CLIENT, span, began=at, ended=at + 0.12)),
        orders.batch(record(Kind.SERVER, span, began=at + 0.01, ended=at + 0.11), ahead=orders.ahead + step),
    ]


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 0.0, 0.005])
def test_the_sides_of_a_call_fit_into_each_other_however_far_their_clocks_are_apart(ahead: float) -> None:
    web, orders = Program("web"), Program("orders", ahead=ahead)
    told = [*call(web, orders, "a", 0.0), orders.batch(record(Kind.CLIENT, "b", "a", "s.m", 0.02, 0.08))]
    tree = Tree(read(*told))
    root, child = tree.spans
    parts = parts_of(root)
    assert parts.lag == pytest.approx(0.01, abs=1e-4)
    assert parts.back == pytest.approx(0.01, abs=1e-4)
    assert parts.doubt == pytest.approx(0.01, abs=1e-4)
    assert child.began - NOW == pytest.approx(0.02, abs=1e-4)
    assert tree.clocks.steps == 0
    raw = Tree(read(*told), raw=True)
    assert max(span.began for span in raw.spans) - NOW == pytest.approx(max(0.02 + ahead, 0.0), abs=1e-4)


def test_a_step_within_a_trace() -> None:
    web, orders = Program("web"), Program("orders")
    told = [*call(web, orders, "a", 0.0), *call(web, orders, "b", 1.0), *call(web, orders, "c", 2.0, HOUR)]
    tree = Tree(read(*told))
    assert tree.clocks.steps == 1
    for span in tree.spans:
        assert parts_of(span).lag == pytest.approx(0.01, abs=1e-4)


def test_one_start_of_a_host_has_one_clock() -> None:
    web, orders = Program("web", "box", "one"), Program("orders", "box", "one")
    (span,) = Tree(read(*call(web, orders, "a", 0.0))).spans
    parts = parts_of(span)
    assert (parts.doubt, parts.lag) == (0.0, pytest.approx(0.01, abs=1e-4))


def test_calls_bound_each_other_for_a_minute() -> None:
    told = [
        Bound(0.0, 0, 1, Offset(-5, 5)),
        Bound(1.0, 0, 1, Offset(2, 9)),
        Bound(100.0, 0, 1, Offset(-8, 8)),
    ]
    clocks = Clocks(told)
    assert clocks.between(0, 1, 50.0) == Offset(2, 5)
    assert clocks.between(1, 0, 50.0) == Offset(-5, -2)
    assert clocks.between(0, 1, 100.0) == Offset(-8, 8)
    assert clocks.steps == 0


def test_over_a_third_host() -> None:
    clocks = Clocks([Bound(0.0, 0, 1, Offset(9, 11)), Bound(0.0, 2, 1, Offset(-1, 1))])
    assert clocks.between(0, 2, 0.0) == Offset(8, 12)
    assert clocks.between(0, 3, 0.0) == UNKNOWN


def test_nothing_is_known_where_no_call_has_two_sides() -> None:
    told = [Program("web").batch(record(Kind.CLIENT, "a")), Program("orders").batch(record(Kind.SERVER, "b"))]
    assert [parts_of(span).lag for span in Tree(read(*told)).spans] == [None, None]


def test_an_event_bounds_a_clock_on_one_side_only() -> None:
    told = [
        Program("web").batch(record(Kind.SENT, "a", began=0.0, ended=0.0)),
        Program("orders", ahead=-HOUR).batch(record(Kind.RECEIVED, "a", began=0.5, ended=0.6)),
    ]
    (span,) = Tree(read(*told)).spans
    assert parts_of(span).lag is None
    assert span.began == NOW


def test_the_time_in_a_hub_bounds_a_clock_as_well() -> None:
    told = [
        Program("web").batch(record(Kind.CLIENT, "a", began=0.0, ended=1.0)),
        Program("hub", ahead=-HOUR).batch(record(Kind.HUB, "a", began=0.01, started=0.91, ended=0.99)),
        Program("orders", ahead=HOUR).batch(record(Kind.SERVER, "a", began=0.92, ended=0.98)),
    ]
    (span,) = Tree(read(*told)).spans
    parts = parts_of(span)
    assert parts.lag == parts.back == parts.doubt == pytest.approx(0.02, abs=1e-4)


def test_where_the_time_of_a_call_went() -> None:
    box = {"host": "box", "boot": "one"}
    told = [
        Program("web", **box).batch(record(Kind.CLIENT, "a", began=0.0, started=0.1, ended=2.0)),
        Program("hub", **box).batch(record(Kind.HUB, "a", began=0.15, started=0.45, ended=1.9)),
        Program("orders", **box).batch(record(Kind.SERVER, "a", began=0.5, started=0.7, ended=1.8)),
    ]
    (span,) = Tree(read(*told)).spans
    parts = {name: round(value, 4) for name, value in parts_of(span).told().items()}
    assert parts == {
        "hold": 0.1, "lag": 0.1, "hub": 0.3, "queue": 0.2, "handler": 1.1, "back": 0.2, "doubt": 0.0
    }  # fmt: skip
