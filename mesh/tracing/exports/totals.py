"""How often, how long and with how many errors each method was called since the collector began.

For Prometheus, so no number ever goes back: a row stays for good, and after MOST_ROWS what is new counts as
`(other)`. As with all rates, of all calls, not of those that are sampled.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import Kind
from mesh.tracing.counters import OTHER

BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds, the upper bounds of the buckets of durations."""
MOST_ROWS: Final = 1_000


_MOST_SECONDS: Final = 1e12
"""Of one row of one batch; what is no number is not below it either."""


class Row(NamedTuple):
    """side: "client" or "server"."""

    side: str
    service: str
    method: str


class Total(NamedTuple):
    """Calls of one row. buckets: how many of them are within each of BOUNDS, and above. seconds: of all."""

    errors: int
    buckets: list[int]
    seconds: float


_NONE: Final = Total(0, [0] * (len(BOUNDS) + 1), 0.0)


class Totals:
    """An Export; its numbers are read by any thread."""

    name = "metrics"

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._rows: dict[Row, Total] = {}
        self._lock = threading.Lock()

    def take(self, batch: RecordBatch, payload: bytes) -> None:
        with self._lock:
            for rate in batch.rates:
                row = self.row(rate.side, rate.service, rate.method)
                had = self._rows.get(row, _NONE)
                more = zip(had.buckets, rate.sketch.spread(BOUNDS), strict=True)
                seconds = rate.sketch.total
                self._rows[row] = Total(
                    had.errors + rate.errors,
                    [one + other for one, other in more],
                    had.seconds + (seconds if 0.0 < seconds < _MOST_SECONDS else 0.0),
                )

    def row(self, side: int, service: str, method: str) -> Row:
        """Where calls of that side and method count."""
        name = Kind(side).name.lower()
        found = Row(name, service, method)
        return found if found in self._rows or len(self._rows) < self._most else Row(name, OTHER, OTHER)

    def rows(self) -> list[tuple[Row, Total]]:
        """All of one moment."""
        with self._lock:
            return list(self._rows.items())

    def open_calls(self, still: Iterable[tuple[int, str, str, int]]) -> dict[Row, int]:
        """How many calls of each row are open. still: side, service, method and number of each process."""
        found: dict[Row, int] = {}
        for side, service, method, number in still:
            row = self.row(side, service, method)
            if row not in found and len(found) >= self._most:
                row = Row(row.side, OTHER, OTHER)
            found[row] = found.get(row, 0) + number
        return found

    def told(self) -> dict[str, Any]:
        return {"rows": len(self._rows)}

    def close(self, patience: float) -> None:
        """There is nothing to be sent: it is read."""
