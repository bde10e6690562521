"""A line of the log for programs: one JSON object, whatever a record holds."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

import pytest

import mesh
from mesh.cli.log_format import JsonFormatter


def told(level: int = logging.INFO, message: str = "a %s", *args: Any, **more: Any) -> dict[str, Any]:
    record = logging.getLogger("shop").makeRecord(
        "shop", level, __file__, 1, message, args or ("line",), more.pop("exc_info", None), **more
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line and line.isascii()
    values: dict[str, Any] = json.loads(line)
    return values


def test_a_line_is_an_object() -> None:
    line = told(logging.WARNING)
    at = datetime.fromisoformat(line.pop("time"))
    assert at.utcoffset() is not None and abs((datetime.now(at.tzinfo) - at).total_seconds()) < 60
    assert line == {"level": "WARNING", "logger": "shop", "message": "a line"}


def test_within_a_trace_it_has_its_ids() -> None:
    with mesh.trace() as span:
        line = told()
    assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)


def test_a_traceback_and_lines_of_a_text_stay_in_one_line() -> None:
    try:
        raise ValueError("tea\nand jam")
    except ValueError:
        line = told(logging.ERROR, "%s", "two\nlines", exc_info=sys.exc_info())
    assert line["message"] == "two\nlines"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: tea\nand jam")


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


class Odd:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, 7),
        ({"a": [1, None]}, {"a": [1, None]}),
        (b"x", "b'x'"),
        (Odd(), "(its text can't be had: RuntimeError)"),
        (float("nan"), "nan"),
        (HOLDS_ITSELF, "[[...]]"),
    ],
)
def test_what_a_program_adds_is_told(value: Any, shown: Any) -> None:
    assert told(extra={"user": value})["user"] == shown
    assert told(extra={"level": "mine"})["level"] == "INFO"
