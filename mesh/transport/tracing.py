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
from time import monotonic
from typing import Any, Final, Self, TypeVar, cast

from mesh.core.methods import is_async, is_generator
from mesh.core.recording import MAX_MESSAGE
from mesh.core.span import MOST_CHARS, Span, as_id, bound, current_span
from mesh.core.trace_record import GOOD, MESSAGE, TAGS, Kind
from mesh.errors import name_of, text_of
from mesh.transport import process
from mesh.transport.recording import recording, span_ids

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII)

MAX_TAGS: Final = 64
MAX_TAG: Final = 200
"""Characters of a tag's name, and of its value."""

F = TypeVar("F", bound=Callable[..., Any])


class _Timed(Span):
    """A span of the program's own work. name: what it is called. tags: what is told of it, name to value;
    more may be set while it lasts. began: when it did.
    """

    __slots__ = ("_generation", "began", "name", "tags")

    def __init__(self, within: Span, name: str, tags: dict[str, Any]) -> None:
        super().__init__(within.trace_id, span_ids.next(), within.span_id)
        self.name = name
        self.tags = tags
        self.began = monotonic()
        self._generation = process.generation()

    def record(self, exc: BaseException | None) -> None:
        """It has ended. exc: what it was left with."""
        recorder = recording.recorder()
        if recorder is None or self._generation != process.generation():
            return  # in the child of a fork it is the parent's to end
        detail: dict[str, Any] = {}
        if tags := _travelling(self.tags):
            detail[TAGS] = tags
        if exc is not None:
            detail[MESSAGE] = text_of(exc)[:MAX_MESSAGE]
        outcome, ids = GOOD if exc is None else name_of(exc), (self.trace_id, self.span_id, self.parent_id)
        times = (self.began, self.began, monotonic())
        name = recording.about.name
        recorder.kept.add(Kind.LOCAL, *ids, name, self.name, *times, outcome, "", detail or None)


class trace(ContextDecorator):
    """What runs within belongs to a trace: `with mesh.trace() as span:`, or around a function as a decorator.

    trace_id: the trace's id, also one of another program. traceparent: the header of that name of W3C Trace
    Context, which goes before; one that makes no sense is passed over. Without either it is the trace that
    there is already, or a new one. tags: what to find it by, `mesh.trace(user=42)`. Gives the span, which has
    trace_id, span_id and traceparent; where it began a trace, or has tags, also `tags`, a dict.

    Raises ValueError for an id that can't travel, and for more than 64 tags; TypeError around a function with
    `yield`, whose caller decides when it runs.
    """

    __mesh_unexposed__ = "what binds a trace"

    def __init__(self, trace_id: str | None = None, *, traceparent: str | None = None, **tags: Any) -> None:
        if trace_id is not None and (type(trace_id) is not str or not as_id(trace_id)):
            raise ValueError(
                f"{trace_id!r:.80} is no id of a trace: it has to be text of 1 to {MOST_CHARS} characters, "
                "all of them printable"
            )
        self._trace_id = trace_id
        self._traceparent = traceparent
        self._tags = _checked(tags)
        self._bound: list[_Binding] = []

    def _recreate_cm(self) -> Self:
        return type(self)(self._trace_id, traceparent=self._traceparent, **self._tags)

    def __call__(self, func: F) -> F:
        """The same function, each of whose calls is within a trace."""
        return _around(func, self._recreate_cm, super().__call__, "with mesh.trace():")

    def __enter__(self) -> Span:
        within = _told_by(self._traceparent)
        if within is None and self._trace_id is None:
            within = current_span()
        if within is not None and not self._tags:
            binding = _Binding(within)
        else:
            within = within or Span(self._trace_id or span_ids.next() + span_ids.next(), "")
            binding = _Binding(own := _Timed(within, "trace", dict(self._tags)), own)
        self._bound.append(binding)
        return binding.span

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        _end(self._bound, exc)


class span(ContextDecorator):
    """A part of the work that a trace is to show: `with mesh.span("render", user=42):`, or a decorator.

    What is called within it is below it in the tree. Outside of a trace it does nothing. Gives the span,
    whose `tags` may be set while it lasts.

    Raises as `mesh.trace` does for tags and functions with `yield`, and TypeError for a name that is no text.
    """

    __mesh_unexposed__ = "a part of a trace"

    def __init__(self, name: str, /, **tags: Any) -> None:
        if type(name) is not str or not name:
            raise TypeError(f"a span has to have a name that is text, not {name!r:.80}")
        self._name = name
        self._tags = _checked(tags)
        self._bound: list[_Binding] = []

    def _recreate_cm(self) -> Self:
        return type(self)(self._name, **self._tags)

    def __call__(self, func: F) -> F:
        """The same function, each of whose calls is a span."""
        return _around(func, self._recreate_cm, super().__call__, f"with mesh.span({self._name!r}):")

    def __enter__(self) -> _Timed:
        outer = current_span()
        inner = _Timed(outer or Span("", ""), self._name, dict(self._tags))
        if outer is not None:
            self._bound.append(_Binding(inner, inner))
        return inner

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        _end(self._bound, exc)


class _Binding:
    """A span that what runs here belongs to, until `end`. own: the same where it ends then, too; None where
    it was there before.
    """

    __slots__ = ("_own", "_token", "span")

    def __init__(self, span: Span, own: _Timed | None = None) -> None:
        self.span = span
        self._own = own
        self._token: Token[Span | None] = bound.set(span)

    def end(self, exc: BaseException | None) -> None:
        with suppress(ValueError):  # a generator may be ended in another context than the one it began in
            bound.reset(self._token)
        if self._own is not None:
            self._own.record(exc)


def _end(bindings: list[_Binding], exc: BaseException | None) -> None:
    """End the one that counts here: several greenlets, tasks or threads may be within one object."""
    here = bound.get()
    for binding in reversed(bindings):
        if binding.span is here:
            bindings.remove(binding)
            binding.end(exc)
            return
    if bindings:
        bindings.pop().end(exc)


def _around(func: F, new: Callable[[], Any], plain: Callable[[F], F], within: str) -> F:
    """The same function, or coroutine, each of whose calls is within a new one. within: how that is written.
    Raises TypeError for one with `yield`.
    """
    if is_generator(func):
        raise TypeError(f"{func!r:.80} has `yield`: write `{within}` within it")
    if not is_async(func):
        return plain(func)

    @wraps(func)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        with new():
            return await func(*args, **kwargs)

    return cast(F, traced)


def _checked(tags: dict[str, Any]) -> dict[str, Any]:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{len(tags)} tags are too many: a span has {MAX_TAGS} at the most")
    return tags


def _travelling(tags: Any) -> dict[str, Any]:
    """Tags as they are told. What a program puts there may be anything, and raise nothing here."""
    if not isinstance(tags, dict):
        return {}
    items = list(tags.items())
    told = {_text(key): _plain(value) for key, value in items[:MAX_TAGS]}
    if len(items) > MAX_TAGS:
        told.popitem()
        told["…"] = f"{len(items) - MAX_TAGS + 1} more"
    return told


def _plain(value: Any) -> Any:
    """What travels of a tag's value."""
    if type(value) in (bool, float, type(None)) or (type(value) is int and -(2**63) <= value < 2**64):
        return value
    return _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)[:MAX_TAG]
    except Exception as exc:  # noqa: BLE001 - the program's own, which is not to fail for it
        return f"(its text can't be had: {name_of(exc)})"


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
