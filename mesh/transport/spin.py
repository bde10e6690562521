"""Looking for a message for a moment before the loop goes to sleep.

To be woken costs more than the answer of a quick server takes. The looking is done by an idle
watcher, so that whatever else the loop has to do comes first, and only while messages have come
within the time that it lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from mesh.transport.loop import Loop

SPIN: Final = 0.0002
"""Seconds for which to look."""


class Spin:
    """One socket's looking. readable: whether there is something. found: what to do then."""

    __slots__ = ("_began", "_end", "_found", "_on", "_quick", "_readable", "_watcher")

    def __init__(self, loop: Loop, readable: Callable[[], Any], found: Callable[[], None]) -> None:
        self._watcher = loop.idle(self._look)
        self._readable = readable
        self._found = found
        self._quick = True
        self._began = 0.0
        self._end = 0.0
        self._on = False

    def begin(self) -> None:
        """Nothing is left to receive, and something is expected."""
        self._began = now = monotonic()
        if self._quick and not self._on:
            self._end = now + SPIN
            self._on = True
            self._watcher.resume()

    def came(self) -> None:
        """Something was received; how long it took decides about the next time."""
        if self._began:
            self._quick = monotonic() - self._began < SPIN
            self._began = 0.0
        self.stop()

    def stop(self) -> None:
        if self._on:
            self._on = False
            self._watcher.pause()

    def close(self) -> None:
        self._on = False
        self._watcher.close()

    def _look(self) -> None:
        if self._readable():
            self.stop()
            self._found()
        elif monotonic() > self._end:
            self.stop()
