"""The examples of configs/middleware, with the real packages."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.green.conftest import Connect, Serve
from tests.helpers.processes import ROOT, eventually


class Users:
    def get(self, number: int) -> str:
        return {42: "Ann"}[number]


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "configs" / "middleware" / f"{name}.py"))


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    """What Sentry would have got."""
    import sentry_sdk
    from sentry_sdk.transport import Transport

    events: list[dict[str, Any]] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                event = item.get_event() or item.get_transaction_event()
                if event:
                    events.append(event)

    sentry_sdk.init(
        "http://key@127.0.0.1/1", transport=Kept, traces_sample_rate=1.0, default_integrations=False
    )
    yield events
    sentry_sdk.init(default_integrations=False)  # with them it changes subprocess for all tests that follow


def test_sentry_has_the_error_and_both_sides_in_one_trace(
    sent: list[dict[str, Any]], serve: Serve, connect: Connect
) -> None:
    import sentry_sdk

    code = example("sentry")
    client = connect(serve(Users(), name="users", middleware=[code["server"]]), middleware=[code["client"]])
    with sentry_sdk.start_transaction(name="request") as transaction:
        assert client.get(42) == "Ann"
        with pytest.raises(KeyError):
            client.get(1)
    eventually(lambda: len(sent) >= 4, what=lambda: str(sent))
    assert {event["contexts"]["trace"]["trace_id"] for event in sent} == {transaction.trace_id}
    (error,) = [event for event in sent if event.get("type") != "transaction"]
    assert error["exception"]["values"][-1]["type"] == "KeyError"
    assert error["tags"]["mesh.peer"] == "127.0.0.1"
    served = [event for event in sent if event.get("transaction") == "users.get" and "spans" in event]
    assert len(served) == 2


def test_opentelemetry_has_both_sides_in_one_trace(serve: Serve, connect: Connect) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    code = example("otel")
    client = connect(serve(Users(), name="users", middleware=[code["server"]]), middleware=[code["client"]])
    assert client.get(42) == "Ann"
    with pytest.raises(KeyError):
        client.get(1)
    eventually(lambda: len(exporter.get_finished_spans()) == 4)
    spans = exporter.get_finished_spans()
    near = {span.context.span_id: span for span in spans if span.kind is trace.SpanKind.CLIENT}
    far = [span for span in spans if span.kind is trace.SpanKind.SERVER]
    assert len(near) == len(far) == 2
    for span in far:
        assert span.parent is not None and span.name == "users/get"
        assert near[span.parent.span_id].context.trace_id == span.context.trace_id
    assert [span.status.is_ok for span in far] == [True, False]
