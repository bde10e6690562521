"""Traces in the collector's own memory: gone with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mesh.tracing.store import Bounds, Size

MEMORY: Final = 96 * 1024**2
"""Bytes that are kept where nobody says otherwise."""
_OVERHEAD: Final = 200
"""Bytes that Python needs for a piece beside what is in it."""


class MemoryStore:
    """A list of pieces for each trace. The oldest piece, or block, goes first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._pieces: dict[str, list[bytes]] = {}
        self._order: deque[tuple[float, str, int]] = deque()
        self._blocks: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
        with self._lock:
            for trace_id, piece in pieces.items():
                self._pieces.setdefault(trace_id, []).append(piece)
                size = len(piece) + _OVERHEAD
                self._order.append((now, trace_id, size))
                self._bytes += size
            self._blocks.append((now, block))
            self._bytes += len(block)
        self.expire(now)

    def expire(self, now: float) -> None:
        oldest, bounds = now - self._bounds.ttl, self._bounds
        with self._lock:
            while self._order and (
                self._order[0][0] < oldest or self._bytes > bounds.bytes or len(self._order) > bounds.rows
            ):
                stamp, trace_id, size = self._order.popleft()
                pieces = self._pieces[trace_id]
                del pieces[0]
                if not pieces:
                    del self._pieces[trace_id]
                self._bytes -= size
                oldest = max(oldest, stamp)
            while self._blocks and (self._blocks[0][0] < oldest):
                self._bytes -= len(self._blocks.popleft()[1])

    def pieces(self, trace_id: str) -> Iterable[bytes]:
        with self._lock:
            return list(self._pieces.get(trace_id, ()))

    def find(self, prefix: str, limit: int) -> list[str]:
        with self._lock:
            found = (trace_id for trace_id in self._pieces if trace_id.startswith(prefix))
            return [trace_id for trace_id, _ in zip(found, range(limit), strict=False)]

    def blocks(self, since: float) -> Iterator[bytes]:
        with self._lock:
            blocks = [block for stamp, block in self._blocks if stamp >= since]
        yield from reversed(blocks)

    def put_window(self, window: bytes, now: float) -> None:
        """Nobody else could read it."""

    def windows(self, now: float) -> Iterator[bytes]:
        """None."""
        return iter(())

    def size(self) -> Size:
        with self._lock:
            return Size(len(self._order), self._bytes)

    def close(self) -> None:
        """Nothing is left to do."""
