"""What the system has counted on a connection of libzmq's, by the descriptor that libzmq tells of it.

The descriptor is libzmq's own, and its thread may close it at any time; its number may then be that of
another connection, or of any file of the program's. So a look at it works on a copy, and counts only where
both ends are those that they were: nothing here ever closes, reads or changes what libzmq has.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from _socket import socket  # not that of a program which has patched the module
from contextlib import closing
from typing import Any, Final

from mesh.core.progress import Counters

if sys.platform == "linux":
    import fcntl
    import termios
    from _socket import IPPROTO_TCP, TCP_INFO

_KNOWN: Final = sys.platform == "linux"
"""Whether the system counts as linux/tcp.h says (struct tcp_info, whose fields never move)."""
_LAST_DATA_RECV: Final = struct.Struct("52xI")
_ACKED_RECEIVED: Final = struct.Struct("120xQQ")
_MILLISECONDS: Final = 1_000.0


class Connection:
    """One that libzmq has told of, as long as it stands.

    descriptor: libzmq's number for it. To be made soon after that, for its ends are those that the descriptor
    has then.
    """

    __slots__ = ("descriptor", "ends")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ends: Any = None
        copy = copy_of(descriptor)
        if copy is not None:
            with closing(copy):
                self.ends = _ends(copy)

    @property
    def host(self) -> str:
        """The address of the far end, without its port; "" where it is not one of TCP, or not known."""
        return "" if self.ends is None else str(self.ends[0][0])

    @property
    def stands(self) -> bool:
        """Whether the descriptor is still that of this connection."""
        copy = None if self.ends is None else copy_of(self.descriptor)
        if copy is None:
            return False
        with closing(copy):
            return bool(_ends(copy) == self.ends)

    def counters(self) -> Counters | None:
        """None where the connection is another by now, or the system tells nothing of it."""
        copy = None if self.ends is None else copy_of(self.descriptor)
        if copy is None:
            return None
        with closing(copy):
            try:
                if _ends(copy) != self.ends:
                    return None
                info = copy.getsockopt(IPPROTO_TCP, TCP_INFO, 256)
                (pending,) = struct.unpack("i", fcntl.ioctl(copy.fileno(), termios.TIOCOUTQ, b"\0" * 4))
                (idle,) = _LAST_DATA_RECV.unpack_from(info)
                acked, received = _ACKED_RECEIVED.unpack_from(info)
            except (OSError, struct.error):
                return None
        return Counters(acked, received, pending, idle / _MILLISECONDS)


def copy_of(descriptor: int) -> socket | None:
    """A descriptor of our own for the same socket; None where it is none, or there is no room."""
    if not _KNOWN:
        return None
    copy = -1
    try:
        # Not of a file: to close any descriptor of that would give up the program's locks on it.
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            copy = os.dup(descriptor)
            return socket(fileno=copy)
    except OSError:
        if copy >= 0:
            os.close(copy)
    return None


def _ends(copy: socket) -> Any:
    """The far end and ours; None where it is not connected, or not by TCP."""
    try:
        ends = copy.getpeername(), copy.getsockname()
    except OSError:
        return None
    # (host, port) of IPv4, and two more of IPv6; a path, or nothing, is that of ipc.
    return ends if type(ends[0]) is tuple else None
