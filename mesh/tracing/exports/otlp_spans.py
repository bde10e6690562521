"""Records as spans of OpenTelemetry, by its conventions for RPC and for messages; with Protocol Buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from mesh.core.recording import CANCELLED
from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import (
    CREDIT,
    FIRST,
    GOOD,
    ITEMS,
    LATE,
    MESSAGE,
    OPEN,
    TAGS,
    Kind,
    Record,
)
from mesh.tracing.exports.ids import caller_bytes, is_foreign, made_bytes, span_bytes, trace_bytes
from mesh.tracing.exports.tracebacks import Tracebacks, fingerprint_of

SYSTEM: Final = "zeromesh"
SLICE: Final = 100
"""Spans that are made without a rest: some thousandth of a second's work."""
_KINDS: Final = {
    Kind.CLIENT: Span.SPAN_KIND_CLIENT,
    Kind.SERVER: Span.SPAN_KIND_SERVER,
    Kind.HUB: Span.SPAN_KIND_INTERNAL,
    Kind.SENT: Span.SPAN_KIND_PRODUCER,
    Kind.RECEIVED: Span.SPAN_KIND_CONSUMER,
    Kind.LOCAL: Span.SPAN_KIND_INTERNAL,
}
_NUMBERS: Final = ((ITEMS, "mesh.items"), (FIRST, "mesh.first_item_seconds"), (CREDIT, "mesh.credit_seconds"))
_FINE: Final = frozenset({GOOD, CANCELLED})


def request_of(
    batches: Iterable[RecordBatch], tracebacks: Tracebacks, rest: Callable[[], object] = lambda: None
) -> tuple[bytes, int]:
    """What is sent of these batches, and how many spans are in it. What is open is left out: its end comes
    later. tracebacks: all that was told so far. rest: called after every SLICE spans.
    """
    request = ExportTraceServiceRequest()
    shown: set[str] = set()
    number = 0
    for batch in batches:
        ended = [one for one in batch.records if not (one.detail and one.detail.get(OPEN))]
        if not ended:
            continue
        number += len(ended)
        group = request.resource_spans.add()
        _describe(group, batch)
        scope = group.scope_spans.add()
        scope.scope.name = SYSTEM
        for first in range(0, len(ended), SLICE):
            some = ended[first : first + SLICE]
            scope.spans.extend(_span(batch, record, tracebacks, shown) for record in some)
            rest()
    return request.SerializeToString(), number


def _describe(group: ResourceSpans, batch: RecordBatch) -> None:
    about = batch.about
    told: dict[str, Any] = {
        "service.name": about.name or "unknown_service",
        "service.instance.id": str(UUID(bytes=batch.process)),
        "host.name": about.host,
        "process.pid": about.pid,
        "service.version": about.release,
    }
    group.resource.attributes.extend(_pair(key, value) for key, value in told.items() if value != "")


def _span(batch: RecordBatch, record: Record, tracebacks: Tracebacks, shown: set[str]) -> Span:
    kind, trace_id, _, _, service, method, began, started, ended, outcome, peer, detail = record
    shift = batch.wall - batch.monotonic
    span_id, parent_id = _ids(batch, record)
    span = Span(
        trace_id=trace_bytes(trace_id),
        span_id=span_id,
        parent_span_id=parent_id,
        name=_name(kind, service, method),
        kind=_KINDS[Kind(kind)],
        start_time_unix_nano=_nanoseconds(began + shift),
        end_time_unix_nano=_nanoseconds(ended + shift),
        attributes=_attributes(kind, service, method, outcome, peer),
    )
    if started - began >= 1e-6:
        span.attributes.append(_pair("mesh.wait_seconds", started - began))
    if is_foreign(trace_id):
        span.attributes.append(_pair("mesh.trace_id", trace_id))
    if outcome not in _FINE:
        span.status.code = Status.STATUS_CODE_ERROR
    if detail:
        _detail(span, outcome, detail, tracebacks, shown)
    return span


def _nanoseconds(seconds: float) -> int:
    """Within what there is room for, as a process may have any clock."""
    return min(max(int(seconds * 1e9), 0), 2**63)


def _ids(batch: RecordBatch, record: Record) -> tuple[bytes, bytes]:
    """The span's own and its parent's, as exports/ids.py tells."""
    span, parent = span_bytes(record.span_id), span_bytes(record.parent_id)
    kind = record.kind
    if not span or kind == Kind.HUB:
        # Several hubs may have told of one span, and several old clients of none.
        told = f"{record.trace_id} {record.method} {record.began!r}".encode()
        return made_bytes(span, batch.process, told), caller_bytes(span) if span else parent
    if kind in (Kind.CLIENT, Kind.SENT):
        return caller_bytes(span), parent
    if kind == Kind.LOCAL:
        return span, parent
    return span, caller_bytes(span)


def _name(kind: int, service: str, method: str) -> str:
    match kind:
        case Kind.LOCAL:
            return method or "span"
        case Kind.HUB:
            return f"hub {service}".rstrip()
        case Kind.SENT:
            return f"send {_full(service, method)}"
        case Kind.RECEIVED:
            return f"process {_full(service, method)}"
    return _full(service, method)


def _full(service: str, method: str) -> str:
    """Without an endpoint, where a client has that in place of a service's name: it says little, and there
    may be any number of them.
    """
    return method if "://" in service else f"{service}/{method}"


@lru_cache(maxsize=4_096)
def _attributes(kind: int, service: str, method: str, outcome: str, peer: str) -> list[KeyValue]:
    """Those that many spans share."""
    told: dict[str, Any] = {}
    if kind in (Kind.CLIENT, Kind.SERVER):
        told["rpc.system.name"] = SYSTEM
        told["rpc.method"] = _full(service, method)
        told["rpc.response.status_code"] = outcome
    elif kind in (Kind.SENT, Kind.RECEIVED):
        told["messaging.system"] = SYSTEM
        told["messaging.operation.name"] = told["messaging.operation.type"] = (
            "send" if kind == Kind.SENT else "process"
        )
        told["messaging.destination.name"] = service
    elif kind == Kind.HUB:
        told["mesh.hub.worker"] = peer
        told["mesh.outcome"] = outcome
    if outcome not in _FINE:
        told["error.type"] = outcome
    if kind == Kind.CLIENT and peer.startswith("tcp://"):
        host, _, port = peer.removeprefix("tcp://").rpartition(":")
        told["server.address"] = host.strip("[]")
        if port.isascii() and port.isdigit():
            told["server.port"] = int(port[:5])
    return [_pair(key, value) for key, value in told.items() if value != ""]


def _detail(
    span: Span, outcome: str, detail: dict[str, Any], tracebacks: Tracebacks, shown: set[str]
) -> None:
    told = {key: detail[name] for name, key in _NUMBERS if name in detail}
    if detail.get(LATE):
        told["mesh.late"] = True
    if tags := detail.get(TAGS):
        own = {one.key for one in span.attributes}
        told |= {key: value for key, value in tags.items() if key and key not in own and key not in told}
    span.attributes.extend(_pair(key, value) for key, value in told.items() if value is not None)
    if outcome not in _FINE and MESSAGE in detail:
        span.status.message = str(detail[MESSAGE])
        _exception(span, outcome, detail, tracebacks, shown)


def _exception(
    span: Span, outcome: str, detail: dict[str, Any], tracebacks: Tracebacks, shown: set[str]
) -> None:
    """As an event. A traceback is whole once in each request, as there may be very many of one."""
    fingerprint, text = fingerprint_of(detail), tracebacks.of(detail)
    if fingerprint in shown:
        text = ""
    elif fingerprint:
        shown.add(fingerprint)
    told = {
        "exception.type": outcome,
        "exception.message": str(detail[MESSAGE]),
        "exception.stacktrace": text,
        "mesh.traceback.fingerprint": fingerprint,
    }
    span.events.add(
        name="exception",
        time_unix_nano=span.end_time_unix_nano,
        attributes=[_pair(key, value) for key, value in told.items() if value != ""],
    )


def _pair(key: str, value: Any) -> KeyValue:
    if type(value) is bool:
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if type(value) is int and -(2**63) <= value < 2**63:
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if type(value) is float:
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=str(value)))
