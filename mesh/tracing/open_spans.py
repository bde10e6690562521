"""The spans that processes have told of as still open: one that has ended is taken out.

What is here is what the last sweeps said, and not asked: where a process can be asked, that counts. Of one
that is still open a process tells again whenever its age has doubled; where it does not, it has ended, though
nobody has said so: that was dropped, or came before what is older.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import OPEN, Kind, Record

MOST: Final = 10_000
SPARE: Final = 1.5
"""Of the age at which one was told of, until it is to be told of again; that is so after one such age."""
GRACE: Final = 10.0
"""Seconds that what is told may be under way."""
Key = tuple[bytes, str, str, int]


class OpenSpans:
    """By process, trace, span and side; the one that was told of the longest ago goes first."""

    def __init__(self) -> None:
        self._open: OrderedDict[Key, tuple[Record, float, float]] = OrderedDict()
        """What was told, when it began, and when that was heard last; both by the time of day."""

    def __len__(self) -> int:
        return len(self._open)

    def take(self, batch: RecordBatch, wall: float) -> None:
        """Take in what a batch tells. wall: the time of day."""
        process, shift = batch.process, batch.wall - batch.monotonic
        for record in batch.records:
            detail = record[11]
            if detail is not None and OPEN in detail:
                key = (process, record[1], record[2], record[0])
                # Without its detail, whose tags may be large, and which nobody asks for.
                self._open[key] = Record(*record[:-1]), record.began + shift, wall
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
            for (process, trace_id, span_id, kind), (record, began, heard) in self._open.items()
            if process in wanted and service in (None, record.service) and not _is_over(record, wall - heard)
        ]
        return sorted(rows, key=lambda row: -float(row["age"]))


def _is_over(record: Record, since: float) -> bool:
    """Whether it must have ended, as it was not told of again. since: seconds since it was."""
    return since > SPARE * (record.ended - record.began) + GRACE
