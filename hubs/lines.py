"""What a hub prints and logs, written by threads of their own: a reader that stops must not stop the hub.

A terminal that is held by Ctrl-S, or a pipe that nobody empties, takes no more, and whoever writes there
himself waits for it. Knows nothing of what the lines say.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

MOST: Final = 1_000
"""Lines that may wait for their reader; beyond that the oldest are lost."""

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger("hubs")


class Lines:
    """fd: where they go. lost: gives the line to say of so many that are lost, "" for none. failed: is
    called, in the thread that writes, when a line could not be written.
    """

    def __init__(self, fd: int, lost: Callable[[int], str], failed: Callable[[OSError], None]) -> None:
        self._fd = fd
        self._lost_line = lost
        self._failed = failed
        self._waiting: deque[str] = deque()
        self._lost = 0
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"writer {fd}", daemon=True).start()

    def put(self, line: str) -> None:
        """Never waits for the reader."""
        with self._changed:
            if len(self._waiting) >= MOST:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(line)
            self._changed.notify_all()

    def flush(self, give_up: float) -> None:
        """Wait until all is written, or until that time on the clock of time.monotonic."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._writing, max(0.0, give_up - time.monotonic())
            )

    # In the thread that writes

    def _run(self) -> None:
        while True:
            text = self._next()
            try:
                self._write(f"{text}\n".encode(errors="backslashreplace"))
            except OSError as error:
                self._failed(error)

    def _next(self) -> str:
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting)
            self._writing = True
            lost, self._lost = self._lost, 0
            told = self._lost_line(lost) if lost else ""
            line = self._waiting.popleft()
            return f"{told}\n{line}" if told else line

    def _write(self, data: bytes) -> None:
        """Past Python's streams, whose locks the end of the process would wait for."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select([], [self._fd], [])


class _Handler(logging.Handler):
    """The log on standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        # Where standard error is gone there is nobody to tell.
        self.lines = Lines(2, self._lost, lambda error: None)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put(self.format(record))

    def _lost(self, number: int) -> str:
        text = "%d lines of the log are lost: nobody read it meanwhile"
        return self.format(log.makeRecord(log.name, logging.WARNING, __file__, 0, text, (number,), None))


class Output:
    """The log of this process and its standard output, from now on."""

    def __init__(self) -> None:
        self._handler = _Handler()
        self._printed = Lines(1, lambda number: "", self._tell)
        self._told = False
        logging.basicConfig(level=logging.INFO, handlers=[self._handler])
        threading.excepthook = _log_failure

    def print(self, line: str) -> None:
        self._printed.put(line)

    def end(self, patience: float) -> None:
        """Give the last lines so many seconds."""
        give_up = time.monotonic() + patience
        self._printed.flush(give_up)
        self._handler.lines.flush(give_up)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("standard output can't be written: %s; serving without it", error.strerror)


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    """What ends a thread, which Python would write to standard error by itself."""
    if failure.exc_value is not None and failure.thread is not None:
        what = type(failure.exc_value), failure.exc_value, failure.exc_traceback
        log.critical("the thread %r has failed", failure.thread.name, exc_info=what)
