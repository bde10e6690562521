"""Carries messages between the two sockets of a device: slower than libzmq's own proxy, but in control.

It waits for room at the far side without using the processor, which libzmq's proxy does not, and it
can be told how long to go on. Used while the far side is full, and to drain.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from hubs.sockets import Socket
from hubs.steering import NOTHING, Counters

BATCH = 1_000
"""Messages that go one way before the other way has its turn."""

Refuse = Callable[[list[bytes]], list[bytes] | None]
"""Gives the answer to a message that is not to be carried, and None for one that is."""


class Carrier:
    """Takes messages from `front` to `back`, and back again where `both_ways`.

    control: a socket that wakes it up. held: a message that `back` had no room for; none is lost.
    blocked: when that was last so, on the clock of time.monotonic.
    """

    def __init__(self, front: Socket, back: Socket, control: Socket, *, both_ways: bool) -> None:
        self._front = front
        self._back = back
        self._control = control
        self._both_ways = both_ways
        self.held: list[bytes] | None = None
        self.blocked = 0.0
        self._counts = list(NOTHING)

    def step(self, patience: float, refuse: Refuse | None = None) -> int:
        """Carry what there is; how many messages that was. Waits at most `patience` seconds for the first.

        Returns 0 at once when `control` has something to read, which is left to the caller.
        """
        wanted: dict[Socket, int] = {self._control: zmq.POLLIN}
        if self._both_ways:
            wanted[self._back] = zmq.POLLIN
        if self.held is None:
            wanted[self._front] = zmq.POLLIN
        else:
            wanted[self._back] = wanted.get(self._back, 0) | zmq.POLLOUT
        ready = dict(zmq.zmq_poll(list(wanted.items()), int(patience * 1000)))
        if self._control in ready:
            return 0
        carried = 0
        if ready.get(self._back, 0) & zmq.POLLIN:
            carried += self._backwards()
        if self.held is not None or self._front in ready:
            carried += self._forwards(refuse)
        return carried

    def _forwards(self, refuse: Refuse | None) -> int:
        for count in range(BATCH):
            message = self.held or _receive(self._front)
            if message is None:
                return count
            answer = refuse(message) if refuse and self.held is None else None
            if answer is not None:
                self._front.send_multipart(answer)
            elif not self._send(message):
                self.held, self.blocked = message, time.monotonic()
                return count
            self.held = None
        return BATCH

    def _send(self, message: list[bytes]) -> bool:
        try:
            self._back.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._count(0, message)
        return True

    def _backwards(self) -> int:
        for count in range(BATCH):
            message = _receive(self._back)
            if message is None:
                return count
            # A ROUTER and an XSUB never have to wait: what can't be sent is dropped.
            self._front.send_multipart(message)
            self._count(2, message)
        return BATCH

    def _count(self, at: int, message: list[bytes]) -> None:
        self._counts[at] += len(message)
        self._counts[at + 1] += sum(map(len, message))

    @property
    def carried(self) -> Counters:
        """So far."""
        return Counters(*self._counts)


def _receive(socket: Socket) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
