"""What a store of traces is, whichever it may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

WINDOWS_TTL: Final = 3_600
"""Seconds that a window of rates is kept."""


class StoreError(Exception):
    """A store could not be read or written; the text says which, and why. lasting: nothing is gained by
    keeping what was to be written, as where a disk is full.
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


class Size(NamedTuple):
    """rows: pieces of traces, None where the store doesn't count them. bytes: of them, or of the file."""

    rows: int | None
    bytes: int


class Bounds(NamedTuple):
    """Seconds that a trace is kept, and how many bytes and pieces in all: the oldest go first."""

    ttl: float = 24 * 3600.0
    bytes: int = 2 * 1024**3
    rows: int = 50_000_000


class Store(Protocol):
    """Written by one native thread, read by others at the same time. All methods raise StoreError."""

    def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
        """Keep pieces of these traces and a block of summaries. now: time of day."""

    def expire(self, now: float) -> None:
        """Throw away what is too old, or too much; a little at a time. By the thread that writes."""

    def pieces(self, trace_id: str) -> Iterable[bytes]:
        """All of a trace, the oldest first; none where it isn't there."""

    def find(self, prefix: str, limit: int) -> list[str]:
        """Ids of traces that begin so."""

    def blocks(self, since: float) -> Iterator[bytes]:
        """Blocks of summaries that were written since that time of day, the newest first."""

    def put_window(self, window: bytes, now: float) -> None:
        """Keep a window of rates for an hour, where the store outlives a collector. As write."""

    def windows(self, now: float) -> Iterator[bytes]:
        """Those that were put, by whomever, since this was asked the last time, and at first those of the
        last hour; the oldest first. Of what is not read to the end the rest comes the next time. By the
        thread that writes.
        """

    def size(self) -> Size: ...

    def close(self) -> None: ...
