"""How often, how long and with how many errors each method is called: windows of merged sketches.

They are made from what processes tell of all their calls, never from traces, which are samples. Windows are
of five seconds; those that are over are kept packed, beside those of other collectors. After 2,000 rows,
whatever is new counts as `(other)`.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil
from operator import itemgetter
from typing import Final, NamedTuple

import msgpack

from mesh.core.sketch import Sketch
from mesh.core.trace_batch import Rate
from mesh.core.trace_record import Kind, Record

WINDOW: Final = 5.0
"""Seconds."""
KEPT: Final = 720
"""Windows, the last hour."""
MOST_ROWS: Final = 2_000
OTHER: Final = "(other)"
MOST_ERRORS: Final = 2**60
"""Errors of a row that is kept packed; of more it has one less than that."""
MOST_BYTES: Final = 64 * 1024**2
"""Of all windows that are over."""


class RateKey(NamedTuple):
    """side: as `Record.kind`. caller: the service that calls; "" at a server."""

    side: int
    caller: str
    service: str
    method: str


class Counts:
    """Calls of one row in some time. slowest: seconds of the slowest that was recorded, and its trace."""

    __slots__ = ("errors", "sketch", "slowest", "trace_id")

    def __init__(self) -> None:
        self.errors = 0
        self.sketch = Sketch()
        self.slowest = 0.0
        self.trace_id = ""

    def merge(self, other: Counts) -> None:
        self.errors += other.errors
        self.sketch.merge(other.sketch)
        if other.slowest > self.slowest:
            self.slowest, self.trace_id = other.slowest, other.trace_id

    def pack(self) -> bytes:
        told = (min(self.errors, MOST_ERRORS - 1), self.slowest, self.trace_id, self.sketch.pack())
        return bytes(msgpack.packb(told, unicode_errors="replace"))

    @staticmethod
    def are_packed(packed: object) -> bool:
        """Whether `pack` may have made this. Raises what msgpack does for what it can't read."""
        if type(packed) is not bytes:
            return False
        errors, slowest, trace_id, sketch = msgpack.unpackb(packed, strict_map_key=False)
        Sketch.unpack(sketch)
        times = (slowest, sketch[0], sketch[1])
        whole = type(errors) is int and 0 <= errors < MOST_ERRORS and type(trace_id) is str
        return whole and all(type(time) is float and time >= 0 for time in times)

    @classmethod
    def unpack(cls, packed: bytes) -> Counts:
        counts = cls()
        errors, slowest, trace_id, sketch = msgpack.unpackb(packed, strict_map_key=False)
        counts.errors, counts.slowest, counts.trace_id = errors, slowest, trace_id
        counts.sketch = _own(*sketch)
        return counts


def _own(total: float, longest: float, buckets: dict[int, int]) -> Sketch:
    """A sketch that was packed here, and need not be looked at as one that comes from elsewhere."""
    sketch = Sketch()
    sketch.total, sketch.longest, sketch.buckets = total, longest, buckets
    sketch.count = sum(buckets.values())
    return sketch


class CallCounters:
    """now: at which the first window begins; all times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._began_first = now
        self._open: dict[RateKey, Counts] = {}
        self._over: list[tuple[float, dict[RateKey, bytes], int]] = []
        """By when they began; of those of other collectors some come late."""
        self._bytes = 0
        self.just_over: deque[tuple[float, dict[RateKey, bytes]]] = deque(maxlen=KEPT)
        """When its own windows began, and their rows, until somebody takes them to tell others."""
        # By itself, so that all windows have one and the same key of a row.
        self._known: dict[RateKey, RateKey] = {}

    def add(self, rates: Iterable[Rate], now: float) -> None:
        """Take in what a process tells of all its calls."""
        self.turn(now)
        for rate in rates:
            counts = self._counts(RateKey(rate.side, rate.caller, rate.service, rate.method))
            counts.errors += rate.errors
            counts.sketch.merge(rate.sketch)

    def see(self, records: Iterable[Record], caller: str, now: float) -> None:
        """Take from records the slowest of each row. caller: the service of who tells."""
        self.turn(now)
        slowest: dict[tuple[int, str, str], tuple[float, str]] = {}
        for record in records:
            if record[0] <= Kind.SERVER:
                took = record[8] - record[6]
                key = (record[0], record[4], record[5])
                if key not in slowest or took > slowest[key][0]:
                    slowest[key] = (took, record[1])
        for (kind, service, method), (took, trace_id) in slowest.items():
            row = RateKey(kind, caller if kind == Kind.CLIENT else "", service, method)
            counts = self._counts(row)
            if took > counts.slowest:
                counts.slowest, counts.trace_id = took, trace_id

    def join(self, began: float, rows: Mapping[RateKey, bytes], now: float) -> None:
        """Take in a window of another collector, or of one that ran before."""
        self.turn(now)
        if now - KEPT * WINDOW <= began <= now + WINDOW:
            self._began_first = min(began, self._began_first)
            found: dict[RateKey, bytes] = {}
            for key, packed in rows.items():
                _put(found, self._row(key), packed)
            self._keep(began, found)

    def _keep(self, began: float, rows: dict[RateKey, bytes]) -> None:
        size = sum(map(len, rows.values())) + 200 * len(rows)
        insort(self._over, (began, rows, size), key=itemgetter(0))
        self._bytes += size
        while self._bytes > MOST_BYTES:
            went, _, size = self._over.pop(0)
            self._bytes -= size
            self._began_first = max(self._began_first, went + WINDOW)  # what was before is not known

    def _row(self, key: RateKey) -> RateKey:
        if key not in self._known and len(self._known) >= MOST_ROWS:
            key = RateKey(key.side, "", OTHER, OTHER)
        return self._known.setdefault(key, key)

    def _counts(self, key: RateKey) -> Counts:
        key = self._row(key)
        counts = self._open.get(key)
        if counts is None:
            counts = self._open[key] = Counts()
        return counts

    def turn(self, now: float) -> None:
        """Begin another window where the time of this one is over."""
        if now >= self._began + WINDOW:
            self.end_window(now)

    def end_window(self, now: float) -> None:
        """Begin another one, whether or not the time of this one is over."""
        ended, self._open = self._open, {}
        began, self._began = self._began, now - (now - self._began) % WINDOW
        if ended:
            packed = {key: counts.pack() for key, counts in ended.items()}
            self._keep(began, packed)
            self.just_over.append((began, packed))
        oldest = now - KEPT * WINDOW
        while self._over and self._over[0][0] < oldest:
            self._bytes -= self._over.pop(0)[2]
        if len(self._known) >= MOST_ROWS:
            kept = {key for _, packed, _ in self._over for key in packed}
            self._known = {key: key for key in self._known if key in kept}

    def over(self, seconds: float, now: float) -> tuple[float, dict[RateKey, Counts]]:
        """The rows of about the last so many seconds, and how many seconds these really are."""
        span, windows = self.windows(seconds, now)
        return span, merged(windows, {})

    def windows(self, seconds: float, now: float) -> tuple[float, list[dict[RateKey, bytes]]]:
        """What `merged` makes the rows of that time of; and how many seconds these really are. What is given
        does not change any more.
        """
        self.turn(now)
        since = now - seconds - WINDOW
        found = [packed for began, packed, _ in self._over if began > since]
        found.append({key: counts.pack() for key, counts in self._open.items()})
        # The first of the windows that count, also where nothing came in it.
        back = (ceil((self._began - since) / WINDOW) - 1) * WINDOW
        return max(now - max(self._began - back, self._began_first), 1.0), found


def together(rows: Mapping[RateKey, bytes], names: Mapping[str, str]) -> dict[RateKey, bytes]:
    """The rows of one window, with services by the names that these are called by: as `merged`."""
    found: dict[RateKey, bytes] = {}
    for key, packed in rows.items():
        _put(found, _named(key, names), packed)
    return found


def _named(key: RateKey, names: Mapping[str, str]) -> RateKey:
    return key._replace(service=names[key.service]) if key.service in names else key


def _put(rows: dict[RateKey, bytes], key: RateKey, packed: bytes) -> None:
    if key in rows:
        counts = Counts.unpack(packed)
        counts.merge(Counts.unpack(rows[key]))
        packed = counts.pack()
    rows[key] = packed


def merged(windows: Iterable[Mapping[RateKey, bytes]], names: Mapping[str, str]) -> dict[RateKey, Counts]:
    """The rows of several windows together. In any thread: of very many it takes seconds. names: of services
    that callers know by another one.
    """
    found: dict[RateKey, Counts] = {}
    for window in windows:
        for told, packed in window.items():
            key = _named(told, names)
            counts = Counts.unpack(packed)
            if key in found:
                found[key].merge(counts)
            else:
                found[key] = counts
    return found
