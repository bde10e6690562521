"""What a process tells its collector of all its calls: how many there were, how long they took, and which
are open.

Not of those that are recorded alone: rates and latencies that were guessed from samples would be wrong where
it matters.
"""

from __future__ import annotations

from typing import Final

from mesh.core.recording import OTHER, Recorder
from mesh.core.sketch import Sketch
from mesh.core.span import Span
from mesh.core.trace_batch import Rate
from mesh.core.trace_record import OPEN, PENDING, Kind

MAX_ROWS: Final = 2_000
"""Methods that are counted apart; what comes over it goes together."""
FIRST_TOLD: Final = 1.0
"""Seconds after which a call that is open is told of, and again when that time has doubled."""
MAX_OPEN: Final = 1_000
"""Open calls that are told of in one second."""

Key = tuple[Kind, str, str]


class _Row:
    __slots__ = ("errors", "open", "sketch")

    def __init__(self) -> None:
        self.sketch = Sketch()
        self.errors = 0
        self.open = 0


class Counting:
    """name: the process's own, which is the caller of its calls; it may change, as a server may begin after
    the first client. rates: what is to be sent.
    """

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.rates: list[Rate] = []
        self._recorder = recorder
        self.name = name
        self._rows: dict[Key, _Row] = {}
        self._since = recorder.clock()
        self._looked = self._since
        self._told = 0
        self._failed: dict[Key, int] = {}
        """Calls that had failed when they were counted last."""

    def take(self, most: int) -> list[Rate]:
        """Those that go with the next batch."""
        taken, self.rates = self.rates[:most], self.rates[most:]
        return taken

    def second(self, now: float) -> None:
        """A second has passed: count the calls that have ended in it."""
        self._recorder.next_second()
        for times in list(self._recorder.times.values()):
            for method, taken in times.drain():
                self._row(times.side, times.service, method).sketch.add(taken)
            for method, failed in list(times.failed.items()):
                before = self._failed.get((times.side, times.service, method), 0)
                if failed > before:
                    self._row(times.side, times.service, method).errors += failed - before
                    self._failed[times.side, times.service, method] = failed
        self._looked, self._told = now, 0
        if self.rates:  # the collector is away: this second goes with the next
            for row in self._rows.values():
                row.open = 0  # they are counted anew
            return
        seconds, self._since = max(now - self._since, 1e-3), now
        rows, self._rows = self._rows, {}
        for (side, service, method), row in rows.items():
            caller = self.name if side != Kind.SERVER else ""
            self.rates.append(Rate(side, caller, service, method, seconds, row.errors, row.open, row.sketch))

    def _row(self, side: Kind, service: str, method: str) -> _Row:
        key = (side, service, method)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MAX_ROWS:
                key = (side, service, OTHER)
                if key in self._rows:
                    return self._rows[key]
            row = self._rows[key] = _Row()
        return row

    def open_call(
        self,
        side: Kind,
        service: str,
        method: str,
        began: float,
        started: float,
        span: Span | None,
        peer: str,
        now: float,
    ) -> None:
        """A call is open. Where it is one that is recorded, and has been open for long, that is told."""
        self._row(side, service, method).open += 1
        if span is None or self._told >= MAX_OPEN or not _due(self._looked - began, now - began):
            return
        self._told += 1
        ids = (span.trace_id, span.span_id, span.parent_id)
        times = (began, started or now, now)
        self._recorder.kept.add(side, *ids, service, method, *times, PENDING, peer, {OPEN: True})


def _due(before: float, after: float) -> bool:
    """Whether an age has passed the first one of which to tell, or has doubled since, between two looks."""
    at = FIRST_TOLD
    while at <= after:
        if at > before:
            return True
        at *= 2
    return False
