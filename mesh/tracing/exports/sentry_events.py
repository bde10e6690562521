"""An error that a handler has raised, as an event of Sentry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mesh.core.trace_batch import About
from mesh.core.trace_record import MESSAGE, TAGS, Kind, Record
from mesh.tracing.exports.frames import Frame, Raised, passed_on, raised_in
from mesh.tracing.exports.ids import caller_bytes, is_foreign, span_bytes, trace_bytes

MOST_TAG: Final = 200
"""Characters that Sentry takes of a tag."""
_LATEST: Final = 4e9


def event_of(record: Record, about: About, shift: float, traceback: str, held_back: int) -> dict[str, Any]:
    """record: of a server or subscriber. about: its process. shift: seconds from the record's times to the
    time of day. traceback: "" where none is known. held_back: how many of the same were not sent before it.

    Events of one class and method are one issue, whatever their messages and the lines are.
    """
    method = f"{record.service}.{record.method}"
    detail = record.detail or {}
    extra: dict[str, Any] = {"took": record.ended - record.began, "process": f"{about.host}:{about.pid}"}
    if held_back:
        extra["not sent before this one"] = held_back
    raised = raised_in(traceback)
    if traceback and not raised:
        extra["traceback"] = traceback
    extra |= {f"tag {key}": value for key, value in (detail.get(TAGS) or {}).items()}
    event = {
        "level": "error",
        "platform": "python",
        "logger": record.service,
        "timestamp": datetime.fromtimestamp(min(max(record.ended + shift, 0.0), _LATEST), UTC),
        "transaction": method,
        "server_name": about.host,
        "fingerprint": [record.outcome, method],
        "exception": {"values": _values(record, str(detail.get(MESSAGE, "")), raised)},
        "contexts": {"trace": _trace(record)},
        "tags": _tags(record, about, traceback),
        "extra": extra,
    }
    if about.release:
        event["release"] = about.release
    return event


def _values(record: Record, message: str, raised: Sequence[Raised]) -> list[dict[str, Any]]:
    """What came first at the beginning; the last is the error itself, as its caller has got it."""
    values = [
        {"type": one.name or "Exception", "value": one.message, **_stacktrace(one.frames)}
        for one in raised[:-1]
    ]
    last = _stacktrace(raised[-1].frames) if raised else {}
    mechanism = {"type": "zeromesh", "handled": False}
    return [*values, {"type": record.outcome, "value": message, "mechanism": mechanism, **last}]


def _stacktrace(frames: Sequence[Frame]) -> dict[str, Any]:
    return {"stacktrace": {"frames": [_frame(one) for one in frames]}}


def _frame(frame: Frame) -> dict[str, Any]:
    told: dict[str, Any] = {
        "filename": frame.short,
        "abs_path": frame.file,
        "lineno": frame.line,
        "function": frame.function or "<module>",
        "in_app": not frame.in_library,
    }
    if frame.code:
        told["context_line"] = frame.code
    return told


def _trace(record: Record) -> dict[str, Any]:
    """The same ids as spans have that are sent elsewhere."""
    span = span_bytes(record.span_id)
    told = {"trace_id": trace_bytes(record.trace_id).hex(), "status": "internal_error"}
    told["op"] = "rpc.server" if record.kind == Kind.SERVER else "queue.process"
    if span:
        told["span_id"], told["parent_span_id"] = span.hex(), caller_bytes(span).hex()
    return told


def _tags(record: Record, about: About, traceback: str) -> dict[str, str]:
    tags = {
        "trace_id": record.trace_id,
        "service": record.service,
        "method": record.method,
        "host": about.host,
        "process": about.name,
    }
    if passed_on(traceback):
        tags["passed_on"] = "yes"
    if is_foreign(record.trace_id):
        tags["trace_id_sent"] = trace_bytes(record.trace_id).hex()
    return {key: value[:MOST_TAG] for key, value in tags.items() if value}
