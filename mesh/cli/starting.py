"""What ends a command before it serves: the same signals as later on, with the same exit code.

From where it serves on the signals are stopping.py's, or those of the parent of several processes.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from mesh.cli.entry import release
from mesh.cli.reporting import EndedEarly
from mesh.cli.stopping import is_ignored


class Start:
    """The handler of SIGTERM, and of SIGHUP where that is not ignored. received: the first of them.

    It ends whatever the main thread is at, such as the import of TARGET. Where the program catches that,
    whoever takes the signals over next has to look at `received`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._process = os.getpid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or not is_ignored(number):
                signal.signal(number, self)
        release()

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        if os.getpid() != self._process:
            # One that TARGET has forked, as it was imported: it ends by the signal, as others do.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.received is None:
            self.received = number
        raise EndedEarly(number)
