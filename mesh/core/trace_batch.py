"""Many records in one message, some 60 bytes for each: what a process sends to its collector.

    [1, process, number, [wall, monotonic], about, texts, records, rates, dropped]

process: 16 random bytes, made anew in the child of a fork. number: counts the process's batches, so that one
that comes twice is known. wall, monotonic: two clocks of the process at one moment, in seconds. about: what
the process says of itself (`About`). texts: what records refer to by number. A record is

    [kind, ids, service, method, began, wait, took, outcome, peer, detail]

with ids the bytes of trace, span and parent (or a list of three texts, where the trace's id is another
program's), and times in microseconds: from `monotonic` to `began`, from there to `started` and to `ended`.
A row of rates is `[side, caller, service, method, seconds, errors, open, sketch]` over all calls of so many
seconds, not over those recorded alone. dropped: how many records were thrown away since the last batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.elements import within
from mesh.core.sketch import Sketch
from mesh.core.span import MOST_CHARS, as_id
from mesh.core.trace_record import Kind, Record
from mesh.core.wire import UNREADABLE
from mesh.errors import WireError

VERSION: Final = 1
MAX_RECORDS: Final = 1_000
"""Records, or rows of rates, of one batch."""
MAX_BYTES: Final = 1024 * 1024
MAX_TEXT: Final = 200
"""Characters of a name."""
MAX_DETAIL: Final = 64 * 1024
"""Characters of a text in a detail."""
_MOST_VALUES: Final = 400_000
_KINDS: Final = frozenset(Kind)
_LONG_AGO: Final = 10**13
"""Microseconds between a record and its batch, at the most."""


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
    records: Iterable[Sequence[Any]],
    rates: Iterable[Rate],
    dropped: int,
) -> bytes:
    """One batch. records: in the order of `Record`, MAX_RECORDS at the most; so are the rates."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    rows = _rows(records, numbers, monotonic)
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
        [name[:MAX_TEXT] for name in numbers],
        [row for row in rows if row[1] is not None],
        told,
        dropped,
    )
    return bytes(msgpack.packb(whole, use_bin_type=True, unicode_errors="replace"))


def _rows(records: Iterable[Sequence[Any]], numbers: dict[str, int], monotonic: float) -> list[Any]:
    return [
        (
            kind,
            _ids(trace_id, span_id, parent_id),
            numbers[service],
            numbers[method],
            int((began - monotonic) * 1e6),
            int((started - began) * 1e6),
            int((ended - began) * 1e6),
            numbers[outcome],
            numbers[peer],
            detail,
        )
        for (
            kind,
            trace_id,
            span_id,
            parent_id,
            service,
            method,
            began,
            started,
            ended,
            outcome,
            peer,
            detail,
        ) in records
    ]


def _ids(trace_id: Any, span_id: Any, parent_id: str) -> object:
    """As they travel; None for what can be none, as a peer's header may hold anything."""
    try:
        if len(trace_id) == 32 and len(span_id) == 16:
            return bytes.fromhex(trace_id + span_id + parent_id)
    except (TypeError, ValueError):
        pass  # an id of another program
    trace_id = as_id(trace_id)
    return (trace_id, as_id(span_id), parent_id) if trace_id else None


def unpack(payload: bytes) -> RecordBatch:
    """The batch in a message. Raises WireError for what is none, or is larger than one may be."""
    if len(payload) > MAX_BYTES or not within(payload, _MOST_VALUES):
        raise WireError(f"a batch of records of {len(payload)} bytes is larger than one may be")
    try:
        whole = msgpack.unpackb(payload, raw=False, strict_map_key=False)
        version, process, number, (wall, monotonic), about, texts, records, rates, dropped = whole
        if version != VERSION:
            raise WireError(f"a batch of records of version {version!r:.20}; this collector knows {VERSION}")
        _check(process, number, wall, monotonic, texts, records, rates, dropped)
        return RecordBatch(
            process,
            number,
            wall,
            monotonic,
            _about(about),
            [_record(row, texts, monotonic) for row in records],
            [_rate(row, texts) for row in rates],
            dropped,
        )
    except (*UNREADABLE, IndexError) as exc:
        if isinstance(exc, WireError):
            raise
        raise WireError("a batch of records can't be read") from None


def _check(
    process: object,
    number: object,
    wall: object,
    monotonic: object,
    texts: object,
    records: object,
    rates: object,
    dropped: object,
) -> None:
    if not (
        type(process) is bytes
        and len(process) == 16
        and type(number) is type(dropped) is int
        and type(wall) is type(monotonic) is float
        and type(texts) is type(records) is type(rates) is list
        and len(records) <= MAX_RECORDS
        and len(rates) <= MAX_RECORDS
        and all(type(text) is str and len(text) <= MAX_TEXT for text in texts)
        and abs(wall) < 1e11  # also false for what is no number
        and abs(monotonic) < 1e11
    ):
        raise ValueError


def _about(about: Sequence[object]) -> About:
    name, host, pid, boot, release = about
    texts = (name, host, boot, release)
    if type(pid) is not int or not all(type(text) is str and len(text) <= MAX_TEXT for text in texts):
        raise ValueError
    return About(str(name), str(host), pid, str(boot), str(release))


def _record(row: Sequence[Any], texts: Sequence[str], monotonic: float) -> Record:
    kind, ids, service, method, began, wait, took, outcome, peer, detail = row
    if type(ids) is bytes and len(ids) in (24, 32):
        digits = ids.hex()
        trace_id, span_id, parent_id = digits[:32], digits[32:48], digits[48:]
    else:
        trace_id, span_id, parent_id = (as_id(one) for one in ids)
    if (
        kind not in _KINDS
        or not trace_id
        or len(span_id) > MOST_CHARS
        or not type(began) is type(wait) is type(took) is int
        or not -_LONG_AGO < began < _LONG_AGO
        or not 0 <= wait < _LONG_AGO
        or not 0 <= took < _LONG_AGO
        or (service | method | outcome | peer) < 0  # one of them is
    ):
        raise ValueError
    start = monotonic + began / 1e6
    # A collector makes some ten thousand in a second, and the class's own way takes twice as long.
    values = (
        kind,
        trace_id,
        span_id,
        parent_id,
        texts[service],
        texts[method],
        start,
        start + wait / 1e6,
        start + took / 1e6,
        texts[outcome],
        texts[peer],
        None if detail is None else _detail(detail),
    )
    return tuple.__new__(Record, values)


def _detail(detail: object) -> dict[str, Any]:
    if type(detail) is not dict or len(detail) > 20:
        raise ValueError
    tags = detail.get("tags", {})
    if type(tags) is not dict or len(tags) > 64:
        raise ValueError
    for group in (detail, tags):
        for key, value in group.items():
            short = type(value) is not str or len(value) <= MAX_DETAIL
            plain = type(value) in (str, int, float, bool, type(None)) or value is tags
            if type(key) is not str or not (short and plain):
                raise ValueError
    return detail


def _rate(row: Sequence[Any], texts: Sequence[str]) -> Rate:
    side, caller, service, method, seconds, errors, open_calls, sketch = row
    if (
        side not in _KINDS
        or type(seconds) is not float
        or not 0 < seconds < 1e6
        or type(errors) is not int
        or type(open_calls) is not int
        or min(errors, open_calls, caller, service, method) < 0
    ):
        raise ValueError
    return Rate(
        side, texts[caller], texts[service], texts[method], seconds, errors, open_calls, Sketch.unpack(sketch)
    )
