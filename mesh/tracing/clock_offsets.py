"""How far the clocks of hosts are apart, as calls of all traces tell: one trace may have few, and slow ones.

What a call says stands in clocks.py. Of many calls a share is looked at, chosen by the id of the span, so
that it is the same of both sides, whatever comes first.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import ATTEMPTS, GOOD, OPEN, Kind
from mesh.tracing.clocks import DRIFT, TOGETHER, clock_of

MOST_WAITING: Final = 10_000
"""Sides that wait for the other one."""
MOST_PAIRS: Final = 2_000
"""Pairs of clocks that are known; the one of which nothing was heard for the longest goes first."""
MOST_WINDOWS: Final = 60
"""Times of a pair that are known: an hour, where no clock is set."""
ENOUGH: Final = 500
"""Sides that are looked at in a second, or some more; of more a share is."""
_SPOILED: Final = 0
_SHARES: Final = (1, 4, 16, 64, 256)
"""Of how many spans one is looked at."""
_CHOSEN: Final = {share: frozenset(f"{at:02x}" for at in range(0, 256, share)) for share in _SHARES}


class _Side(NamedTuple):
    """kind: of the record. clock: by which the times are, in seconds since 1970: left and ended of a client,
    came and ended of a server.
    """

    kind: int
    clock: str
    first: float
    ended: float


class OffsetWindow(NamedTuple):
    """From `since` on, for 60 seconds, the second clock is ahead of the first by `low` to `high` seconds, as
    was told last at the time `told`.
    """

    since: float
    told: float
    low: float
    high: float


class ClockOffsets:
    """What is known of all clocks of which a batch has told, by their names: see `clock_of`."""

    def __init__(self) -> None:
        self._clocks: set[str] = set()
        self._waiting: OrderedDict[tuple[str, str], _Side] = OrderedDict()
        """By trace and span. Of a call that was made again there is one of the kind _SPOILED: which server
        has answered which attempt nobody knows."""
        self._pairs: OrderedDict[tuple[str, str], deque[OffsetWindow]] = OrderedDict()
        self._share = 1
        self._second = 0
        self._seen = 0
        """Sides that were looked at in this second."""

    def take(self, batch: RecordBatch, now: float) -> None:
        """Look at the calls that a batch tells of. now: seconds of a steady clock."""
        clock = clock_of(batch.process, batch.about)
        if clock not in self._clocks and len(self._clocks) < MOST_PAIRS:
            self._clocks.add(clock)
        if len(self._clocks) < 2:
            return
        self._choose(int(now))
        shift, chosen = batch.wall - batch.monotonic, _CHOSEN[self._share]
        for record in batch.records:
            if record.kind > Kind.SERVER or record.span_id[:2] not in chosen:
                continue
            detail = record.detail
            if detail is not None and OPEN in detail:
                continue
            self._seen += 1
            key = (record.trace_id, record.span_id)
            again = record.kind == Kind.CLIENT and detail is not None and ATTEMPTS in detail
            if record.outcome != GOOD or again:
                self._waiting[key] = _Side(_SPOILED, clock, 0.0, 0.0)
                self._bound()
            else:
                first = record.started if record.kind == Kind.CLIENT else record.began
                self._join(key, _Side(record.kind, clock, first + shift, record.ended + shift))

    def _choose(self, second: int) -> None:
        """Look at fewer where there are many, and at more where there are few."""
        if second == self._second:
            return
        at = _SHARES.index(self._share)
        if self._seen > ENOUGH and at + 1 < len(_SHARES):
            self._share = _SHARES[at + 1]
        elif self._seen < ENOUGH // 8 and at:
            self._share = _SHARES[at - 1]
        self._second, self._seen = second, 0

    def _join(self, key: tuple[str, str], side: _Side) -> None:
        other = self._waiting.get(key)
        if other is None:
            self._waiting[key] = side
            self._bound()
        elif other.kind == side.kind:
            self._waiting[key] = _Side(_SPOILED, side.clock, 0.0, 0.0)
        elif other.kind != _SPOILED:
            del self._waiting[key]
            caller, callee = (side, other) if side.kind == Kind.CLIENT else (other, side)
            low, high = callee.ended - caller.ended, callee.first - caller.first
            if other.clock != side.clock and low <= high:
                self._narrow(caller, callee.clock, low, high)

    def _bound(self) -> None:
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def _narrow(self, caller: _Side, callee: str, low: float, high: float) -> None:
        pair, at = (caller.clock, callee), caller.first
        if caller.clock > callee:
            pair, at, low, high = (callee, caller.clock), at + (low + high) / 2, -high, -low
        windows = self._pairs.get(pair)
        if windows is None:
            windows = self._pairs[pair] = deque(maxlen=MOST_WINDOWS)
            if len(self._pairs) > MOST_PAIRS:
                self._pairs.popitem(last=False)
        else:
            self._pairs.move_to_end(pair)
        if windows:
            since, told, lowest, highest = windows[-1]
            drift = DRIFT * abs(at - told)
            lowest, highest = lowest - drift, highest + drift
            if at - since < TOGETHER and low <= highest and high >= lowest:
                windows[-1] = OffsetWindow(since, max(at, told), max(low, lowest), min(high, highest))
                return
        windows.append(OffsetWindow(at, at, low, high))

    def between(self, times: Mapping[str, Sequence[float]]) -> list[list[float]]:
        """What is known of these clocks: [number of the first clock, of the second, when by the first one,
        low, high]. times: of each clock since when and until when, by itself, in seconds since 1970. The
        numbers are their places in it.
        """
        places = {clock: number for number, clock in enumerate(times)}
        found: list[list[float]] = []
        for (first, second), windows in list(self._pairs.items()):
            if first in places and second in places:
                began, ended = times[first]
                until = math.inf  # when the clock was set, where it was, and another window begins
                for since, _, low, high in reversed(windows):
                    if since <= ended and min(since + TOGETHER, until) >= began:
                        at = min(max(since, began), ended)
                        found.append([places[first], places[second], at, low, high])
                    until = since
        return found
