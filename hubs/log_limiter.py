"""What a hub writes into the log of its workers' coming and going: not without an end in a storm."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

MOST: Final = 20
"""Lines a second; what is beyond that is only counted."""

LogLine = tuple[int, str]
"""The level, as logging has it, and the text."""

log = logging.getLogger("hubs")


class LogLimiter:
    """hub: the name of the hub that all of them are of."""

    def __init__(self, hub: str) -> None:
        self._hub = hub
        self._second = 0.0
        self._written = 0
        self._left_out = 0

    @property
    def owes(self) -> bool:
        """Whether there is more to tell than was written so far; to be asked for with no lines."""
        return self._left_out > 0

    def write(self, lines: Sequence[LogLine], now: float) -> None:
        if now >= self._second + 1.0:
            if self._left_out:
                log.info("hub %s: %d more workers came or went", self._hub, self._left_out)
            self._second, self._written, self._left_out = now, 0, 0
        for level, text in lines:
            if self._written < MOST:
                self._written += 1
                log.log(level, "hub %s: %s", self._hub, text)
            else:
                self._left_out += 1
