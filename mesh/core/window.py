"""How far a server may be ahead of a client that reads a stream: a window in items, as it grows and shrinks.

Bounded by what one client wants to keep, and by what all its streams of one server may hold there.
"""

from __future__ import annotations

from typing import Final

from mesh.core.client_call import FIRST_WINDOW, Call

LAST_WINDOW: Final = 1_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""A stream's window grows from FIRST_WINDOW to the last, as long as it holds no more than this."""
WINDOWS: Final = 8_000
WINDOWS_BYTES: Final = 48 * 1024 * 1024
"""What all streams of one server may hold together: it, or a hub before it, keeps some more than that
for a client that does not read, and then gives it up."""
OLD_WINDOWS: Final = 500
"""Items that all streams of one old server together may hold."""


def more(call: Call, waiting: int) -> int:
    """The items to grant beyond those that are, 0 while they suffice. waiting: those that nobody has taken.

    Sets the window of the call.
    """
    left = call.credit + waiting
    if left * 2 >= call.window:
        return 0
    peer = call.peer
    streams = 1 if peer is None else max(peer.open, 1)
    room = min(WINDOW_BYTES, WINDOWS_BYTES // streams) // max(call.item_size, 1)
    if peer is not None and peer.mesh:
        call.window = max(2, min(call.window * 2, LAST_WINDOW, WINDOWS // streams, room))
    elif peer is None or call.credit > 0:
        # The old server for Node takes a grant for all that it may send, not for more: only when
        # nothing is left do both mean the same.
        return 0
    else:
        # An old server drops in silence what is too much for its socket.
        call.window = max(1, min(FIRST_WINDOW, OLD_WINDOWS // peer.open, room))
    return max(call.window - left, 1)
