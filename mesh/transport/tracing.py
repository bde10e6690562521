"""Where a trace begins: the ids that it has, and `mesh.trace`, which binds one to what runs here.

The ids of a trace have 32 hexadecimal digits and those of a span 16, as in W3C Trace Context (Level 2).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import ContextDecorator, suppress
from contextvars import Token
from functools import wraps
from random import getrandbits
from typing import Any, Final, Self, TypeVar, cast

from mesh.core.methods import is_async, is_generator
from mesh.core.span import MOST_CHARS, Span, as_id, bound, current_span

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII)

F = TypeVar("F", bound=Callable[..., Any])


def new_span_id() -> str:
    return f"{getrandbits(64) or 1:016x}"


def new_trace() -> Span:
    return Span(f"{getrandbits(128) or 1:032x}", new_span_id())


class trace(ContextDecorator):
    """What runs within belongs to a trace: `with mesh.trace() as span:`, or around a function as a decorator.

    trace_id: the trace's id, also one of another program. traceparent: the header of that name of W3C Trace
    Context, which goes before; one that makes no sense is passed over. Without either it is the trace that
    there is already, or a new one. Gives the span, which has trace_id, span_id and traceparent.

    Raises ValueError for an id that can't travel, and TypeError around a function with `yield`, whose caller
    decides when it runs.
    """

    __mesh_unexposed__ = "what binds a trace"

    def __init__(self, trace_id: str | None = None, *, traceparent: str | None = None) -> None:
        if trace_id is not None and (type(trace_id) is not str or not as_id(trace_id)):
            raise ValueError(
                f"{trace_id!r:.80} is no id of a trace: it has to be text of 1 to {MOST_CHARS} characters, "
                "all of them printable"
            )
        self._trace_id = trace_id
        self._traceparent = traceparent
        self._token: Token[Span | None] | None = None

    def _recreate_cm(self) -> Self:
        return type(self)(self._trace_id, traceparent=self._traceparent)

    def __call__(self, func: F) -> F:
        """The same function, each of whose calls is within a trace."""
        if is_generator(func):
            raise TypeError(f"{func!r:.80} has `yield`: write `with mesh.trace():` within it")
        if not is_async(func):
            return super().__call__(func)

        @wraps(func)
        async def traced(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return cast(F, traced)

    def __enter__(self) -> Span:
        span = _told_by(self._traceparent)
        if span is None and self._trace_id is not None:
            span = Span(self._trace_id, new_span_id())
        if span is None:
            span = current_span() or new_trace()
        self._token = bound.set(span)
        return span

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            with suppress(ValueError):  # a generator may be ended in another context than the one it began in
                bound.reset(token)


def _told_by(traceparent: str | None) -> Span | None:
    match = _TRACEPARENT.fullmatch((traceparent or "").strip())
    if match is None or match[1] == "ff" or not match[2].strip("0") or not match[3].strip("0"):
        return None
    return Span(match[2], match[3])


def log_trace_ids() -> None:
    """Give the records of `logging` a `trace_id` and a `span_id` from now on, for formats such as
    "%(trace_id)s %(message)s"; both are "" for what belongs to no trace.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "gives_trace_ids", False):
        return

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        span = current_span()
        record.trace_id, record.span_id = ("", "") if span is None else (span.trace_id, span.span_id)
        return record

    make_record.gives_trace_ids = True  # type: ignore[attr-defined]  # functions have what they are given
    logging.setLogRecordFactory(make_record)
