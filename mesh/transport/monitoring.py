"""The monitors of this process's sockets, as its event loops have them read.

One socket reads them all (transport/monitors.py). In each loop with a monitored socket one watcher looks at
it; whichever loop comes first reads for the others too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mesh.transport import process
from mesh.transport.loop import Loop, Watcher
from mesh.transport.monitors import Monitor


class _Readers:
    """The watcher of each loop that has had a monitored socket.

    Each is touched by its loop's own thread alone. None keeps its loop from ending, and each goes on when
    the last socket there is gone: libzmq lets go of a monitor when what reads it has been looked at again.
    """

    def __init__(self) -> None:
        self._of_loop: dict[Loop, Watcher] = {}
        process.remember(self)

    def forked(self) -> None:
        """In the child of a fork: the socket that they read is the parent's."""
        readers, self._of_loop = self._of_loop, {}
        for loop, watcher in readers.items():
            if loop.here():
                watcher.close()

    def ensure(self, loop: Loop) -> None:
        if loop in self._of_loop:
            return
        for ended in [other for other in list(self._of_loop) if not other.alive()]:
            self._of_loop.pop(ended, None)
        monitors = process.monitors()
        self._of_loop[loop] = loop.reader(monitors.fd, monitors.read, background=True)


_readers: Final = _Readers()


class MonitorWatcher:
    """Calls `callback` in the loop when a monitor has something to tell."""

    __slots__ = ("_monitor",)

    def __init__(self, loop: Loop, monitor: Monitor, callback: Callable[..., object], *args: Any) -> None:
        self._monitor = monitor
        _readers.ensure(loop)
        monitor.notify = partial(loop.call_soon_threadsafe, callback, *args)
        # The descriptor does not tell of what came before this.
        loop.call_soon(callback, *args)

    def close(self) -> None:
        self._monitor.notify = lambda: None
