"""The choice among the servers of one client. Pure: load and random source come in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from mesh.core.progress import Progress

NO_CONNECTION: Final = "no connection yet; is a server running there?"


class Peer:
    """One endpoint of a client, as the choice sees it.

    live: a connection stands. leaving: until when it is left alone, for it has refused a call because
    it stops, or has no worker. silent: a call was given up for its silence, and nothing came since.
    open: calls sent to it and not yet answered. weight: its share among the others, 1 or more. hub: it is
    one, which has to be told the service of a call. mesh:
    whether it understands what mesh adds to zerorpc, None until it was asked on this connection. batch:
    the same of several events in one frame. why: the last reason why it is not live.
    progress: what moves on the connection, where that can be told.
    """

    __slots__ = (
        "batch",
        "endpoint",
        "hub",
        "leaving",
        "live",
        "mesh",
        "open",
        "progress",
        "silent",
        "weight",
        "why",
    )

    def __init__(self, endpoint: str, weight: int = 1) -> None:
        self.endpoint = endpoint
        self.weight = weight
        self.hub = False
        self.live = False
        self.leaving = 0.0
        self.silent = False
        self.open = 0
        self.mesh: bool | None = None
        self.batch: bool | None = None
        self.why = NO_CONNECTION
        self.progress: Progress | None = None

    def transmit(self, payload: bytes, call: Any = None) -> None:
        """Send it, or keep it until the connection takes it. call: the one that it opens, if it does.

        A driver's peers do.
        """
        raise NotImplementedError


def choose(peers: Sequence[Peer], random: Callable[[], float]) -> Peer | None:
    """The live peer with the fewest open calls for its weight, or None where none is live.

    One that is silent has few, for they are all given up: it is the last resort.

    random: a source of floats in [0, 1), by which ties are broken, so that many clients that
    start together do not all begin with the same server.
    """
    if len(peers) == 1:
        return peers[0] if peers[0].live else None
    best: Peer | None = None
    least, ties = 0.0, 1
    for peer in peers:
        if not peer.live:
            continue
        load = peer.open / peer.weight if not peer.silent else math.inf
        if best is None or load < least:
            best, least, ties = peer, load, 1
        elif load == least:
            ties += 1
            if random() * ties < 1.0:
                best = peer
    return best
