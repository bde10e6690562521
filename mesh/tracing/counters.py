"""How often, how long and with how many errors each method is called: windows of merged sketches.

They are made from what processes tell of all their calls, never from traces, which are samples. Windows are
of five seconds; those that are over are kept packed. After 2,000 rows, whatever is new counts as `(other)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil
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
        told = (self.errors, self.slowest, self.trace_id, self.sketch.pack())
        return bytes(msgpack.packb(told, unicode_errors="replace"))

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
        self._over: deque[tuple[float, dict[RateKey, bytes], int]] = deque()
        self._bytes = 0
        # By itself, so that all windows have one and the same key of a row.
        self._known: dict[RateKey, RateKey] = {}

    def add(self, rates: Iterable[Rate], now: float) -> None:
        """Take in what a process tells of all its calls."""
        self._turn(now)
        for rate in rates:
            counts = self._counts(RateKey(rate.side, rate.caller, rate.service, rate.method))
            counts.errors += rate.errors
            counts.sketch.merge(rate.sketch)

    def see(self, records: Iterable[Record], caller: str, now: float) -> None:
        """Take from records the slowest of each row. caller: the service of who tells."""
        self._turn(now)
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

    def _counts(self, key: RateKey) -> Counts:
        if key not in self._known and len(self._known) >= MOST_ROWS:
            key = RateKey(key.side, "", OTHER, OTHER)
        key = self._known.setdefault(key, key)
        counts = self._open.get(key)
        if counts is None:
            counts = self._open[key] = Counts()
        return counts

    def _turn(self, now: float) -> None:
        """Begin another window where the time of this one is over."""
        if now < self._began + WINDOW:
            return
        if self._open:
            packed = {key: counts.pack() for key, counts in self._open.items()}
            size = sum(map(len, packed.values())) + 200 * len(packed)
            self._over.append((self._began, packed, size))
            self._bytes += size
        self._open = {}
        self._began = now - (now - self._began) % WINDOW
        oldest = now - KEPT * WINDOW
        while self._over and (self._over[0][0] < oldest or self._bytes > MOST_BYTES):
            self._bytes -= self._over.popleft()[2]
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
        self._turn(now)
        since = now - seconds - WINDOW
        found = [packed for began, packed, _ in self._over if began > since]
        found.append({key: counts.pack() for key, counts in self._open.items()})
        # The first of the windows that count, also where nothing came in it.
        back = (ceil((self._began - since) / WINDOW) - 1) * WINDOW
        return max(now - max(self._began - back, self._began_first), 1.0), found


def merged(windows: Iterable[Mapping[RateKey, bytes]], names: Mapping[str, str]) -> dict[RateKey, Counts]:
    """The rows of several windows together. In any thread: of very many it takes seconds. names: of services
    that callers know by another one.
    """
    found: dict[RateKey, Counts] = {}
    for window in windows:
        for told, packed in window.items():
            key = told._replace(service=names[told.service]) if told.service in names else told
            counts = Counts.unpack(packed)
            if key in found:
                found[key].merge(counts)
            else:
                found[key] = counts
    return found
