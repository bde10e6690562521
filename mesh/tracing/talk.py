"""A trace as its talk: a line for each call, and one for its answer, in order of time.

    [2012-03-07 23:56:17.759738] uwsgi@api --- run_command ---> api_00@zeroworkers (lag: 1ms | exec: 98ms)
    [2012-03-07 23:56:17.774972] api_00@zeroworkers --- info (pending) ---> formation-in [Not Received]

What is written are texts of other programs: whoever shows them to a person makes them harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final

from mesh.core.trace_record import GOOD, Kind
from mesh.tracing.fold import Fold, folded, walk
from mesh.tracing.parts import Parts, parts_of
from mesh.tracing.tree import Span, Tree

TIMES: Final = "\N{MULTIPLICATION SIGN}"


def lines(tree: Tree, raw: bool = False) -> list[str]:
    """All lines. raw: with the times that each process has told, and lags by these."""
    timed: list[tuple[float, int, str]] = []
    for number, (_, _, fold) in enumerate(walk(folded(tree.roots))):
        timed += ((at, number, line) for at, line in _of_fold(tree, fold, raw))
    timed.sort()
    return [line for _, _, line in timed]


def _of_fold(tree: Tree, fold: Fold, raw: bool) -> Iterator[tuple[float, str]]:
    span = fold.first
    if len(fold.spans) > 1:
        span = fold.longest
        method = f"{span.method} {TIMES}{len(fold.spans):,}, max {duration(span.took)}"
        if span.outcome != GOOD:
            method += f" ({span.outcome})"
        to = "" if span.side.kind == Kind.LOCAL else callee(tree, span)
        yield fold.first.began, _line(fold.first.began, caller(tree, span), method, to, "")
        return
    if span.side.kind == Kind.LOCAL:
        yield span.began, _of_local(tree, span)
        return
    parts = parts_of(span, raw)
    answered = span.side.kind in (Kind.CLIENT, Kind.SERVER)
    remark = " (pending)" if span.is_open else ""
    if not answered and span.outcome != GOOD:
        remark = f" ({span.outcome})"
    lag = _times(parts.lag, parts)
    yield (
        span.began,
        _line(
            span.began,
            caller(tree, span),
            span.method + remark,
            callee(tree, span),
            lag if span.callee else "",
        ),
    )
    if answered and not span.is_open:
        back = _times(parts.back, parts) if span.callee else ""
        yield (
            span.ended,
            _line(span.ended, who_answers(tree, span), span.outcome, caller(tree, span), back),
        )


def _of_local(tree: Tree, span: Span) -> str:
    """A part of a program's own work, which nobody else carries out."""
    what = span.method if span.outcome == GOOD else f"{span.method} ({span.outcome})"
    times = "" if span.is_open else f" (exec: {_milliseconds(span.took)})"
    return _line(span.began, tree.labels[span.side.process], what, "", times)


def _line(at: float, left: str, what: str, right: str, times: str) -> str:
    return f"[{moment(at)}] {left} --- {what}{f' ---> {right}' if right else ''}{times}"


def _times(lag: float | None, parts: Parts) -> str:
    shown = "?" if lag is None else _milliseconds(lag)
    doubt = f" ±{parts.doubt * 1000:.2g}" if lag is not None and parts.doubt >= 0.00005 else ""
    handler = "?" if parts.handler is None else _milliseconds(parts.handler)
    return f" (lag: {shown}{doubt} | exec: {handler})"


def _milliseconds(seconds: float) -> str:
    number = f"{seconds * 1000:.0f}"
    return f"{'0' if number == '-0' else number}ms"


def caller(tree: Tree, span: Span) -> str:
    """Who made it: the process, else what its callee says of where it came from."""
    if span.caller is not None:
        return tree.labels[span.caller.process]
    return span.side.peer or "?"


def callee(tree: Tree, span: Span) -> str:
    """Who carried it out. A call that failed, or has not ended, and that nobody has told to have received,
    was perhaps not received.
    """
    if span.callee is not None:
        return tree.labels[span.callee.process]
    if span.side.kind == Kind.LOCAL:
        return tree.labels[span.side.process]
    received = "" if span.outcome == GOOD else " [Not Received]"
    return f"{span.service or '?'}{received}"


def who_answers(tree: Tree, span: Span) -> str:
    return tree.labels[span.callee.process] if span.callee is not None else span.service or "?"


def moment(at: float) -> str:
    """A time of day, in the zone of who reads, with microseconds."""
    seconds, microseconds = divmod(round(at * 1e6), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06}"


@lru_cache(1_000)
def _second(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def duration(seconds: float) -> str:
    """As 2.1 s, 98 ms or 0.4 ms."""
    if seconds >= 0.9995:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.00995 else f"{seconds * 1000:.1f} ms"
