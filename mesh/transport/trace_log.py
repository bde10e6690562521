"""The records of a process in its own log, for whoever wants them in a file: a line for each, also of what is
still open.

They go to the logger `mesh.trace`, a LogRecord for each batch. Nobody gets them who has not added a handler
to that very logger: for a program's log they are too many.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from mesh.core.trace_batch import RecordBatch, unpack
from mesh.core.trace_record import Kind, Record
from mesh.errors import WireError

_log: Final = logging.getLogger("mesh.trace")
_log.propagate = False


class _Lines:
    """The text of a batch, made where a handler asks for it."""

    def __init__(self, batch: RecordBatch) -> None:
        self._batch = batch

    def __str__(self) -> str:
        return "\n".join(map(_harmless, map(self._line, self._batch.records)))

    def _line(self, record: Record) -> str:
        batch, about = self._batch, self._batch.about
        at = datetime.fromtimestamp(record.began + batch.wall - batch.monotonic)
        here = f"{about.name}@{about.host}:{about.pid}"
        took = (record.ended - record.began) * 1000
        side = Kind(record.kind).name.lower()
        where = f"{record.service}.{record.method}"
        return f"[{at}] {record.trace_id} {here} {side} {where} {record.outcome} ({took:.0f}ms)"


def _harmless(line: str) -> str:
    """Without what a terminal would obey: names of errors, for one, are other programs' texts."""
    return line if line.isprintable() else "".join(char if char.isprintable() else " " for char in line)


def tell_log(batch: bytes) -> None:
    """Give it to whoever listens. Never raises."""
    if not _log.handlers:
        return
    try:
        found = unpack(batch)
    except WireError:  # the collector says so, too
        return
    if not found.records:
        return
    record = _log.makeRecord(_log.name, logging.INFO, __file__, 0, _Lines(found), (), None)
    record.records = found.records
    try:
        _log.handle(record)
    except Exception:
        if logging.raiseExceptions:
            logging.getLogger("mesh.tracing").exception("a handler of the logger mesh.trace has failed")
