"""Has libzmq accept no connections where file descriptors run short.

At the limit libzmq (4.3.5) can't accept a connection that waits, and tries again at once for as long as it
waits: a whole core for nothing, while the program can't even open its log. So before that, what listens is
taken out of the events that libzmq's thread waits for, and given back when there is room. Connections wait
meanwhile, and their clients try again.

libzmq has no call for it. But its thread waits by epoll, and Linux tells in /proc which descriptors an epoll
waits for and what its owner keeps with each: so the events of one can be changed, and all else stays as it
is. Where the system does not tell that, nothing is done.

By ipc it is worse: there libzmq aborts the process at the limit (ipc_listener.cpp, `errno_assert`), which
this keeps from happening where connections come no faster than somebody looks. Of those that have waited
meanwhile, which would all come at once, it is given one at a time.

The limit is that of the process: of a system that has none left for anybody nothing is known here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import select
import struct
from _socket import SO_ACCEPTCONN, SOL_SOCKET
from contextlib import closing, suppress
from typing import Any, Final, NamedTuple

from mesh.transport import descriptors, listener, native
from mesh.transport.connection import copy_of

ROOM: Final = 32
"""As many are enough for connections to be accepted again."""

A_LOOK: Final = 16
"""Connections that have waited, and are accepted one by one at a look, at the most."""
PAUSE: Final = 0.001
"""Seconds that libzmq's thread has for one of them."""

_EPOLL_CTL_MOD: Final = 3
_EPOLLIN: Final = 1
_EPOLLONESHOT: Final = 1 << 30
_EVENT: Final = struct.Struct("=IQ" if platform.machine() in ("x86_64", "AMD64") else "@IQ")
"""struct epoll_event, which has no padding on x86-64 alone."""
_WATCHED: Final = re.compile(rb"^tfd: +(\d+) events: +[0-9a-f]+ data: +([0-9a-f]+)", re.MULTILINE)


open_poll: Any = native.original("select", "poll")


class _Watched(NamedTuple):
    """What listens: an epoll that waits for it, its descriptor, and what libzmq keeps with that."""

    epoll: int
    descriptor: int
    data: int


class Accepting:
    """Stops, and goes on, for all sockets of this process that listen; for one thread.

    stopped: whether none accepts connections now.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._one_by_one = False
        """Whether connections may still wait that have come while none was accepted."""
        self._most_free = 0
        """The most that were free at a look since connections were accepted last, up to ROOM."""
        self._watched: list[_Watched] = []
        self._version = -1
        """That of the sockets that listen of which all that is known."""

    def look(self) -> bool:
        """Stop, or go on, where it is time to; whether that has changed. To be called ten times a second."""
        free = descriptors.free(ROOM)
        if self._version != listener.version and free:
            self._find()
        if not self.stopped:
            self._most_free = max(self._most_free, free)
        # Of those that have waited none is let in that would touch the margin.
        least = descriptors.MARGIN + self._one_by_one
        stopped = free < (self._enough if self.stopped else least)
        if not stopped and not self.stopped:
            if self._one_by_one:
                self._accept_those_that_waited(free)
            return False
        changed = self._set_events(0) and stopped is not self.stopped
        if changed:
            self.stopped = stopped
            if not stopped:
                self._most_free = free
                self._one_by_one = True
                self._accept_those_that_waited(free)
        return changed

    def _accept_those_that_waited(self, free: int) -> None:
        """One by one, as far as there is room now; as usual again when none waits any more."""
        for _ in range(min(free - descriptors.MARGIN, A_LOOK)):
            if not self._some_wait():
                self._one_by_one = not self._set_events(_EPOLLIN)
                return
            self._set_events(_EPOLLIN | _EPOLLONESHOT)
            native.sleep(PAUSE)

    def _some_wait(self) -> bool:
        """Whether a connection waits to be accepted."""
        ready = open_poll()
        with listener.lock:
            if self._version != listener.version:
                return False
            for one in self._watched:
                ready.register(one.descriptor, select.POLLIN)
            return bool(ready.poll(0))

    @property
    def _enough(self) -> int:
        """How many must be free before connections are accepted again.

        A process that never has ROOM to spare goes on with half of what it had above the margin: what was
        enough before is enough again.
        """
        if self._most_free >= ROOM:
            return ROOM
        return max((descriptors.MARGIN + self._most_free + 1) // 2, descriptors.MARGIN)

    def _find(self) -> None:
        """While there are descriptors for it: at the limit it is too late."""
        with listener.lock:
            version, addresses = listener.version, listener.addresses()
        self._watched = _watched(addresses)
        # libzmq's thread begins to wait for what listens a moment after it was bound.
        if len(self._watched) >= len(addresses):
            self._version = version

    def _set_events(self, events: int) -> bool:
        """Have libzmq wait for these at whatever of ours listens; whether anything does."""
        control = getattr(ctypes.CDLL(None), "epoll_ctl", None)
        found = False
        with listener.lock:
            # Under the lock none leaves its endpoint; what was known before one did may be another's.
            if control is None or self._version != listener.version:
                return False
            for one in self._watched:
                event = ctypes.create_string_buffer(_EVENT.pack(events, one.data))
                found = control(one.epoll, _EPOLL_CTL_MOD, one.descriptor, event) == 0 or found
        return found


def describe(stopped: bool) -> str:
    """That it stops or goes on, for the log."""
    if not stopped:
        return "there are file descriptors again: connections are accepted"
    return (
        f"the {descriptors.limit()} file descriptors of this process are all but used: no more connections "
        "are accepted until some are free; raise the limit (`ulimit -n`)"
    )


def _watched(addresses: set[Any]) -> list[_Watched]:
    found = []
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                    with open(f"/proc/self/fdinfo/{name}", "rb") as info:
                        told = _WATCHED.findall(info.read())
                    found += [_Watched(int(name), int(fd), int(data, 16)) for fd, data in told]
    return [one for one in found if _listens(one.descriptor, addresses)]


def _listens(descriptor: int, addresses: set[Any]) -> bool:
    copy = copy_of(descriptor)
    if copy is None:
        return False
    with closing(copy):
        try:
            name = copy.getsockname()
            name = name[:2] if type(name) is tuple else name
            return name in addresses and bool(copy.getsockopt(SOL_SOCKET, SO_ACCEPTCONN))
        except OSError:
            return False
