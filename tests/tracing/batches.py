"""Batches of records as programs would send them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from mesh.core import record_rows
from mesh.core.record_rows import MAX_RECORDS, KeptRecords
from mesh.core.sketch import Sketch
from mesh.core.trace_batch import About, Rate, pack
from mesh.core.trace_record import Kind, Record
from mesh.tracing import pieces
from mesh.tracing.pieces import Read

NOW = 1_331_160_000.0
"""When the tests' traces begin: seconds since 1970."""
TRACE = "8f3a2c00" * 4
_numbers = count(1)


def record(
    kind: Kind,
    span: str,
    parent: str = "",
    call: str = "orders.place",
    began: float = 0.0,
    ended: float = 1.0,
    *,
    started: float | None = None,
    outcome: str = "OK",
    trace: str = TRACE,
    peer: str = "",
    detail: dict[str, Any] | None = None,
) -> Record:
    """Times in seconds since NOW. span, parent: short texts."""
    service, _, method = call.rpartition(".")
    first = began if started is None else started
    ids = trace, as_span(span), parent and as_span(parent)
    return Record(kind, *ids, service, method, began, first, ended, outcome, peer, detail)


def as_span(text: str) -> str:
    """16 hexadecimal digits."""
    return text.encode().hex().ljust(16, "0")[:16]


def records_in(kept: KeptRecords) -> list[Record]:
    """What is kept, as a collector reads it; nothing is kept any more. It is of the last seconds."""
    some, found = kept.take(MAX_RECORDS), []
    beside = [list(one) for one in some.beside]
    found += record_rows.records(b"".join(some.rows), some.texts, beside, 0.0)
    return found


def packed(
    process: bytes,
    number: int,
    wall: float,
    monotonic: float,
    about: About,
    records: Iterable[Record],
    rates: Iterable[Rate],
    dropped: int,
) -> bytes:
    """The batch of these records."""
    kept = KeptRecords(lambda: monotonic)
    for one in records:
        kept.add(*one)
    return pack(process, number, wall, monotonic, about, kept.take(len(kept)), rates, dropped)


class Program:
    """A process that tells. ahead: seconds that its clock is ahead of the true time."""

    def __init__(self, name: str, host: str = "", boot: str = "", ahead: float = 0.0, pid: int = 1) -> None:
        self.identity = next(_numbers).to_bytes(16, "big")
        self.about = About(name, host or name, pid, boot or f"boot of {host or name}", "")
        self.ahead = ahead
        self._numbers = count(1)

    def batch(
        self,
        *records: Record,
        rates: Iterable[Rate] = (),
        number: int | None = None,
        dropped: int = 0,
        ahead: float | None = None,
    ) -> bytes:
        wall = NOW + (self.ahead if ahead is None else ahead)
        which = next(self._numbers) if number is None else number
        return packed(self.identity, which, wall, 0.0, self.about, records, rates, dropped)


def rate(side: Kind, caller: str, call: str, took: Iterable[float], errors: int = 0, still: int = 0) -> Rate:
    """All calls of a second."""
    sketch = Sketch()
    sketch.add(took)
    service, _, method = call.rpartition(".")
    return Rate(side, caller, service, method, 1.0, errors, still, sketch)


def read(*batches: bytes, trace: str = TRACE) -> Read:
    """The trace that these tell of, as a store would give it."""
    from mesh.core.trace_batch import unpack

    found = []
    for batch in map(unpack, batches):
        records = pieces.by_trace(batch).get(trace)
        if records:
            found.append(pieces.pack(batch, records))
    return pieces.read(trace, found)
