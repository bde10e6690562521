"""What made a trace take its time: the critical path, each call's own time, and what could be otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mesh.tracing.tree import Span, Tree

MOST: Final = 20
OFTEN: Final = 3
"""Times that the same call is made by one other before it is told."""


class Step(NamedTuple):
    """A stretch of the critical path: nothing would have ended sooner had it not been for this span's own
    work. own: seconds of the path that it was by itself.
    """

    depth: int
    span: Span
    own: float


class InTurn(NamedTuple):
    """Calls that one span made one after another. saved: seconds that it would have taken less, had they run
    side by side, which is only right if none needs another's answer.
    """

    parent: Span
    calls: list[Span]
    saved: float


class Repeated(NamedTuple):
    """The same method called again and again by one span. took: seconds in all."""

    parent: Span
    calls: list[Span]
    took: float


def path(tree: Tree) -> list[Step]:
    """The critical path of the trace's longest root, from the beginning."""
    if not tree.roots:
        return []
    root = max(tree.roots, key=lambda span: span.took)
    own: dict[str, list[float]] = {}
    order: list[tuple[int, Span]] = []
    waiting: list[tuple[int, Span, float]] = [(0, root, root.ended)]
    while waiting:
        depth, span, until = waiting.pop()
        order.append((depth, span))
        mine, taken = 0.0, []
        until = latest = min(until, span.ended)
        for child in sorted(span.children, key=lambda one: one.ended, reverse=True):
            end = min(child.ended, latest)
            if end > until or child.began >= end or until <= span.began:
                continue  # it ran beside what the path leads through
            mine += max(until - end, 0.0)
            taken.append((depth + 1, child, end))
            until = max(child.began, span.began)
        mine += max(until - span.began, 0.0)
        own.setdefault(span.span_id, []).append(mine)
        waiting += taken  # the last of them began first, and is looked at next
    return [Step(depth, span, sum(own[span.span_id])) for depth, span in order]


def own_time(span: Span) -> float:
    """Seconds in which a span ran, and nothing that it has called."""
    return max(span.took - _covered(span.children, span.began, span.ended), 0.0)


def _covered(spans: Iterable[Span], began: float, ended: float) -> float:
    """Seconds in which any of these ran."""
    total, end = 0.0, began
    for span in sorted(spans, key=lambda one: one.began):
        start = max(span.began, end)
        stop = min(span.ended, ended)
        if stop > start:
            total += stop - start
            end = stop
    return total


def in_turn(tree: Tree) -> list[InTurn]:
    """What could have run side by side, the most that could be saved first."""
    found = [one for span in tree.spans if len(span.children) > 1 for one in _runs(span)]
    return sorted(found, key=lambda one: -one.saved)[:MOST]


def _runs(parent: Span) -> Iterator[InTurn]:
    run: list[Span] = []
    end = float("-inf")
    for child in [*parent.children, None]:
        if child is not None and child.began >= end:
            run.append(child)
            end = child.ended
            continue
        if len(run) > 1:
            saved = sum(one.took for one in run) - max(one.took for one in run)
            if saved > 0:
                yield InTurn(parent, run, saved)
        if child is not None:
            run = [child]
            end = max(end, child.ended)


def repeated(tree: Tree) -> list[Repeated]:
    """Calls that were made again and again, what took longest in all first."""
    found = []
    for span in tree.spans:
        if len(span.children) < OFTEN:
            continue
        groups: dict[tuple[str, str], list[Span]] = {}
        for child in span.children:
            groups.setdefault((child.service, child.method), []).append(child)
        found += [
            Repeated(span, calls, sum(call.took for call in calls))
            for calls in groups.values()
            if len(calls) >= OFTEN
        ]
    return sorted(found, key=lambda one: -one.took)[:MOST]
