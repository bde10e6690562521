"""The text of a configuration file: a regular one, of a size that can be read at once, in UTF-8."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, Final

from mesh.names.mistakes import Mistake

MOST_BYTES: Final = 16 * 2**20


def open_at_once(path: str) -> BinaryIO:
    """Open for reading, without the wait that a named pipe has for its writer."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def problem_of(status: os.stat_result, path: str, name: str) -> str:
    """Why the file is not to be read, "" where it may be. name: what such a file is called."""
    if not stat.S_ISREG(status.st_mode):
        return f"{path}: is no regular file: give the path of a {name}"
    if status.st_size > MOST_BYTES:
        return f"{path}: has {status.st_size} bytes, and may have {MOST_BYTES}: is it a {name} at all?"
    return ""


def decoded(data: bytes, path: str) -> str:
    """The text, without a byte order mark at its beginning. Raises Mistake where it is no UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        problem = f"the byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"
        raise Mistake(problem, f"{path}:{line}", line) from None
