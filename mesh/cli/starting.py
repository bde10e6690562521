"""What ends a command before it serves: the same signals as later on, with the same exit code.

From where it serves on the signals are stopping.py's, or those of the parent of several processes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from mesh.cli.entry import release
from mesh.cli.reporting import EndedEarly
from mesh.cli.stopping import is_ignored
from mesh.transport.signals import leave_to_children


class Start:
    """The handler of SIGTERM, and of SIGHUP where that is not ignored. received: the first of them.

    It ends whatever the main thread is at, such as the import of TARGET. Where the program catches that,
    whoever takes the signals over next has to look at `received`. before: what handled them, by number.
    tell_draining: says that what serves then drains, by the number of the signal.
    """

    def __init__(self, tell_draining: Callable[[int], None]) -> None:
        self.received: int | None = None
        self.tell_draining = tell_draining
        numbers = [
            one for one in (signal.SIGTERM, signal.SIGHUP) if one != signal.SIGHUP or not is_ignored(one)
        ]
        self.before: dict[int, Any] = {number: signal.signal(number, self) for number in numbers}
        leave_to_children(lambda: self.before, self._forked)
        release()

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        if self.received is None:
            self.received = number
        raise EndedEarly(number)

    def _forked(self) -> None:
        """In a process that TARGET forks as it is imported: it ends by these signals as others do."""
        for number, before in self.before.items():
            if signal.getsignal(number) == self:
                signal.signal(number, before)
