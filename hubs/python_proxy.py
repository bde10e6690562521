"""Carries messages between the two sockets of a device: slower than libzmq's own proxy, but in control.

It waits for room at the far side without using the processor, which libzmq's proxy does not, and it
can be told how long to go on. Used while the far side is full, and to drain.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

import zmq

from hubs.proxy_control import NOTHING, Traffic
from mesh.transport.sockets import Socket

BATCH = 1_000
"""Messages that go one way before the other way has its turn."""
MOST_HELD = 10_000
"""Messages that wait for room at the far side while new calls are refused."""

Refuse = Callable[[list[bytes]], list[bytes] | None]
"""Gives the answer to a message that is not to be carried, and None for one that is."""


class PythonProxy:
    """Takes messages from `front` to `back`, and back again where `both_ways`.

    control: a socket that wakes it up. held: messages that `back` had no room for; none is lost.
    blocked: when that was last so, on the clock of time.monotonic.
    """

    def __init__(self, front: Socket, back: Socket, control: Socket, *, both_ways: bool) -> None:
        self._front = front
        self._back = back
        self._control = control
        self._both_ways = both_ways
        self.held: deque[list[bytes]] = deque()
        self.blocked = -math.inf
        self._counts = list(NOTHING)

    def step(self, patience: float, refuse: Refuse | None = None) -> int:
        """Carry what there is; how many messages that was. Waits at most `patience` seconds for the first.

        While there is no room, one message is held and the others are left where they are; with `refuse`
        they are taken in, so that new calls get their answer. Returns 0 at once when `control` has something
        to read, which is left to the caller.
        """
        wanted: dict[Socket, int] = {self._control: zmq.POLLIN}
        if self._both_ways:
            wanted[self._back] = zmq.POLLIN
        if len(self.held) < (MOST_HELD if refuse else 1):
            wanted[self._front] = zmq.POLLIN
        if self.held:
            wanted[self._back] = wanted.get(self._back, 0) | zmq.POLLOUT
        ready = dict(zmq.zmq_poll(list(wanted.items()), int(patience * 1000)))
        if self._control in ready:
            return 0
        carried = 0
        if ready.get(self._back, 0) & zmq.POLLIN:
            carried += self._backwards()
        if self.held:
            carried += self._send_held()
        if self._front in ready:
            carried += self._forwards(refuse)
        return carried

    def refuse_held(self, refuse: Refuse) -> None:
        """What nobody has seen yet is refused as well."""
        self.held = deque(message for message in self.held if not self._refused(message, refuse))

    def _send_held(self) -> int:
        for count in range(BATCH):
            if not self.held:
                return count
            if not self._send(self.held[0]):
                self.blocked = time.monotonic()
                return count
            self.held.popleft()
        return BATCH

    def _forwards(self, refuse: Refuse | None) -> int:
        most = MOST_HELD if refuse else 1
        for count in range(BATCH):
            message = _receive(self._front) if len(self.held) < most else None
            if message is None:
                return count
            if refuse and self._refused(message, refuse):
                continue
            if self.held or not self._send(message):
                self.held.append(message)
                self.blocked = time.monotonic()
        return BATCH

    def _refused(self, message: list[bytes], refuse: Refuse) -> bool:
        answer = refuse(message)
        if answer is not None:
            self._front.send_multipart(answer)
        return answer is not None

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
    def carried(self) -> Traffic:
        """So far."""
        return Traffic(*self._counts)


def _receive(socket: Socket) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
