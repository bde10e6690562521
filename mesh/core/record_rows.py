"""Records as a process keeps them until they are sent: each packed where it is made, in 65 bytes.

    kind, service, method, outcome, peer, began, wait, took, trace, span, parent

One byte; two for each text, of which a table has the number; eight for each time, in seconds, of which wait
is from `began` to `started` and took to `ended`; and the ids. What has no place in a row goes beside it. So
the thread that sends them only puts rows together, and none of what is kept is a thing for Python's collector
of garbage to look at, which costs more than to pack it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from itertools import chain, count
from typing import Any, Final, NamedTuple, cast

from mesh.core.span import as_id
from mesh.core.trace_record import ATTEMPTS, CREDIT, FIRST, ITEMS, TAGS, Detail, Kind, Record

MAX_RECORDS: Final = 20_000
"""Records that are kept; what comes over it is dropped and counted."""
MAX_TEXT: Final = 200
"""Characters of a name."""
MAX_DETAIL: Final = 64 * 1024
"""Characters of a text in a detail."""
MAX_TEXTS: Final = 1_000
"""Texts of one table; a record with others has them beside it until there is another table."""
ROW: Final = struct.Struct("<B4H3d32s")
_TEXTS_OF_ROW: Final = struct.Struct("<x4H56x")
_FEW_TEXTS: Final = 50
"""Texts that are sent without looking which of them are needed."""
_GRACE: Final = 1.0
"""Seconds in which a thread that has looked up a text in a table has added its row, however late it runs."""
_NO_PARENT: Final = "0" * 16
_TRACE: Final = 32
_SPAN: Final = 16
_SIZES: Final = (24, 32)
_KINDS: Final = frozenset(Kind)
_LONG: Final = 1e7
"""Seconds that lie between a record and its being sent, or its end, at the most."""
_EARLY: Final = 0.1
"""Seconds that a call may have begun before it came, as two threads look at the clock."""
_pack: Final = ROW.pack
_from_digits: Final = bytes.fromhex


class Beside(NamedTuple):
    """What a record has that has no place in its row. row: its number among those that are sent together.
    ids: of trace, span and parent, where they are another program's. texts: service, method, outcome and
    peer, where the table was full.
    """

    row: int
    detail: Detail | None
    ids: tuple[str, str, str] | None
    texts: tuple[str, str, str, str] | None


class RowSlice(NamedTuple):
    """Some records that are sent together. texts: those that rows have the numbers of."""

    texts: list[str]
    rows: list[bytes]
    beside: list[Beside]

    def halves(self) -> tuple[RowSlice, RowSlice]:
        """The same in two, where it is too large."""
        half = len(self.rows) // 2
        first = [one for one in self.beside if one.row < half]
        second = [one._replace(row=one.row - half) for one in self.beside if one.row >= half]
        return (
            RowSlice(_needed(self.texts, self.rows[:half]), self.rows[:half], first),
            RowSlice(_needed(self.texts, self.rows[half:]), self.rows[half:], second),
        )


def _needed(texts: list[str], rows: list[bytes]) -> list[str]:
    """The same, with "" in the place of those that none of these rows has."""
    used = set(chain.from_iterable(_TEXTS_OF_ROW.iter_unpack(b"".join(rows))))
    return [text if number in used else "" for number, text in enumerate(texts)]


class _Table:
    """Rows, and the numbers of the texts in them. Threads may add to one at the same time."""

    __slots__ = ("_next", "numbers", "rows")

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.rows: deque[bytes | tuple[bytes, Beside]] = deque()
        self._next = count().__next__

    def number(self, text: str) -> int | None:
        """None where there is no room for another text."""
        text = text[:MAX_TEXT]
        known = self.numbers.get(text)
        if known is None and len(self.numbers) < MAX_TEXTS:
            known = self.numbers.setdefault(text, self._next())
        return known

    def take(self, most: int) -> RowSlice:
        """The oldest rows."""
        taken = [self.rows.popleft() for _ in range(min(most, len(self.rows)))]
        beside: list[Beside] = []
        if tuple in set(map(type, taken)):
            for at, row in enumerate(taken):
                if not isinstance(row, bytes):
                    taken[at] = row[0]
                    beside.append(row[1]._replace(row=at))
        rows = cast(list[bytes], taken)
        return RowSlice(self._texts(rows), rows, beside)

    def _texts(self, rows: list[bytes]) -> list[str]:
        """In the order of their numbers; "" for some that none of these rows has."""
        numbers = self.numbers.copy()
        texts = [""] * (max(numbers.values(), default=-1) + 1)
        for text, number in numbers.items():
            texts[number] = text
        return texts if len(texts) <= _FEW_TEXTS else _needed(texts, rows)


class KeptRecords:
    """What is to be sent. Any thread may add to it, under no lock; one takes what there is.

    clock: seconds, as time.monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._most = MAX_RECORDS
        """Rows that the table has room for, beside those of the former one."""
        self._is_over = False
        self._table = _Table()
        self._former: _Table | None = None
        """The table before this one, until all of its rows are taken."""
        self._replaced = 0.0
        """When it was that."""
        self.dropped = 0
        """Records that there was no room for."""

    def __len__(self) -> int:
        return len(self._table.rows) + (len(self._former.rows) if self._former else 0)

    def add(
        self,
        kind: int,
        trace_id: Any,
        span_id: Any,
        parent_id: str,
        service: str,
        method: str,
        began: float,
        started: float,
        ended: float,
        outcome: str,
        peer: str,
        detail: Detail | None = None,
    ) -> None:
        """Keep one: the fields of a Record. trace_id, span_id: as they came, which may be no text."""
        table = self._table
        number = table.numbers
        if len(table.rows) >= self._most:
            self.dropped += 1
            return
        try:
            if len(trace_id) == _TRACE and len(span_id) == _SPAN:
                digits = trace_id + span_id + parent_id
                ids = _from_digits(digits)
                if len(ids) in _SIZES and ids.hex() == digits:
                    row = _pack(
                        kind,
                        number[service],
                        number[method],
                        number[outcome],
                        number[peer],
                        began,
                        started - began,
                        ended - began,
                        ids,
                    )
                    table.rows.append(row if detail is None else (row, Beside(0, detail, None, None)))
                    return
        except (KeyError, TypeError, ValueError):
            pass  # a text that is new, or ids of another program, which may have capitals
        names = (service, method, outcome, peer)
        self._add(table, kind, (trace_id, span_id, parent_id), names, (began, started, ended), detail)

    def _add(
        self,
        table: _Table,
        kind: int,
        ids: tuple[Any, Any, str],
        names: tuple[str, str, str, str],
        times: tuple[float, float, float],
        detail: Detail | None,
    ) -> None:
        """The same, also where ids or texts are none that a row has a place for. Without an id of the trace
        nobody could ask for it, and it is none.
        """
        packed = _packed(ids)
        theirs = None if packed else (as_id(ids[0]), as_id(ids[1]), ids[2])
        if theirs is not None and not theirs[0]:
            return
        numbers = [table.number(name) for name in names]
        known = [number for number in numbers if number is not None]
        texts = None
        if len(known) < len(names):
            known, texts = [0, 0, 0, 0], _cut(names)
        began, started, ended = times
        row = _pack(kind, *known, began, started - began, ended - began, packed)
        beside = Beside(0, detail, theirs, texts)
        table.rows.append(row if beside == _NOTHING else (row, beside))

    def take(self, most: int) -> RowSlice:
        """The oldest, for whoever sends them. In one thread alone, as nobody else replaces the table."""
        if self._former is None and len(self._table.numbers) >= MAX_TEXTS:
            self._former, self._table, self._replaced = self._table, _Table(), self._clock()
        former = self._former
        if former is None:
            return self._table.take(most)
        taken = (former if former.rows else self._table).take(most)
        if not former.rows and self._clock() - self._replaced > _GRACE:
            self._former = former = None
        if not self._is_over:
            self._most = MAX_RECORDS - (len(former.rows) if former else 0)
        return taken

    def take_dropped(self) -> int:
        """How many were dropped since the last time."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def forget(self) -> None:
        """In the child of a fork: what is kept the parent sends."""
        self._table, self._former, self.dropped = _Table(), None, 0

    def stop(self) -> None:
        """Nobody takes what is kept any more, so nothing is."""
        self._is_over = True
        self._most = 0
        self.forget()


def records(rows: bytes, texts: list[str], beside: list[Any], now: float) -> list[Record]:
    """What was packed, in the process's own time. beside: as lists. now: when it was sent, in that time.
    Raises ValueError, TypeError, IndexError or struct.error for what is none of it.
    """
    found = []
    for kind, service, method, outcome, peer, began, wait, took, ids in ROW.iter_unpack(rows):
        in_time = -_LONG < began - now < _LONG and -_EARLY < wait < _LONG and -_EARLY < took < _LONG
        if not in_time or kind not in _KINDS:
            raise ValueError
        wait, took = max(wait, 0.0), max(took, 0.0)
        digits = ids.hex()
        parent = digits[48:]
        # A collector makes some ten thousand in a second, and the class's own way takes twice as long.
        values = (
            kind,
            digits[:32],
            digits[32:48],
            "" if parent == _NO_PARENT else parent,
            texts[service],
            texts[method],
            began,
            began + wait,
            began + took,
            texts[outcome],
            texts[peer],
            None,
        )
        found.append(tuple.__new__(Record, values))
    for row, detail, ids, names in beside:
        if type(row) is not int or row < 0:
            raise ValueError
        found[row] = _completed(found[row], detail, ids, names)
    return found


def _completed(record: Record, detail: Any, ids: Any, names: Any) -> Record:
    if ids is not None:
        trace_id, span_id, parent_id = map(as_id, ids)
        if not trace_id:
            raise ValueError
        record = record._replace(trace_id=trace_id, span_id=span_id, parent_id=parent_id)
    if names is not None:
        service, method, outcome, peer = names
        if not all(type(name) is str and len(name) <= MAX_TEXT for name in names):
            raise ValueError
        record = record._replace(service=service, method=method, outcome=outcome, peer=peer)
    return record if detail is None else record._replace(detail=_checked(detail))


def _checked(detail: object) -> Detail:
    if type(detail) is not dict or len(detail) > 20:
        raise ValueError
    tags = detail.get(TAGS, {})
    if type(tags) is not dict or len(tags) > 64:
        raise ValueError
    counts, times = ((detail.get(key, 0) for key in some) for some in ((ATTEMPTS, ITEMS), (FIRST, CREDIT)))
    if not all(type(one) is int for one in counts) or not all(
        type(one) in (int, float) and -_LONG < one < _LONG for one in times
    ):
        raise ValueError
    for group in (detail, tags):
        for key, value in group.items():
            short = type(value) is not str or len(value) <= MAX_DETAIL
            plain = type(value) in (str, int, float, bool, type(None)) or value is tags
            if type(key) is not str or not (short and plain):
                raise ValueError
    return detail


_NOTHING: Final = Beside(0, None, None, None)


def _packed(ids: tuple[Any, Any, str]) -> bytes:
    """As a row has them; b"" where they are not of the form that mesh's own have."""
    trace_id, span_id, parent_id = ids
    if (
        type(trace_id) is not str
        or type(span_id) is not str
        or (len(trace_id), len(span_id)) != (_TRACE, _SPAN)
    ):
        return b""
    try:
        packed = bytes.fromhex(trace_id + span_id + parent_id)
    except ValueError:
        return b""
    return packed if packed.hex() == trace_id + span_id + parent_id and len(packed) in _SIZES else b""


def _cut(names: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
    service, method, outcome, peer = names
    return service[:MAX_TEXT], method[:MAX_TEXT], outcome[:MAX_TEXT], peer[:MAX_TEXT]
