"""File descriptors that run out: how that is told."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

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
BIND: Final = 4
"""Those that libzmq may take as it binds."""
COMMAND: Final = 20
"""Those without which no command can do anything."""


def exhausted() -> int:
    """The error that the next descriptor would cost: EMFILE, ENFILE, or 0."""
    return _look(1)[1]


def free(most: int) -> int:
    """How many descriptors are left, of at most that many. Costs a microsecond or two for each."""
    return _look(most)[0]


def _look(most: int) -> tuple[int, int]:
    """How many can be had, of at most `most`, and the error that the next would cost."""
    taken: list[int] = []
    try:
        while len(taken) < most:
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as exc:
        return len(taken), exc.errno if exc.errno in _ALL_USED else 0
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return most, 0


def require(number: int) -> None:
    """Raise MeshError unless that many descriptors are left.

    For what ends the whole process where they run out in its midst: an event loop of libev, and libzmq where
    it looks up the address that it binds.
    """
    left, error = _look(number)
    if left < number:
        raise MeshError(_describe(error, left))


def limit() -> int:
    """How many this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def problem() -> str:
    """Why next to nothing more can be opened, and what to do; "" where there is room."""
    left, error = _look(MARGIN)
    return "" if left >= MARGIN else _describe(error, left)


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
