"""A trace as a page gets it: rows of numbers, as 100,000 spans with all names written out would be 40 MB."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from mesh.core.trace_record import PENDING, TRACEBACK, Kind
from mesh.tracing import critical
from mesh.tracing.parts import parts_of
from mesh.tracing.tree import Span, Tree

MOST_TRACEBACKS: Final = 8 * 1024 * 1024
"""Characters of tracebacks in what a page is sent of one trace; the others are only in `mesh trace -j`."""
LEFT_OUT: Final = "left out: `mesh trace -j` has it"
_MICRO: Final = 1_000_000


def packed(tree: Tree) -> dict[str, Any]:
    """{"id", "cut", "dropped": records that its programs had no room for while it ran, "steps": how often a
    clock was set, "began": of the first span, in seconds since 1970,
    "processes": [{"label", "name", "host", "pid", …}], "texts": [text], "spans": [row], "critical": [number
    of a row on the critical path]}. A row is

        [span id, number of the parent's row or -1, kind, service, method, outcome, began, took, caller,
         callee, parts, detail]

    with kind, service, method and outcome as numbers of texts, times in microseconds, `began` since the first
    span, `took` None while it is open, caller and callee as numbers of processes or None, parts as
    `Parts` has them, None for a span without two sides, and detail of both sides or None.
    """
    texts: dict[str, int] = {}
    first = tree.spans[0].began if tree.spans else 0.0
    numbers = {span.span_id: number for number, span in enumerate(tree.spans)}
    left = MOST_TRACEBACKS
    rows = []
    for span in tree.spans:
        detail = _detail(span)
        if detail is not None and TRACEBACK in detail:
            left -= len(str(detail[TRACEBACK]))
            if left < 0:
                detail[TRACEBACK] = LEFT_OUT
        rows.append(_row(span, numbers, texts, first, detail))
    return {
        "id": tree.trace_id,
        "cut": tree.cut,
        "dropped": sum(number for _, number in tree.lost),
        "steps": tree.clocks.steps,
        "began": first,
        "processes": [
            {"label": label, **about._asdict()}
            for (_, about), label in zip(tree.processes, tree.labels, strict=True)
        ],
        "texts": list(texts),
        "spans": rows,
        "critical": [numbers[step.span.span_id] for step in critical.path(tree)],
    }


def _row(
    span: Span, numbers: dict[str, int], texts: dict[str, int], first: float, detail: dict[str, Any] | None
) -> tuple[Any, ...]:
    side, caller, callee = span.side, span.caller, span.callee
    names = (Kind(side.kind).name.lower(), side.service, side.method, span.outcome)
    return (
        span.span_id,
        numbers[span.parent.span_id] if span.parent is not None else -1,
        *[texts.setdefault(name, len(texts)) for name in names],
        round((span.began - first) * _MICRO),
        None if span.outcome == PENDING else round(span.took * _MICRO),
        caller.process if caller is not None else None,
        callee.process if callee is not None else None,
        None if side.kind == Kind.LOCAL else [_micro(part) for part in parts_of(span)],
        detail,
    )


def _micro(seconds: float | None) -> int | None:
    return None if seconds is None or not isfinite(seconds) else round(seconds * _MICRO)


def _detail(span: Span) -> dict[str, Any] | None:
    sides = [side.detail for side in (span.callee, span.caller) if side is not None and side.detail]
    return {key: value for detail in sides for key, value in detail.items()} if sides else None
