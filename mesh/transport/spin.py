"""Keeping the loop awake for a moment while the answer to a lone call is likely to come.

To be woken costs more than the answer of a quick server takes. The loop looks at its descriptors again and
again meanwhile, that of the socket among them, and whatever else it has to do comes first; but only while
answers have come within about that time.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from mesh.transport.loop import Loop

SPIN: Final = 0.0005
"""Seconds for which to keep it awake: what a server's answer takes on a slow virtual machine."""
WAKING: Final = 0.0002
"""Seconds that an answer may take longer where the loop slept, for that it would be there in time."""


class Spin:
    """What a loop is kept awake by for one socket."""

    __slots__ = ("_began", "_end", "_on", "_quick", "_watcher")

    def __init__(self, loop: Loop) -> None:
        self._watcher = loop.idle(self._look)
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
            self._quick = monotonic() - self._began < (SPIN if self._quick else SPIN + WAKING)
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
        if monotonic() > self._end:
            self.stop()
