"""Many records in one message, some 70 bytes for each: what a process sends to its collector.

    [2, process, number, [wall, monotonic], about, texts, rows, beside, names, rates, dropped]

process: 16 random bytes, made anew in the child of a fork. number: counts the process's batches, so that one
that comes twice is known. wall, monotonic: two clocks of the process at one moment, in seconds. about: what
the process says of itself (`About`). texts: what rows refer to by number. rows: the records, one after the
other, and beside what some of them have besides, as core/record_rows.py has both; their times are those of
the second clock. names: what rates refer to by number. A row of rates is
`[side, caller, service, method, seconds, errors, open, sketch]` over all calls of so many seconds, not over
those recorded alone. dropped: how many records were thrown away since the last batch.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.elements import within
from mesh.core.record_rows import MAX_TEXT, ROW, RowSlice, records
from mesh.core.sketch import Sketch
from mesh.core.trace_record import Kind, Record
from mesh.core.wire import UNREADABLE
from mesh.errors import WireError

VERSION: Final = 2
MAX_RECORDS: Final = 1_000
"""Records, or rows of rates, of one batch."""
MAX_BYTES: Final = 1024 * 1024
_MOST_COUNTED: Final = 2**40
"""Errors, open calls or dropped records of one batch: sums of very many are to travel, too."""
_MOST_VALUES: Final = 400_000
_KINDS: Final = frozenset(Kind)


class About(NamedTuple):
    """What a process says of itself. name: the service that it serves, or the program's name. boot: the
    kernel's id of this start of the host, so that two processes with one share a clock. release: of the
    program, from MESH_RELEASE; "".
    """

    name: str = ""
    host: str = ""
    pid: int = 0
    boot: str = ""
    release: str = ""


class Rate(NamedTuple):
    """All calls of one method in some seconds. side: as `Record.kind`. caller: the service that calls; "" at
    a server, which does not know. open: how many were open at the end.
    """

    side: int
    caller: str
    service: str
    method: str
    seconds: float
    errors: int
    open: int
    sketch: Sketch


class RecordBatch(NamedTuple):
    """Its records have the times of the process's own clock; `wall - monotonic` is what leads to the time of
    day.
    """

    process: bytes
    number: int
    wall: float
    monotonic: float
    about: About
    records: list[Record]
    rates: list[Rate]
    dropped: int


def pack(
    process: bytes,
    number: int,
    wall: float,
    monotonic: float,
    about: About,
    kept: RowSlice,
    rates: Iterable[Rate],
    dropped: int,
) -> bytes:
    """One batch. kept, rates: MAX_RECORDS of each at the most."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    told = [
        (
            row.side,
            numbers[row.caller],
            numbers[row.service],
            numbers[row.method],
            *row[4:7],
            row.sketch.pack(),
        )
        for row in rates
    ]
    whole = (
        VERSION,
        process,
        number,
        (wall, monotonic),
        tuple(about),
        kept.texts,
        b"".join(kept.rows),
        kept.beside,
        [name[:MAX_TEXT] for name in numbers],
        told,
        dropped,
    )
    return bytes(msgpack.packb(whole, use_bin_type=True, unicode_errors="replace"))


def unpack(payload: bytes) -> RecordBatch:
    """The batch in a message. Raises WireError for what is none, or is larger than one may be."""
    if len(payload) > MAX_BYTES or not within(payload, _MOST_VALUES):
        raise WireError(f"a batch of records of {len(payload)} bytes is larger than one may be")
    try:
        whole = msgpack.unpackb(payload, raw=False, strict_map_key=False)
        version, process, number, (wall, monotonic), about, texts, rows, beside, names, rates, dropped = whole
        if version != VERSION:
            raise WireError(f"a batch of records of version {version!r:.20}; this collector knows {VERSION}")
        _check_head(process, number, wall, monotonic, dropped)
        _check_texts(texts)
        _check_texts(names)
        if not (type(rows) is bytes and type(beside) is type(rates) is list):
            raise ValueError
        if max(len(rows) // ROW.size, len(beside), len(rates)) > MAX_RECORDS:
            raise ValueError
        return RecordBatch(
            process,
            number,
            wall,
            monotonic,
            _about(about),
            records(rows, texts, beside, monotonic),
            [_rate(row, names) for row in rates],
            dropped,
        )
    except (*UNREADABLE, IndexError, struct.error) as exc:
        if isinstance(exc, WireError):
            raise
        raise WireError("a batch of records can't be read") from None


def _check_head(process: object, number: object, wall: object, monotonic: object, dropped: object) -> None:
    if not (
        type(process) is bytes
        and len(process) == 16
        and type(number) is type(dropped) is int
        and 0 <= dropped < _MOST_COUNTED
        and type(wall) is type(monotonic) is float
        and abs(wall) < 1e11  # also false for what is no number
        and abs(monotonic) < 1e11
    ):
        raise ValueError


def _check_texts(texts: object) -> None:
    if type(texts) is not list or not all(type(text) is str and len(text) <= MAX_TEXT for text in texts):
        raise ValueError


def _about(about: Sequence[object]) -> About:
    name, host, pid, boot, release = about
    texts = (name, host, boot, release)
    if type(pid) is not int or not all(type(text) is str and len(text) <= MAX_TEXT for text in texts):
        raise ValueError
    return About(str(name), str(host), pid, str(boot), str(release))


def _rate(row: Sequence[Any], texts: Sequence[str]) -> Rate:
    side, caller, service, method, seconds, errors, open_calls, sketch = row
    if (
        type(side) is not int
        or side not in _KINDS
        or type(seconds) is not float
        or not 0 < seconds < 1e6
        or type(errors) is not int
        or type(open_calls) is not int
        or min(errors, open_calls, caller, service, method) < 0
        or max(errors, open_calls) > _MOST_COUNTED
    ):
        raise ValueError
    return Rate(
        side, texts[caller], texts[service], texts[method], seconds, errors, open_calls, Sketch.unpack(sketch)
    )
