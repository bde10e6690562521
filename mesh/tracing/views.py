"""A trace as lines to read, beside its talk: as a tree, and by what made it slow; and as values of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mesh.core.trace_record import GOOD, LATE, MESSAGE, PENDING, Kind
from mesh.tracing import critical
from mesh.tracing.fold import Fold, folded, walk
from mesh.tracing.parts import parts_of
from mesh.tracing.talk import TIMES, callee, caller, duration
from mesh.tracing.tree import Span, Tree

DEEPEST: Final = 40
"""Levels that are indented; what is deeper is told by a number."""


def tree_lines(tree: Tree, raw: bool = False) -> Iterator[str]:
    """The spans under each other."""
    open_above: list[bool] = []
    for depth, last, fold in walk(folded(tree.roots)):
        del open_above[depth:]
        yield f"{_branches(open_above, depth, last)}{_of_fold(tree, fold, raw)}"
        open_above.append(not last)


def _branches(open_above: list[bool], depth: int, last: bool) -> str:
    if not depth:
        return ""
    if depth > DEEPEST:
        return f"… {depth} levels down: "
    above = "".join("│  " if goes_on else "   " for goes_on in open_above[1:depth])
    return f"{above}{'└─ ' if last else '├─ '}"


def _of_fold(tree: Tree, fold: Fold, raw: bool) -> str:
    if len(fold.spans) > 1:
        span = fold.longest
        total = sum(one.took for one in fold.spans)
        times = f"{TIMES}{len(fold.spans):,}, max {duration(span.took)}, {duration(total)} in all"
        return f"{_name(span)} {times}{_outcome(span)}"
    span = fold.first
    told = [_name(span), f"{caller(tree, span)} → {callee(tree, span)}", duration(span.took)]
    parts = parts_of(span, raw)
    waits = [
        f"{name} {duration(value)}"
        for name, value in (
            ("held", parts.hold),
            ("hub", parts.hub),
            ("queue", parts.queue),
            ("credit", parts.credit),
        )
        if value is not None and value >= 0.001
    ]
    if waits:
        told.append(f"({', '.join(waits)})")
    if span.lost_parent:
        told.append("[its caller's span was never told]")
    if any(side.detail and side.detail.get(LATE) for side in (span.caller, span.callee) if side):
        told.append("[spans beside it are missing]")
    if span.side.kind == Kind.LOCAL:
        told[1] = tree.labels[span.side.process]
    return "  ".join(told) + _outcome(span)


def _name(span: Span) -> str:
    return span.method if span.side.kind == Kind.LOCAL else f"{span.service}.{span.method}"


def _outcome(span: Span) -> str:
    if span.outcome == GOOD:
        return ""
    message = next(
        (
            str(side.detail[MESSAGE])
            for side in (span.callee, span.caller)
            if side and side.detail and side.detail.get(MESSAGE)
        ),
        "",
    )
    # The text of an error that was passed on begins with its name, at each call that it has ended once more.
    name = f"{span.outcome}: "
    while f"{message}: ".startswith(name):
        message = message[len(name) :]
    return f"  {span.outcome}" + (f": {message[:200]}" if message else "")


def critical_lines(tree: Tree) -> Iterator[str]:
    """What made it slow."""
    steps = critical.path(tree)
    yield "critical path, with each call's own time on it:"
    for depth, span, own in steps[:200]:
        yield f"  {duration(own):>9}  {'  ' * min(depth, DEEPEST)}{_name(span)}  {callee(tree, span)}"
    if len(steps) > 200:
        yield f"  … {len(steps) - 200:,} more"
    yield "most time of its own:"
    for span, own in _most_of_their_own(tree):
        yield f"  {duration(own):>9}  of {duration(span.took)}  {_name(span)}  {callee(tree, span)}"
    in_turn = critical.in_turn(tree)
    if in_turn:
        yield "one after another; side by side, if none needs another's answer, it would save:"
    for parent, calls, saved in in_turn[:10]:
        names = ", ".join(dict.fromkeys(_name(call) for call in calls[:50]))
        yield f"  {duration(saved):>9}  {len(calls):,} calls of {_name(parent)}: {names[:200]}"
    repeated = critical.repeated(tree)
    if repeated:
        yield "the same call again and again:"
    for parent, calls, took in repeated[:10]:
        yield f"  {duration(took):>9}  {_name(parent)} called {_name(calls[0])} {len(calls):,} times"


def jsonable(tree: Tree, raw: bool = False) -> dict[str, Any]:
    """All of a trace. Times in seconds since 1970, parts in seconds; see `Parts`."""
    return {
        "id": tree.trace_id,
        "cut": tree.cut,
        "dropped": dict(tree.lost),
        "processes": [
            {"process": identity.hex(), "label": label, **about._asdict()}
            for (identity, about), label in zip(tree.processes, tree.labels, strict=True)
        ],
        "spans": [_span(tree, span, raw) for span in tree.spans],
    }


def jsonable_critical(tree: Tree) -> dict[str, Any]:
    """What made it slow, by the ids of spans, in seconds.

    path: the critical path, with the depth of each span and its own time on it. own: those with the most time
    of their own. in_turn: children of one span that ran one after another, and what they would save side by
    side. repeated: the same call made many times by one span, and what these took in all.
    """
    return {
        "path": [
            {"span": span.span_id, "depth": depth, "own": own} for depth, span, own in critical.path(tree)
        ],
        "own": [{"span": span.span_id, "own": own} for span, own in _most_of_their_own(tree)],
        "in_turn": [
            {"parent": parent.span_id, "spans": [one.span_id for one in calls], "saved": saved}
            for parent, calls, saved in critical.in_turn(tree)
        ],
        "repeated": [
            {"parent": parent.span_id, "spans": [one.span_id for one in calls], "took": took}
            for parent, calls, took in critical.repeated(tree)
        ],
    }


def _most_of_their_own(tree: Tree) -> list[tuple[Span, float]]:
    return sorted(((one, critical.own_time(one)) for one in tree.spans), key=lambda it: -it[1])[:10]


def _span(tree: Tree, span: Span, raw: bool) -> dict[str, Any]:
    side = span.side
    details = [one.detail for one in (span.callee, span.caller) if one is not None and one.detail]
    return {
        "span": span.span_id,
        "parent": span.parent.span_id if span.parent is not None else None,
        "kind": Kind(side.kind).name.lower(),
        "service": side.service,
        "method": side.method,
        "began": span.began,
        "took": None if span.outcome == PENDING else span.took,
        "outcome": span.outcome,
        "caller": span.caller.process if span.caller else None,
        "callee": span.callee.process if span.callee else None,
        "parts": parts_of(span, raw).told(),
        "detail": {key: value for detail in details for key, value in detail.items()} or None,
    }
