"""Windows of rates, as collectors leave them in their store: for others that use it, and for the next one.

    [collector, 1, number, began, ended, rows, open, alive]

collector: 8 random bytes of one that ran. number: counts its windows. began, ended: when the window did, in
seconds since 1970. rows: [side, caller, service, method, packed Counts]. open: [side, caller, service,
method, how many calls were open at its end]. alive: service -> processes that were heard in its last minute.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.wire import UNREADABLE
from mesh.tracing.counters import KEPT, WINDOW, Counts, RateKey

VERSION: Final = 1
MOST_KNOWN: Final = 20 * KEPT
"""Windows that are known when they are read once more."""
MOST_COLLECTORS: Final = 100
FRESH: Final = 3 * WINDOW
"""Seconds after the end of a window in which what it says of open calls counts."""


class SharedWindow(NamedTuple):
    """As in the module's text."""

    collector: bytes
    number: int
    began: float
    ended: float
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
        self._last: OrderedDict[bytes, SharedWindow] = OrderedDict()
        """The newest of each collector that runs at the same time."""

    def pack(
        self,
        began: float,
        ended: float,
        rows: Mapping[RateKey, bytes],
        still: Mapping[RateKey, int],
        alive: Mapping[str, int],
    ) -> bytes:
        """A window of this one's own. still: calls that are open."""
        told = [(*key, packed) for key, packed in rows.items()]
        opened = [(*key, number) for key, number in still.items()]
        whole = (self._identity, VERSION, next(self._numbers), began, ended, told, opened, dict(alive))
        return bytes(msgpack.packb(whole, unicode_errors="replace"))

    def take(self, packed: bytes, now: float) -> SharedWindow | None:
        """One that was read; None for its own, one that was there before, and what is none. now: seconds
        since 1970; another host's clock may be ahead of that.
        """
        if packed[:20].find(self._identity) >= 0:
            return None
        try:
            window = _read(packed, now)
        except (*UNREADABLE, IndexError):
            window = None
        if window is None or window[:2] in self._known:
            return None
        self._known[window[:2]] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        last = self._last.get(window.collector)
        if window.ended >= self._began and (last is None or last.ended <= window.ended):
            self._last[window.collector] = window
            self._last.move_to_end(window.collector)
            if len(self._last) > MOST_COLLECTORS:
                self._last.popitem(last=False)
        return window

    def fresh(self, now: float) -> Iterator[SharedWindow]:
        """The newest of each other collector that is at work. now: seconds since 1970."""
        return (window for window in self._last.values() if now - window.ended < FRESH)


def _read(packed: bytes, now: float) -> SharedWindow | None:
    """None, or whatever msgpack raises, where it is none."""
    identity, version, number, began, ended, told, opened, alive = msgpack.unpackb(
        packed, strict_map_key=False
    )
    if version != VERSION or type(identity) is not bytes or type(number) is not int:
        return None
    if type(began) is not float or type(ended) is not float or not 0 <= began < 1e11:
        return None
    if type(alive) is not dict:
        return None
    rows = {_key(row): row[4] for row in told if Counts.are_packed(row[4])}
    still = {_key(row): row[4] for row in opened if _is_number(row[4])}
    if len(rows) < len(told) or len(still) < len(opened) or not all(map(_is_alive, alive.items())):
        return None
    return SharedWindow(identity, number, min(began, now), min(ended, now), rows, still, alive)


def _key(row: list[Any]) -> RateKey:
    side, caller, service, method = row[:4]
    if type(side) is not int or not all(type(name) is str for name in (caller, service, method)):
        raise ValueError
    return RateKey(side, caller, service, method)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**60


def _is_alive(item: tuple[object, object]) -> bool:
    return type(item[0]) is str and _is_number(item[1])
