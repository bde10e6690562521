"""The spans that processes have told of as still open: one that has ended is taken out.

What is here is what the last sweeps said, and not asked: where a process can be asked, that counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import OPEN, Kind, Record

MOST: Final = 10_000
Key = tuple[bytes, str, str, int]


class OpenSpans:
    """By process, trace, span and side; the one that was told of the longest ago goes first."""

    def __init__(self) -> None:
        self._open: OrderedDict[Key, tuple[Record, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, batch: RecordBatch) -> None:
        """Take in what a batch tells."""
        process, shift = batch.process, batch.wall - batch.monotonic
        for record in batch.records:
            detail = record[11]
            if detail is not None and OPEN in detail:
                key = (process, record[1], record[2], record[0])
                # Without its detail, whose tags may be large, and which nobody asks for.
                self._open[key] = Record(*record[:-1]), record.began + shift
                self._open.move_to_end(key)
                if len(self._open) > MOST:
                    self._open.popitem(last=False)
            elif self._open:
                self._open.pop((process, record[1], record[2], record[0]), None)

    def rows(self, processes: Iterable[bytes], service: str | None, wall: float) -> list[dict[str, Any]]:
        """Those of these processes, oldest first; see `Collector.open_calls`. wall: the time of day."""
        wanted = set(processes)
        rows = [
            {
                "id": span_id,
                "parent_id": record.parent_id,
                "trace_id": trace_id,
                "service": record.service,
                "method": record.method,
                "side": Kind(kind).name.lower(),
                "age": max(wall - began, 0.0),
                "peer": record.peer,
                "process": process.hex(),
            }
            for (process, trace_id, span_id, kind), (record, began) in self._open.items()
            if process in wanted and service in (None, record.service)
        ]
        return sorted(rows, key=lambda row: -float(row["age"]))
