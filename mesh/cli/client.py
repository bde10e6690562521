"""The connection of a command, and how the command ends while it waits for it.

Owns the import of the network, which is slow and hence late.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import F_GETFL, fcntl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh import Client

LOOK = 0.25
"""Seconds between two turns of an idle loop, at the most."""


def open_client(
    service: str,
    services_file: str | None,
    *,
    timeout: float | None = None,
    heartbeat: float | None = None,
) -> Client:
    """A client of `service`, a name of the registry or an endpoint; to be used in `with`.

    timeout, heartbeat: seconds; None for what the registry says, else the library's own.
    """
    import mesh

    quiet_interrupt()
    given = {"timeout": timeout, "heartbeat": heartbeat}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return mesh.connect(service, services=services_file, **options)


def quiet_interrupt() -> None:
    """Let Ctrl-C end the command, at once and without the traceback that gevent's hub prints by itself.

    gevent does not hear of a signal that comes between its last look for one and its sleep. So the loop wakes
    up now and then.
    """
    import gevent

    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    hub.loop.timer(LOOK, LOOK, ref=False).start(bool)


@contextmanager
def stopping_with_reader() -> Iterator[None]:
    """Raise BrokenPipeError here when the reader of standard output goes.

    Without it that would be seen at the next write, and a stream may be silent for hours.
    """
    import gevent
    from greenlet import getcurrent

    fd = sys.stdout.fileno()
    write_only = fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    if not (stat.S_ISFIFO(os.fstat(fd).st_mode) and write_only):
        yield
        return
    # Nothing can be read from this end of a pipe: the event means that the other end is closed.
    watcher = gevent.get_hub().loop.io(fd, 1)
    watcher.start(getcurrent().throw, BrokenPipeError)
    try:
        yield
    finally:
        watcher.stop()
        watcher.close()
