"""What goes to one peer in one frame: the calls, or the answers, that a worker and a hub exchange. Pure."""

from __future__ import annotations

from typing import Final

from mesh.core import majordomo as mdp

_EACH: Final = 8
"""Bytes that MessagePack adds to each: a code, and the lengths of a token and of a short event."""
SMALLEST: Final = 64
"""Bytes of a batch that is worth its name."""


class Batch:
    """limit: bytes that the peer takes at once. most: bytes from which an event goes by itself."""

    __slots__ = ("items", "limit", "most", "size")

    def __init__(self, limit: int) -> None:
        self.limit_to(limit)
        self.items: list[int | bytes] = []
        self.size = _EACH

    def limit_to(self, limit: int) -> None:
        """For what comes from now on."""
        self.limit = limit
        self.most = min(mdp.LONE, limit // 4)

    def add(self, code: int, token: bytes, event: bytes) -> bool:
        """Put one more in; False where there is no room for it. An empty one has room."""
        size = self.size + len(token) + len(event) + _EACH
        if size > self.limit and self.items:
            return False
        self.items += (code, token, event)
        self.size = size
        return True

    def take(self) -> bytes:
        """The frame, after which it is empty again."""
        frame = mdp.batch(self.items)
        self.clear()
        return frame

    def clear(self) -> None:
        self.items = []
        self.size = _EACH


def limit_of(about: dict[str, object]) -> int:
    """Bytes that a peer takes at once, by what it says of itself; 0 where it takes no batches."""
    limit = about.get("batch")
    return min(limit, mdp.MAX_BATCH) if type(limit) is int and limit >= SMALLEST else 0
