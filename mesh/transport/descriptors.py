"""File descriptors that run out: how that is noticed, without opening any, and told.

A number is given out again as soon as it is free, the lowest first. So where fewer than some number are left,
one of as many at the top of the range is open: to ask the system for these alone is nearly always enough, and
costs next to nothing. (To open as many as are wanted, and close them again, would take them from the
program's other threads for that moment, and leave them open for ever in a child that is forked in it.)
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from select import POLLNVAL
from typing import Any, Final, TypeVar

from mesh.errors import MeshError
from mesh.transport import native

T = TypeVar("T")

PATIENCE: Final = 0.2
PAUSE: Final = 0.005
"""Seconds for which what has been closed is waited for, and between two attempts."""
_ALL_USED: Final = (errno.EMFILE, errno.ENFILE)
MARGIN: Final = 16
"""Descriptors that are left to the program, and not used for connections that come."""
LOOP: Final = 8
"""Descriptors that an event loop may take as it begins, and more."""
CONTEXT: Final = 12
"""Those of a ZeroMQ context and its first sockets, with some to spare."""
BIND: Final = 4
"""Those that libzmq may take as it binds."""
COMMAND: Final = 20
"""Those without which no command can do anything."""
CLIENT: Final = 4
"""Those of a client of one endpoint, beyond the first."""
MOST_OPEN: Final = 262_144
"""At the most, also where the system would give more."""


_NO_LIMIT: Final = 1 << 30
"""A limit from which on nobody counts: no system gives as many."""
_CHUNK: Final = 1_024
_POLLFD: Final = struct.Struct("=ihh")
"""struct pollfd: the descriptor, the events that are wanted, and what there is."""
_OPEN_FILES: Final = "/proc/self/fd"
# With Python's lock held: to get it back may take a busy program's thread 5 ms, and this far less.
_poll: Final[Any] = ctypes.PyDLL(None).poll
"""That of C, as gevent patches Python's. With nothing wanted it says at once which descriptors are none."""


def exhausted() -> int:
    """The error that the next descriptor costs: EMFILE, ENFILE, or 0."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as exc:
        return exc.errno if exc.errno in _ALL_USED else 0
    return 0


def free(most: int) -> int:
    """How many descriptors this process has left, of at most that many. Opens none.

    Costs some microseconds; where they are all but used on a Linux from before 6.2, 0.1 ms for each 1,000 of
    the limit.
    """
    end = limit()
    if end >= _NO_LIMIT or (most <= end and _closed(end - most, end) == most):
        return most
    try:
        # Since Linux 6.2 that is their number, before it 0.
        opened = os.stat(_OPEN_FILES).st_size
    except OSError:
        opened = 0
    if opened:
        return min(most, max(0, end - opened))
    left = 0
    for below in range(end, 0, -_CHUNK):
        left += _closed(max(0, below - _CHUNK), below)
        if left >= most:
            return most
    return left


def _closed(first: int, end: int) -> int:
    """How many of these numbers are no descriptors."""
    asked = ctypes.create_string_buffer(b"".join([_POLLFD.pack(one, 0, 0) for one in range(first, end)]))
    _poll(asked, end - first, 0)
    return sum(told & POLLNVAL != 0 for _, _, told in _POLLFD.iter_unpack(asked.raw[:-1]))


def require(number: int) -> None:
    """Raise MeshError unless that many descriptors are left.

    For what ends the whole process where they run out in its midst: an event loop of libev, and libzmq where
    it looks up the address that it binds, and where it begins.
    """
    left = free(number)
    if left < number or exhausted():
        raise MeshError(_describe(exhausted(), left))


def limit() -> int:
    """How many this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> bool:
    """Let this process have more open than the usual 256 or 1,024; whether it has what it may. For commands:
    programs that wait by select() have no use for descriptors from 1,024 on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN if hard == resource.RLIM_INFINITY else min(MOST_OPEN, hard)
    try:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return False
    return True


def at_once(most: int) -> int:
    """How many clients of one endpoint a command may have open at once, of that many; at least one."""
    raise_limit()
    room = free(most * CLIENT + COMMAND) - COMMAND
    return max(1, min(most, room // CLIENT))


def problem() -> str:
    """Why next to nothing more can be opened, and what to do; "" where there is room."""
    left = free(MARGIN)
    return "" if left >= MARGIN and not exhausted() else _describe(exhausted(), left)


def _describe(number: int, left: int = 0) -> str:
    if number == errno.ENFILE:
        return "the system has no file descriptors left"
    what = "1 file descriptor" if left == 1 else f"{left or 'no'} file descriptors"
    return (
        f"this process has {what} left, its limit is {limit()}: raise it (`ulimit -n`), or keep fewer "
        "clients and connections open"
    )


def patiently(make: Callable[[], T], reclaim: Callable[[], object]) -> T:
    """What `make` gives. Raises MeshError where descriptors have run out, and stay so for a moment.

    libzmq gives those of a closed socket back a little later. reclaim: has it do so.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            with told():
                return make()
        except MeshError:
            if time.monotonic() >= give_up:
                raise
            reclaim()
            native.sleep(PAUSE)


@contextmanager
def told() -> Iterator[None]:
    """Raise MeshError in place of libzmq's or the system's error where descriptors have run out."""
    try:
        yield
    except Exception as exc:
        number = getattr(exc, "errno", None)
        if number not in _ALL_USED and not (isinstance(exc, SystemError) and (number := exhausted())):
            raise
        raise MeshError(_describe(number)) from None
