"""The standard streams of a command, made usable whatever the shell has left of them.

Owns what a failed write to standard output is called.
"""

from __future__ import annotations

import io
import os
import sys
from select import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(OSError):
    """Standard output can't be written: it is closed, or its disk is full."""

    def __str__(self) -> str:
        return f"standard output can't be written: {self.strerror}"


class _Output(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        """All of it, or an error: Python's text streams take a part that was written for the whole."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                number = super().write(left)
                if number is None:  # somebody has made it non-blocking
                    select([], [self], [])
                left = left[number or 0 :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None
        return size


def prepare() -> None:
    """Give the command streams that it can use, and whose failures can be told apart."""
    _fill_descriptors()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is sys.__stdout__:
        sys.stdout = _output(sys.stdout)


def discard_output() -> None:
    """Let nothing more reach standard output, not even the flush when Python ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fill_descriptors() -> None:
    """Open the closed ones of 0, 1 and 2, which a socket would take else; writing to them fails."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest that is free


def _output(old: io.TextIOBase | None) -> io.TextIOWrapper:
    # A remote string may hold what the terminal's encoding lacks; that must not end the command.
    raw = _Output(1, "w", closefd=False)
    unbuffered = getattr(old, "write_through", False)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=raw.isatty(),
        write_through=unbuffered,
    )
