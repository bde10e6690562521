"""What a store keeps: of each trace its pieces, one of each batch that has told of it.

    [process, name, host, pid, boot, release, shift, cut, rows]

shift: seconds from the times in it, which are of a clock of the process, to its time of day. cut: how many
more records were not kept, as the trace had too many. A row is a `Record` without its trace:

    [kind, span, parent, service, method, began, started, ended, outcome, peer, detail]

Pieces are packed, and follow each other without anything between them, so that a store only has to put them
together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.trace_batch import About, RecordBatch
from mesh.core.trace_record import OPEN, Record

MOST_BYTES: Final = 2**31 - 1


class Side(NamedTuple):
    """One side of a span, as a trace is read. process: its number within the trace. began, started, ended:
    seconds of the process's own time of day. The others are as in `Record`.
    """

    process: int
    kind: int
    span_id: str
    parent_id: str
    service: str
    method: str
    began: float
    started: float
    ended: float
    outcome: str
    peer: str
    detail: dict[str, Any] | None

    @property
    def is_open(self) -> bool:
        return bool(self.detail and self.detail.get(OPEN))


class Read(NamedTuple):
    """A trace as it was read. processes: the 16 bytes of each, and what it says of itself; a `Side` has the
    number of its own. cut: records that were not kept. dropped: how many each of the first processes had no
    room for, as far as was asked. offsets: how far clocks were apart, as calls of other traces tell: (number
    of a process with the first clock, of one with the second, when, low, high), in seconds.
    """

    trace_id: str
    sides: list[Side]
    processes: list[tuple[bytes, About]]
    cut: int = 0
    dropped: Sequence[int] = ()
    offsets: Sequence[tuple[int, int, float, float, float]] = ()


def by_trace(batch: RecordBatch) -> dict[str, list[Record]]:
    """The records of each trace that a batch tells of."""
    traces: dict[str, list[Record]] = {}
    for record in batch.records:
        rows = traces.get(record[1])
        if rows is None:
            traces[record[1]] = [record]
        else:
            rows.append(record)
    return traces


def pack(batch: RecordBatch, records: Iterable[Record], cut: int = 0) -> bytes:
    """The piece of one trace. records: those of the batch that belong to it, and are to be kept."""
    rows = [(record[0], *record[2:]) for record in records]
    told = (batch.process, *batch.about, batch.wall - batch.monotonic, cut, rows)
    return bytes(msgpack.packb(told, unicode_errors="replace"))


def read(trace_id: str, pieces: Iterable[bytes]) -> Read:
    """All sides that pieces tell of. One that came twice is there twice: see `later`."""
    processes: dict[bytes, int] = {}
    abouts: list[tuple[bytes, About]] = []
    sides: list[Side] = []
    new, add = tuple.__new__, sides.append  # a trace may have 200,000 sides, and this halves their cost
    cut = 0
    for process, name, host, pid, boot, release, shift, more, rows in _each(pieces):
        number = processes.get(process)
        if number is None:
            number = processes[process] = len(processes)
            abouts.append((process, About(name, host, pid, boot, release)))
        cut += more
        for kind, span, parent, service, method, began, started, ended, outcome, peer, detail in rows:
            times = (began + shift, started + shift, ended + shift)
            add(new(Side, (number, kind, span, parent, service, method, *times, outcome, peer, detail)))
    return Read(trace_id, sides, abouts, cut)


def later(one: Side, other: Side) -> Side:
    """Which of two that tell of the same side counts: what had not ended when it was told of gives way to its
    end, and what came twice is there once.
    """
    if one.is_open != other.is_open:
        return other if one.is_open else one
    return other if other.ended > one.ended else one


def _each(pieces: Iterable[bytes]) -> Iterator[Any]:
    for piece in pieces:
        unpacker = msgpack.Unpacker(
            None, raw=False, strict_map_key=False, use_list=False, max_buffer_size=MOST_BYTES
        )
        unpacker.feed(piece)
        yield from unpacker
