"""Keeping a log readable while somebody makes the same thing happen thousands of times."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

EVERY: Final = 1.0
"""Seconds between two lines about the same thing."""
MAX_KINDS: Final = 256


class Limiter:
    """Lets one line a second through for each kind of thing, and counts the others."""

    def __init__(self) -> None:
        self._next: dict[Hashable, float] = {}
        self._held: dict[Hashable, int] = {}

    def passes(self, kind: Hashable, now: float) -> str | None:
        """What to add to a line that is to be written, or None where it is not."""
        if now < self._next.get(kind, 0.0):
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        if kind not in self._next and not self._room(now):
            return None
        self._next[kind] = now + EVERY
        held = self._held.pop(kind, 0)
        return f" (and {held} more like it since the last)" if held else ""

    def _room(self, now: float) -> bool:
        if len(self._next) >= MAX_KINDS:
            for kind in [kind for kind, at in self._next.items() if at <= now]:
                del self._next[kind]
                self._held.pop(kind, None)
        return len(self._next) < MAX_KINDS
