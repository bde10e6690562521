"""The trace that the code which runs here belongs to: bound to a greenlet, task or thread, and carried by
calls.

Each call that is made within a trace is a span of its own, whose ids travel in the call's header, and what
its handler calls belongs to that span. So all that one thing has caused has one id, whoever made it. Where a
trace begins, and what the ids are, transport/tracing.py says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, copy_context
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar

from mesh.core.middleware import carried_out

MOST_CHARS: Final = 128
"""Characters of an id of another program; a longer one is none."""
_OURS: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

P = ParamSpec("P")
T = TypeVar("T")


class Span:
    """One call of a trace, or the place at which one begins. trace_id: of the whole: 32 hexadecimal digits,
    or what another program has. span_id: its own, 16 digits, the parent of what is called within it; "" where
    nobody has told. parent_id: of the span that it is within; "" where there is none, or only its caller
    knows. late: its ids were made when it came to a bad end, so that nobody knows of what was called within
    it.
    """

    __slots__ = ("late", "parent_id", "span_id", "trace_id")
    __mesh_unexposed__ = "a span of a trace"

    def __init__(self, trace_id: str, span_id: str, parent_id: str = "", late: bool = False) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.late = late

    @property
    def traceparent(self) -> str:
        """As W3C Trace Context (Level 2) has it in the header of that name; "" where the trace's id is
        another program's, for which there is no place in it.
        """
        if not _OURS.fullmatch(self.trace_id) or not self.span_id:
            return ""
        return f"00-{self.trace_id}-{self.span_id}-03"  # sampled, and of random digits

    def __repr__(self) -> str:
        return f"<span {self.span_id} of trace {self.trace_id}>"


def as_id(value: Any) -> str:
    """An id as it came; "" for what can be none."""
    if type(value) is bytes and len(value) <= MOST_CHARS:
        value = value.decode("ascii", "replace")
    return value if type(value) is str and len(value) <= MOST_CHARS and value.isprintable() else ""


def span_in(header: Mapping[Any, Any]) -> Span | None:
    """The span that a request's header tells of; None where it tells of none that makes sense."""
    value = header.get("trace_id")
    if value is None:
        return None
    trace_id = as_id(value)
    return Span(trace_id, as_id(header.get("span_id"))) if trace_id else None


bound: Final[ContextVar[Span | None]] = ContextVar("mesh_span", default=None)
"""What a program has bound by itself, or whoever carries out an event; where there is nothing the call counts
that a handler carries out."""


UNRECORDED: Final = Span("", "")
"""What is called within it belongs to no trace, and begins none."""


def current_span() -> Span | None:
    """The span that the code which runs here belongs to; None where it belongs to none."""
    span = bound.get()
    if span is not None:
        return None if span is UNRECORDED else span
    call = carried_out()
    return None if call is None else span_in(call.header)


def within(span: Span | None) -> Context:
    """A context that has nothing but this span."""
    context = Context()
    if span is not None:
        context.run(bound.set, span)
    return context


def in_this_context(function: Callable[..., T]) -> Callable[..., T]:
    """The same function, to be called once, in another greenlet or thread: it belongs to the trace and the
    handler that it would belong to here."""
    if bound.get() is None and carried_out() is None:
        return function
    return partial(copy_context().run, function)


def fork(function: Callable[P, T]) -> Callable[P, T]:
    """The same function for another thread: what it calls belongs to the trace of here, as in
    `threading.Thread(target=mesh.fork(work))` and `pool.submit(mesh.fork(work), 42)`.

    It may be called any number of times, also at the same time. All other context variables have the values
    of here, too.
    """
    context = copy_context()

    @wraps(function)
    def forked(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return forked
