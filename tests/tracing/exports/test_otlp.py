"""Spans by OTLP: what they say, to a real receiver, and what happens where that is away."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mesh.core.trace_batch import unpack
from mesh.core.trace_record import Kind
from mesh.errors import ConfigError
from mesh.tracing.exports import otlp as module
from mesh.tracing.exports.otlp import Otlp
from mesh.tracing.exports.otlp_http import Target
from mesh.tracing.exports.otlp_spans import request_of
from mesh.tracing.exports.tracebacks import Tracebacks
from tests.helpers.processes import eventually
from tests.tracing.batches import NOW, TRACE, Program, as_span, record
from tests.tracing.exports.receivers import Receiver, receiver, values

CLIENT, SERVER, HUB, SENT, RECEIVED, LOCAL = (
    *(Kind.CLIENT, Kind.SERVER, Kind.HUB),
    *(Kind.SENT, Kind.RECEIVED, Kind.LOCAL),
)
FAILED = {"message": "no tea", "traceback": "Traceback …\nKeyError: 'no tea'", "fingerprint": "ab" * 8}


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.02)


def give(export: Otlp, payload: bytes) -> None:
    export.take(unpack(payload), payload)


def sent(there: Receiver, *payloads: bytes) -> list[tuple[dict[str, Any], Span]]:
    """What arrives of these batches."""
    export = Otlp(Target(there.url))
    for payload in payloads:
        give(export, payload)
    export.close(10.0)
    return there.spans()


def test_a_call_with_both_sides(there: Receiver) -> None:
    web, orders = Program("web"), Program("orders", host="box-7", pid=77)
    spans = sent(
        there,
        web.batch(
            record(LOCAL, "r", call="web.page", began=0.0, ended=2.0),
            record(CLIENT, "a", "r", began=0.5, started=0.75, ended=1.5, peer="tcp://10.0.0.5:4242"),
        ),
        orders.batch(
            record(SERVER, "a", began=0.9, ended=1.4),
            record(CLIENT, "b", "a", "stock.take", 1.0, 1.2, outcome="TimeoutExpired", peer="ipc:///x"),
        ),
    )
    (_, root), (client_of, client), (server_of, server), (_, inner) = spans
    assert {span.trace_id.hex() for _, span in spans} == {TRACE}
    assert len({span.span_id for _, span in spans}) == 4
    assert server.span_id.hex() == as_span("a")  # what a traceparent of the handler has
    assert (root.parent_span_id, client.parent_span_id) == (b"", root.span_id)
    assert (server.parent_span_id, inner.parent_span_id) == (client.span_id, server.span_id)
    assert [span.kind for _, span in spans] == [
        *(Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    ]
    assert [span.name for _, span in spans] == ["page", "orders/place", "orders/place", "stock/take"]
    assert client.start_time_unix_nano / 1e9 == pytest.approx(NOW + 0.5)
    assert (client.end_time_unix_nano - client.start_time_unix_nano) / 1e9 == pytest.approx(1.0)
    assert values(client.attributes) == {
        "rpc.system.name": "zeromesh",
        "rpc.method": "orders/place",
        "rpc.response.status_code": "OK",
        "server.address": "10.0.0.5",
        "server.port": 4242,
        "mesh.wait_seconds": pytest.approx(0.25),
    }
    assert values(inner.attributes)["error.type"] == "TimeoutExpired"
    assert (inner.status.code, client.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    assert client_of["service.name"] == "web"
    assert server_of == {
        "service.name": "orders",
        "service.instance.id": f"00000000-0000-0000-0000-{int.from_bytes(orders.identity):012x}",
        "host.name": "box-7",
        "process.pid": 77,
    }


def test_events_hubs_and_details(there: Receiver) -> None:
    program = Program("orders")
    program.about = program.about._replace(release="v7")
    tags = {"user": 42, "paid": True, "rpc.method": "made up", "big": 2**63}
    stream = {"items": 3, "first": 0.25, "credit": 1.5, "late": True, "tags": tags}
    (resource, said), (_, heard), (_, hub), (_, call) = sent(
        there,
        program.batch(
            record(SENT, "e", "r", "news.said"),
            record(RECEIVED, "e", call="news.said", outcome="ValueError"),
            record(HUB, "a", call="orders.", peer="worker-1"),
            record(SERVER, "a", detail=stream),
            record(SERVER, "open", outcome="pending", detail={"open": True}),
        ),
    )
    assert resource["service.version"] == "v7"
    assert (said.kind, heard.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    assert heard.parent_span_id == said.span_id
    assert values(said.attributes)["messaging.destination.name"] == "news"
    assert values(heard.attributes)["error.type"] == "ValueError"
    assert (hub.name, hub.parent_span_id) == ("hub orders", call.parent_span_id)
    told = values(call.attributes)
    assert {key: told[key] for key in ("mesh.items", "mesh.first_item_seconds", "mesh.credit_seconds")} == {
        "mesh.items": 3,
        "mesh.first_item_seconds": 0.25,
        "mesh.credit_seconds": 1.5,
    }
    assert (told["user"], told["paid"], told["big"], told["mesh.late"]) == (42, True, str(2**63), True)
    assert told["rpc.method"] == "orders/place"


def test_a_client_of_an_endpoint_has_the_method_alone(there: Receiver) -> None:
    one = record(CLIENT, "a")._replace(service="tcp://10.0.0.5:4242")
    ((_, span),) = sent(there, Program("web").batch(one))
    assert (span.name, values(span.attributes)["rpc.method"]) == ("place", "place")


def test_an_error_is_an_event_whose_traceback_is_whole_once(there: Receiver) -> None:
    again = {"message": "no tea", "fingerprint": "ab" * 8}
    program = Program("orders")
    export = Otlp(Target(there.url))
    failing = [record(SERVER, one, outcome="KeyError", detail=again) for one in "bc"]
    give(export, program.batch(record(SERVER, "a", outcome="KeyError", detail=FAILED), failing[0]))
    eventually(lambda: export.sent == 2)
    give(export, program.batch(failing[1]))  # another request has it once more
    export.close(10.0)
    found = []
    for _, span in there.spans():
        (event,) = span.events
        assert (event.name, span.status.message) == ("exception", "no tea")
        found.append(values(event.attributes))
    assert {one["exception.type"] for one in found} == {"KeyError"}
    stacks = [one.get("exception.stacktrace") for one in found]
    assert stacks == [FAILED["traceback"], None, FAILED["traceback"]]


def test_ids_of_other_programs() -> None:
    def made(trace: str, span: str) -> Span:
        batch = unpack(Program("web").batch(record(LOCAL, span, trace=trace)._replace(span_id=span)))
        body, _ = request_of([batch], Tracebacks())
        with receiver() as there:
            there.requests.append(("/v1/traces", {"content-type": "application/x-protobuf"}, body))
            ((_, found),) = there.spans()
        return found

    one, same, other = made("<8F3A2C>", "x"), made("<8F3A2C>", "x"), made("<8F3A2D>", "")
    assert one.trace_id == same.trace_id != other.trace_id
    assert one.span_id == same.span_id != other.span_id
    assert (len(one.trace_id), len(one.span_id), len(other.span_id)) == (16, 8, 8)
    assert values(one.attributes)["mesh.trace_id"] == "<8F3A2C>"
    assert any(made("0" * 32, "0" * 16).trace_id)  # OpenTelemetry has no id of zeros
    assert "mesh.trace_id" not in values(made("ab" * 16, "x").attributes)


def test_odd_values_spoil_nothing() -> None:
    program = Program("\x00", ahead=9e10 - NOW, pid=2**63)
    odd = {
        "tags": {"": 1, "n": float("nan"), "none": None, "long": "x" * 6_000},
        "items": -(2**63),
        "first": -1.0,
    }
    odd |= {"message": 42, "traceback": 7, "fingerprint": True, "late": "no"}
    records = [
        record(kind, "a", "a", outcome=outcome, detail=odd, peer=peer)._replace(method="\ud7ff\x00")
        for kind in Kind
        for outcome in ("OK", "Error", "")
        for peer in ("tcp://[::1]:99999999", "tcp://", "\x1b")
    ]
    for ahead in (9e10 - NOW, -9e10 - NOW):
        body, number = request_of([unpack(program.batch(*records, ahead=ahead))], Tracebacks())
        assert (number, bool(body)) == (len(records), True)


def test_it_is_sent_again_until_it_is_taken(there: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    there.answers = [(503, {}, b""), (429, {"Retry-After": "0"}, b"")]
    with caplog.at_level(logging.WARNING, "mesh.collect"):
        export = Otlp(Target(there.url), shortest=0.01)
        give(export, Program("web").batch(record(CLIENT, "a")))
        eventually(lambda: export.sent)
        export.close(10.0)
    assert len(there.requests) == 3
    assert (export.told()["dropped"], export.told()["queued"], export.trouble) == (0, 0, "")
    assert [line.getMessage().partition(": ")[2] for line in caplog.records] == [
        "it answers 503 Service Unavailable (0 dropped, 0 refused so far)",
        "",
    ]
    assert "spans are sent again" in caplog.text


def test_what_an_endpoint_refuses_is_counted_and_the_next_is_sent(there: Receiver) -> None:
    there.answers = [(400, {}, b"")]
    there.reject(2**40, "no room")
    export = Otlp(Target(there.url))
    program = Program("web")
    for sofar in (1, 2):
        give(export, program.batch(record(CLIENT, "a")))
        eventually(lambda sofar=sofar: export.refused == sofar)  # type: ignore[misc]
    assert "no room" in export.trouble
    give(export, program.batch(record(CLIENT, "b")))
    eventually(lambda: export.sent)
    export.close(10.0)
    assert (export.refused, export.sent, export.trouble) == (2, 1, "")


def test_an_endpoint_that_is_away_costs_a_bounded_queue_and_no_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = Program("web")
        payload = program.batch(*(record(CLIENT, f"{number}") for number in range(100)))
        export = Otlp(Target(f"http://127.0.0.1:{silent.getsockname()[1]}"), 3 * len(payload))
        begun = time.monotonic()
        for _ in range(20):
            give(export, payload)
        assert time.monotonic() - begun < 5.0
        assert (export.dropped, export.told()["queued"]) == (1_700, 3 * len(payload))
        assert "1700 dropped" not in caplog.text  # not a line for each
        assert len(caplog.records) == 1
        export.close(0.5)
        assert "the collector ends, and 300 records are not sent" in caplog.text


def test_it_ends_with_what_waits_given_up_where_nobody_is_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    export = Otlp(Target(url), shortest=0.05)
    give(export, Program("web").batch(record(CLIENT, "a")))
    eventually(lambda: export.trouble)
    begun = time.monotonic()
    export.close(0.3)
    assert time.monotonic() - begun < 5.0
    assert not export._thread.is_alive()
    assert f"1 records are not sent to {url}/v1/traces" in caplog.text


def test_what_speaks_no_http_is_told_as_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n")  # what HTTP/2 begins with

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(OSError, match="gRPC has port 4317"):
            Target(f"http://127.0.0.1:{other.getsockname()[1]}").post(b"")


def test_headers_for_the_endpoint(there: Receiver) -> None:
    Target(f"{there.url}/v1/traces/", "authorization=Bearer%20x, x-tenant=shop").post(b"")
    ((path, headers, _),) = there.requests
    assert (path, headers["authorization"], headers["x-tenant"]) == ("/v1/traces", "Bearer x", "shop")
    for wrong in ("authorization", "a b=c", "a=b%0d%0aHost: x"):
        with pytest.raises(ConfigError, match="must be name=value"):
            Target(there.url, wrong)


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://x", "http://", "http://x:port", "http://a:b@x"])
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ConfigError, match="is no endpoint of OTLP: it takes http://HOST:4318"):
        Target(url)
