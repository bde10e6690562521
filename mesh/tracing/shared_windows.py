"""Windows of rates, as collectors leave them in their store: for others that use it, and for the next one.

    [collector, number, began, rows, open, alive]

collector: 8 random bytes of one that ran. number: counts its windows. began: when the window did, in seconds
since 1970. rows: [side, caller, service, method, packed Counts]. open: [side, caller, service, method, how
many calls were open at its end]. alive: service -> processes of it that were heard in its last minute.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.wire import UNREADABLE
from mesh.tracing.counters import KEPT, WINDOW, RateKey

MOST_KNOWN: Final = 20 * KEPT
"""Windows that are known when they are read once more."""
MOST_WAITING: Final = 2 * KEPT
"""Windows that were read, and wait to be taken in."""
MOST_COLLECTORS: Final = 100
FRESH: Final = 4 * WINDOW
"""Seconds after the beginning of a window in which what it says of open calls counts."""


class Window(NamedTuple):
    """began: seconds since 1970. The others are as in the module's text."""

    collector: bytes
    began: float
    rows: dict[RateKey, bytes]
    open: dict[RateKey, int]
    alive: dict[str, int]


class SharedWindows:
    """Those of one store, as one collector sees them. now: when it begins, in seconds since 1970."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._identity = secrets.token_bytes(8)
        self._numbers = count()
        self._known: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self._last: OrderedDict[bytes, Window] = OrderedDict()
        """The newest of each collector that runs at the same time."""

    def pack(
        self,
        began: float,
        rows: Mapping[RateKey, bytes],
        still: Mapping[RateKey, int],
        alive: Mapping[str, int],
    ) -> bytes:
        """A window of this one's own. still: calls that are open."""
        told = [(*key, packed) for key, packed in rows.items()]
        opened = [(*key, number) for key, number in still.items()]
        whole = (self._identity, next(self._numbers), began, told, opened, dict(alive))
        return bytes(msgpack.packb(whole, unicode_errors="replace"))

    def take(self, packed: bytes) -> Window | None:
        """One that was read; None for its own, one that was there before, and what is none."""
        try:
            identity, number, began, told, opened, alive = msgpack.unpackb(packed, strict_map_key=False)
            rows = {RateKey(*key): counts for *key, counts in told}
            window = Window(identity, float(began), rows, {RateKey(*key): n for *key, n in opened}, alive)
        except UNREADABLE:
            return None
        if identity == self._identity or (identity, number) in self._known:
            return None
        self._known[identity, number] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        last = self._last.get(identity)
        if began >= self._began - WINDOW and (last is None or last.began <= began):
            self._last[identity] = window
            self._last.move_to_end(identity)
            if len(self._last) > MOST_COLLECTORS:
                self._last.popitem(last=False)
        return window

    def fresh(self, now: float) -> Iterator[Window]:
        """The newest of each other collector that is at work. now: seconds since 1970."""
        return (window for window in self._last.values() if now - window.began < FRESH)


def added(*each: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    """The sums of several numbers by key."""
    found: dict[Any, int] = {}
    for some in each:
        for key, number in some:
            found[key] = found.get(key, 0) + number
    return found
