"""Lines for somebody who may stop reading, as a terminal that Ctrl-S holds or a pipe that nobody empties.

Whoever writes there himself waits for the reader; here a thread does. It is a native one, with native
locks, whatever gevent patches later. Knows nothing of what the lines say.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
from _thread import LockType, RLock, allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from select import select
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST: Final = 1_000
"""Lines that may wait for their reader; beyond that the oldest are lost."""
LONGEST_PIECE: Final = 10_000
"""Characters of a line that are kept until its end comes."""
LAST: Final = 0.5
"""Seconds that the last lines have to be read, where somebody reads."""


class Lines:
    """fd: where they go. lost: gives the line to say of so many that are lost, "" for none. failed: is
    called, in the thread that writes, when a line could not be written.
    """

    def __init__(self, fd: int, lost: Callable[[int], str], failed: Callable[[OSError], None]) -> None:
        self._fd = fd
        self._lost_line = lost
        self._failed = failed
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lost = 0
        # A lock among the lines is let go when all before it are written.
        self._waiting: SimpleQueue[str | LockType] = SimpleQueue()
        start_new_thread(self._run, (self._waiting,))

    def put(self, line: str) -> None:
        """Never waits for the reader."""
        self._put(f"{line}\n")

    def put_piece(self, text: str) -> None:
        """As put, of a line that has not come to its end."""
        self._put(text)

    def _put(self, item: str | LockType) -> None:
        if self._pid != os.getpid():
            self._begin()  # the child of a fork has the thread no more
        if self._waiting.qsize() >= MOST:
            try:
                self._waiting.get_nowait()
                self._lost += 1
            except Empty:
                pass
        self._waiting.put(item)

    def flush(self, give_up: float) -> None:
        """Wait until all is written, or until that time on the clock of time.monotonic."""
        written = allocate_lock()
        written.acquire()
        self._put(written)
        written.acquire(True, max(0.0, give_up - time.monotonic()))

    # In the thread that writes

    def _run(self, waiting: SimpleQueue[str | LockType]) -> None:
        while True:
            item = waiting.get()
            if not isinstance(item, str):
                item.release()
                continue
            lost, self._lost = self._lost, 0
            told = self._lost_line(lost) if lost else ""
            text = f"{told}\n{item}" if told else item
            try:
                self._write(text.encode(errors="backslashreplace"))
            except OSError as error:
                self._failed(error)

    def _write(self, data: bytes) -> None:
        """Past Python's streams, whose locks the end of the process would wait for."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select([], [self._fd], [])


class Stream(io.TextIOBase):
    """A text stream whose lines are written so, and what has begun of one when it is flushed; old: what it
    stands for.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, lines: Lines, old: TextIO) -> None:
        self._lines = lines
        self._old = old
        self._begun = ""
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = RLock()
        """Of whoever writes, as a program's threads may. A signal handler writes while it is kept."""

    def _locked(self) -> AbstractContextManager[object]:
        if self._pid != os.getpid():
            self._begin()  # in the child of a fork, where it may be kept for ever
        lock: AbstractContextManager[object] = self._lock
        return lock

    def write(self, text: str, /) -> int:
        with self._locked():
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self._lines.put(line)
            if len(self._begun) > LONGEST_PIECE:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self._locked():
            begun, self._begun = self._begun, ""
            if begun:
                self._lines.put_piece(begun)

    @property
    def buffer(self) -> Bytes:
        """For programs that write bytes to it."""
        return Bytes(self)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._old.isatty()

    def fileno(self) -> int:
        return self._old.fileno()

    def end(self) -> None:
        """Give the last lines their time."""
        if self._begun:
            self.write("\n")
        self._lines.flush(time.monotonic() + LAST)


class Bytes(io.RawIOBase):
    """The same stream for bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, data: ReadableBuffer, /) -> int:
        whole = bytes(data)
        self._stream.write(whole.decode(errors="backslashreplace"))
        return len(whole)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


def unblock_errors() -> None:
    """Let nothing that this process says on standard error wait for whoever reads it."""
    if isinstance(sys.stderr, Stream):
        return
    lines = Lines(2, _lost, lambda error: None)
    sys.stderr = stream = Stream(lines, sys.stderr)
    atexit.register(stream.end)


def end_errors() -> None:
    """Before os._exit, which skips what is done at the end else."""
    if isinstance(sys.stderr, Stream):
        sys.stderr.end()


def takes_more(fd: int, patience: float = 0.0) -> bool:
    """Whether a line can be written there without waiting, within so many seconds."""
    return bool(select([], [fd], [], patience)[1])


def _lost(number: int) -> str:
    return f"mesh: {number} lines are lost: nobody read them meanwhile"
