"""What a hub prints and logs, written by threads of their own: a reader that stops must not stop the hub."""

from __future__ import annotations

import logging
import threading
import time

from mesh.cli.lines import Lines
from mesh.cli.log_format import formatter

log = logging.getLogger("hubs")


class _Handler(logging.Handler):
    """The log on standard error."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self.setFormatter(formatter(log_format))
        # Where standard error is gone there is nobody to tell.
        self.lines = Lines(2, self._lost, lambda error: None)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put(self.format(record))

    def _lost(self, number: int) -> str:
        text = "%d lines of the log are lost: nobody read it meanwhile"
        return self.format(log.makeRecord(log.name, logging.WARNING, __file__, 0, text, (number,), None))


class Output:
    """The log of this process and its standard output, from now on. As the options of the commands say."""

    def __init__(self, log_level: str, log_format: str) -> None:
        self._handler = _Handler(log_format)
        self._printed = Lines(1, lambda number: "", self._tell)
        self._told = False
        logging.basicConfig(level=log_level.upper(), handlers=[self._handler])
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
