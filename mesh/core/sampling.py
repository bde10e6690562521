"""Which calls are recorded: decided where a trace begins, and once more where a call comes to a bad end.

The first call of each method in a second begins a recorded trace, and of the others a share. What belongs to
a trace carries its ids and is recorded by each side; a call without ids is not. Where such a one fails, or is
slow, it is recorded all the same, but for those that follow another of the same kind in the same second.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, log1p
from typing import Final

from mesh.core.span import Span
from mesh.core.span_ids import SpanIds

MAX_METHODS: Final = 1_000
"""Methods that are looked at in one second."""
_OFTEN: Final = 10**9


class Sampler:
    """random: from 0 to 1. ids: of the spans. rate: the share of traces that are recorded besides the first
    of a second.
    """

    __slots__ = ("_gap", "_ids", "_random", "_seen", "_told", "rate")

    def __init__(self, random: Callable[[], float], ids: SpanIds, rate: float) -> None:
        self._random = random
        self._ids = ids
        self._seen: set[str] = set()
        """The methods that began a trace in this second."""
        self._told: set[tuple[str, str]] = set()
        """The methods and errors of which this second has had one that was recorded for its bad end."""
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Record that share of the traces from now on."""
        self.rate = rate
        self._gap = self._next_gap()

    def _next_gap(self) -> int:
        """How many follow each other that are not recorded, so that most calls take no random number."""
        if self.rate >= 1:
            return 0
        return int(min(log(1 - self._random()) / log1p(-self.rate), _OFTEN)) if self.rate > 0 else _OFTEN

    def next_second(self) -> None:
        """From any thread."""
        self._seen, self._told = set(), set()

    def root(self, method: str) -> Span | None:
        """The span of a call that belongs to no trace and begins one; None where it is not to be recorded."""
        if method in self._seen or len(self._seen) >= MAX_METHODS:
            if self._gap:
                self._gap -= 1
                return None
            if self.rate < 1:
                self._gap = self._next_gap()
        else:
            self._seen.add(method)
        return self._new()

    def keep(self, method: str, why: str) -> Span | None:
        """The trace of a call that ended badly; None where one of the kind was recorded in this second."""
        kind = (method, why)
        if kind in self._told or len(self._told) >= MAX_METHODS:
            return None
        self._told.add(kind)
        return self._new()

    def _new(self) -> Span:
        # Its first span has the trace's first digits, as to make others takes as long again. The beginning
        # of a trace's id is what people type: it has to differ.
        digits = self._ids.next()
        return Span(digits + self._ids.process, digits)

    def child(self, parent: Span) -> Span:
        """A span of what is done within another."""
        return Span(parent.trace_id, self._ids.next(), parent.span_id)
