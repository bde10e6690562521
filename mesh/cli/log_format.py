"""What a line of the log of a server, a hub or a collector looks like: text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from mesh.core.span import current_span

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PLAIN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
"""What every record has; what one has besides its program has given it."""


class JsonFormatter(logging.Formatter):
    """A line is one JSON object: `time` (RFC 3339, UTC), `level`, `logger` and `message`; `trace_id` and
    `span_id` within a trace; `exception`, the traceback, where there is one; and whatever `extra` has.
    """

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = current_span()
        if span is not None:
            told |= {"trace_id": span.trace_id, "span_id": span.span_id}
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = record.stack_info
        for name, value in record.__dict__.items():
            if name not in _PLAIN and name not in told:
                told[name] = value
        try:
            return json.dumps(told, default=_text, skipkeys=True, allow_nan=False)
        except (ValueError, RecursionError):  # a number that is not finite, or what holds itself
            return json.dumps({name: _text(value) for name, value in told.items()})


def formatter(log_format: str) -> logging.Formatter:
    """log_format: "text" or "json"."""
    return JsonFormatter() if log_format == "json" else logging.Formatter(TEXT)


def draining_line(log_level: str, log_format: str) -> Callable[[str], str]:
    """What makes the line of the log that says so of a server that is asked to end; "" where the level leaves
    it out. Waits for no lock, as it is called by a signal.
    """
    level = logging.getLevelName(log_level.upper())
    if log_format != "json":
        return "mesh: {}".format
    made = JsonFormatter()

    def line(text: str) -> str:
        record = logging.LogRecord("mesh.serve", logging.INFO, __file__, 0, text, (), None)
        return made.format(record) if level <= logging.INFO else ""

    return line


def _text(value: object) -> str:
    """What a program gives of its own. A line is not lost for it."""
    try:
        return str(value)
    except Exception as exc:  # noqa: BLE001 - it may raise anything
        return f"(its text can't be had: {type(exc).__name__})"
