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

import zmq

from mesh.errors import MeshError
from mesh.transport import native

T = TypeVar("T")

PATIENCE: Final = 0.2
PAUSE: Final = 0.005
"""Seconds for which what has been closed is waited for, and between two attempts."""
_ALL_USED: Final = (errno.EMFILE, errno.ENFILE)
MARGIN: Final = 16
"""Descriptors that are left to the program, and not used for connections that come."""


def exhausted() -> int:
    """The error that the next descriptor would cost: EMFILE, ENFILE, or 0."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno if exc.errno in _ALL_USED else 0
    return 0


def free() -> int:
    """How many descriptors are left, as far as it is known: at least as many, or none.

    Costs a few microseconds: the next descriptor is the lowest that is free, so all below it are used.
    """
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return 0
    os.close(lowest)
    return limit() - lowest


def limit() -> int:
    """How many this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def problem() -> str:
    """Why next to nothing more can be opened, and what to do; "" where there is room."""
    left = free()
    if left > MARGIN:
        return ""
    return _describe(exhausted(), left)


def _describe(number: int, left: int = 0) -> str:
    if number == errno.ENFILE:
        return "the system has no file descriptors left"
    return (
        f"this process has {left or 'no'} file descriptors left, its limit is {limit()}: raise it "
        "(`ulimit -n`), or keep fewer clients and connections open"
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
    except (zmq.ZMQError, OSError, SystemError) as exc:  # a SystemError of the event loop
        number = getattr(exc, "errno", None)
        if number not in _ALL_USED and not (isinstance(exc, SystemError) and (number := exhausted())):
            raise
        raise MeshError(_describe(number)) from None
