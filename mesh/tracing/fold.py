"""Equal siblings as one: what a person reads of a trace of many thousand spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mesh.tracing.tree import Span

FEWEST: Final = 4
"""Siblings of one service, method and outcome from which on they are shown as one."""


class Fold:
    """One span, or several that are equal but for their times, and what they have caused all together."""

    __slots__ = ("_children", "spans")

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self._children: list[Fold] | None = None

    @property
    def first(self) -> Span:
        return self.spans[0]

    @property
    def longest(self) -> Span:
        return max(self.spans, key=lambda span: span.took)

    @property
    def children(self) -> list[Fold]:
        if self._children is None:
            self._children = folded(child for span in self.spans for child in span.children)
        return self._children


def folded(spans: Iterable[Span]) -> list[Fold]:
    """Siblings, by when the first of each began."""
    groups: dict[tuple[str, str, str], list[Span]] = {}
    for span in spans:
        side = span.side
        groups.setdefault((side.service, side.method, span.outcome), []).append(span)
    folds = []
    for group in groups.values():
        folds += [Fold(group)] if len(group) >= FEWEST else [Fold([span]) for span in group]
    folds.sort(key=lambda fold: fold.first.began)
    return folds


def walk(folds: list[Fold]) -> Iterator[tuple[int, bool, Fold]]:
    """All from the top down, each with its depth and whether it is the last of its siblings."""
    waiting = [(0, number == 0, fold) for number, fold in enumerate(reversed(folds))]
    while waiting:
        depth, last, fold = waiting.pop()
        yield depth, last, fold
        waiting += [(depth + 1, number == 0, child) for number, child in enumerate(reversed(fold.children))]
