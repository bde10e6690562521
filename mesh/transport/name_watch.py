"""Looks at the registry files of clients, so that a change is in use within a second, also without a call.

A native thread of its own does: a file may be on a share that hangs, and then neither a loop nor the watchdog
is to hang with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from mesh.transport import native, process

PERIOD: Final = 0.45
"""Seconds between two looks. An empty file counts at the second, and a change is to be in use within one."""
AHEAD: Final = 0.3
"""Seconds by which these looks come before those of calls: where to look hangs, no call does."""

log = logging.getLogger("mesh.names")


class Followable(Protocol):
    """A name that leads elsewhere as its file changes."""

    on_change: Callable[[], None]

    def refresh(self, now: float) -> int: ...


class NameWatch:
    """The names of a process that are looked at. Its thread begins with the first, and ends with the last.

    clock, sleep: of that thread.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, sleep: Callable[[float], None] = native.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self.forked()
        process.remember(self)

    def forked(self) -> None:
        """In the child nobody is watched before it uses a name itself."""
        self._seen: WeakKeyDictionary[Followable, int] = WeakKeyDictionary()
        self._lock = native.allocate_lock()
        self._runs = False

    def watch(self, name: Followable, version: int) -> None:
        """Look at a name from now on, as long as somebody has it. version: as it is known there."""
        with self._lock:
            self._seen[name] = version
            begins, self._runs = not self._runs, True
        if begins:
            try:
                process.start_thread(self._run, (), "mesh names file")
            except RuntimeError:  # the system has no thread; whoever calls looks, and the next one begins it
                self._runs = False

    def forget(self, name: Followable) -> None:
        with self._lock:
            self._seen.pop(name, None)

    def _run(self) -> None:
        while self._look():
            self._sleep(PERIOD)

    def _look(self) -> bool:
        """Whether there is anything left to look at."""
        with self._lock:
            names = list(self._seen.items())
            self._runs = bool(names)
        for name, seen in names:
            try:
                version = name.refresh(self._clock() + AHEAD)
                if version != seen:
                    self._note(name, version)
                    name.on_change()
            except Exception:
                log.exception("could not look whether a service is elsewhere by now")
        return bool(names)

    def _note(self, name: Followable, version: int) -> None:
        with self._lock:
            if name in self._seen:
                self._seen[name] = version


name_watch: Final = NameWatch()
