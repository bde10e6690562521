"""An endpoint that is called without a name has the name of what it serves, whichever side tells first."""

from __future__ import annotations

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing import service_names
from mesh.tracing.service_names import ServiceNames
from tests.tracing.batches import record

AT = "tcp://10.0.0.5:4242"


@pytest.mark.parametrize("first", [Kind.CLIENT, Kind.SERVER])
def test_both_sides_of_a_span_tell_it(first: Kind) -> None:
    asked, served = (
        record(Kind.CLIENT, "a")._replace(service=AT),
        record(Kind.SERVER, "a", call="orders.place"),
    )
    names = ServiceNames()
    names.see([asked if first is Kind.CLIENT else served])
    assert not names.known()
    names.see([served if first is Kind.CLIENT else asked])
    assert names.known() == {AT: "orders"}


def test_a_name_stays_as_it_is() -> None:
    names = ServiceNames()
    names.see([record(Kind.CLIENT, "a", call="shop.place"), record(Kind.SERVER, "a", call="orders.place")])
    assert not names.known()


def test_what_one_side_alone_tells_fills_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_names, "MOST", 10)
    names = ServiceNames()
    for number in range(100):
        span = f"s{number}"
        names.see([record(Kind.CLIENT, span)._replace(service=f"tcp://h:{number}")])
        names.see([record(Kind.SERVER, f"t{number}")])
    assert len(names._asked) == len(names._served) == 10
