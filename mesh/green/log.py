"""Keeping a log readable: while the same thing happens thousands of times, and when it has much to say."""

from __future__ import annotations

import traceback
from collections.abc import Hashable
from typing import Final

from mesh.core.wire import clip

EVERY: Final = 1.0
"""Seconds between two lines about the same thing."""
MAX_KINDS: Final = 256
MAX_STACK: Final = 4_000
MAX_TEXT: Final = 1_000
"""Characters of a traceback's frames, and of the exception's own text."""


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


def trace_of(exc: BaseException, file: str) -> str:
    """The traceback of what a handler raised, without the frames of `file`, which has called it."""
    inner = exc.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == file:
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(exc), exc, inner))


def in_short(trace: str, exc: BaseException) -> str:
    """A traceback for the log, cut in the middle of its frames and of its text where they are long."""
    if len(trace) > MAX_TEXT:
        text = "".join(traceback.format_exception_only(exc))
        if trace.endswith(text):
            return (clip(trace.removesuffix(text), MAX_STACK) + clip(text, MAX_TEXT)).rstrip()
    return clip(trace, MAX_STACK).rstrip()
