"""The end of a process that a handler of its parent's has forked, where that handler comes to its end."""

from __future__ import annotations

from typing import Final
from weakref import ref

import greenlet

from mesh.transport import process
from mesh.transport.recording import recording


class _Fork:
    """greenlet: the one that has forked this process; None in one that imported mesh itself."""

    def __init__(self) -> None:
        self.greenlet: ref[greenlet.greenlet] | None = None
        process.remember(self)

    def forked(self) -> None:
        self.greenlet = ref(greenlet.getcurrent())


_fork: Final = _Fork()


def handler_ended(error: BaseException | None, in_main: bool) -> None:
    """End this process, which a handler of its parent's has forked, where that handler has come to its end.

    There is nobody to answer here, and nothing else to do. error: what it raised. in_main: its loop is that
    of Python's main thread, so that Python can clean up. Another handler of the parent's, which goes on
    here, too, ends the process by SystemExit alone.
    """
    # Of the type: isinstance asks the exception's own __class__, which may raise.
    if not issubclass(type(error), SystemExit) and (
        _fork.greenlet is None or _fork.greenlet() is not greenlet.getcurrent()
    ):
        return
    if in_main:
        raise SystemExit(process.exit_code(error))
    recording.flush()
    process.leave(error)
