"""The connections of a ROUTER, by the routing ids of their peers: which one a message came by.

libzmq tells the descriptor with each message (ZMQ_SRCFD: deprecated, with nothing in its place), so one look
at the first message of a peer is enough.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import zmq

from mesh.core.progress import Progress
from mesh.transport.connection import Connection

MAX_OTHERS: Final = 1_000
"""Peers within this process that are remembered as such: nothing tells when one of them ends."""


class Peers:
    """known: those that `meet` was called for; None where there is no descriptor. watched: those whose
    progress was asked for, so that their messages are to be counted.

    Of each descriptor it is the last peer: their number is bounded by that of open files.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Connection | None] = {}
        self.watched: dict[bytes, Progress] = {}
        self._of: dict[int, bytes] = {}
        self._others: deque[bytes] = deque()

    def meet(self, peer: bytes, frame: Any) -> None:
        """A first message has come from this peer. frame: one of its frames, not copied."""
        try:
            descriptor = int(frame.get(zmq.SRCFD))
        except (zmq.ZMQError, TypeError):
            self.known[peer] = None
            self._others.append(peer)
            if len(self._others) > MAX_OTHERS:
                self.known.pop(self._others.popleft(), None)
            return
        self._forget(descriptor)
        self.known[peer] = Connection(descriptor)
        self._of[descriptor] = peer

    def ended(self, descriptor: int) -> None:
        """The monitor tells that a connection has ended, maybe after another has got its descriptor."""
        peer = self._of.get(descriptor)
        if peer is not None:
            connection = self.known.get(peer)
            if connection is None or not connection.stands:
                self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        peer = self._of.pop(descriptor, None)
        if peer is None:
            return
        connection = self.known.get(peer)
        # It may have come back by another connection since.
        if connection is not None and connection.descriptor == descriptor:
            del self.known[peer]
            self.watched.pop(peer, None)

    @property
    def connected(self) -> bool:
        """Whether any of them is there, or may be: the monitor tells late of some that are not."""
        return any(one is None or one.ends is None or one.stands for one in list(self.known.values()))

    def address(self, peer: bytes) -> str:
        """The host that a peer is at; "" where nobody can tell."""
        connection = self.known.get(peer)
        return "" if connection is None else connection.host

    def progress(self, peer: bytes) -> Progress | None:
        """What moves on the connection of a peer; None where nobody can tell."""
        connection = self.known.get(peer)
        if connection is None or connection.ends is None:
            return None
        progress = self.watched.get(peer)
        if progress is None:
            progress = self.watched[peer] = Progress(connection.counters)
        return progress
