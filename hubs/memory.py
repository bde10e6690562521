"""Gives memory back to the system that a flood has left behind.

malloc keeps what lies between blocks that are still in use, and after thousands of short connections
that is most of what they took: 177 MiB of a hub that needs 38. Knows nothing of hubs.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Final

QUIET: Final = 0.05
"""Share of a processor, of those seconds since the last look, below which nobody has to wait for it."""
LOOK_EVERY: Final = 1.0
WORTH: Final = 16 * 1024 * 1024
"""Bytes more than after the last time; it takes up to some 50 ms, in which no thread gets memory."""

Trim = Callable[[], object]


class Memory:
    """trim: gives back what it can, None where there is no such thing. resident: bytes of the process.
    clock, processor: seconds that have passed, and those that the process has used.
    """

    def __init__(
        self,
        trim: Trim | None,
        resident: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.process_time,
    ) -> None:
        self._trim = trim
        self._resident = resident
        self._clock = clock
        self._processor = processor
        self._least = resident()
        self._looked = clock()
        self._cpu = processor()

    def look(self) -> None:
        """To be called again and again."""
        now = self._clock()
        if self._trim is None or now - self._looked < LOOK_EVERY:
            return
        cpu = self._processor()
        busy = (cpu - self._cpu) / (now - self._looked)
        self._looked, self._cpu = now, cpu
        if busy > QUIET:
            return
        size = self._resident()
        if size < self._least + WORTH:
            self._least = min(self._least, size)
            return
        self._trim()
        self._least = self._resident()


def of_this_process() -> Memory:
    """That of malloc and /proc, on Linux with glibc; elsewhere one that does nothing."""
    import ctypes

    try:
        trim = ctypes.CDLL(None).malloc_trim
        resident()
    except (OSError, AttributeError, TypeError):
        return Memory(None, lambda: 0)
    return Memory(lambda: trim(0), resident)


def resident() -> int:
    """Bytes of this process in memory; OSError where there is no /proc of Linux."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
