"""The control socket of libzmq's proxy: how the proxy is asked what it has carried, and ended.

One end is the proxy's thread's, the other is used by any thread under a lock. Knows nothing of what
the proxy carries.
"""

from __future__ import annotations

import struct
import threading
from operator import add
from typing import NamedTuple

import zmq

from mesh.transport.context import Context

_ASK = b"STATISTICS"
_END = b"TERMINATE"
_ENDED = b"ended"
_FIELDS = 8
"""Frames and bytes, received and sent, front and back; a number in each frame of the answer."""


class Traffic(NamedTuple):
    """What was carried, by the side that it came in at: frames and bytes of the front and of the back.

    A message has one frame or more.
    """

    front: int = 0
    front_size: int = 0
    back: int = 0
    back_size: int = 0

    def plus(self, other: Traffic) -> Traffic:
        return Traffic(*map(add, self, other))

    @property
    def frames(self) -> int:
        """Both ways together."""
        return self.front + self.back


NOTHING = Traffic()


class ProxyControl:
    """inner: the end for the proxy. A proxy may be ended and another begun as often as one likes."""

    def __init__(self, context: Context) -> None:
        self.inner = context.socket(zmq.PAIR)
        self._outer = context.socket(zmq.PAIR)
        self.inner.bind("inproc://control")
        self._outer.connect("inproc://control")
        self._lock = threading.Lock()
        self._asked = False
        self._before = NOTHING
        self._now = NOTHING

    # For any thread

    def ask(self, patience: float) -> bool:
        """Bring `carried` up to date; False where the proxy did not answer within `patience` seconds.

        It does not while it waits for room at the far side in the middle of a batch.
        """
        with self._lock:
            self._hear(0)
            if not self._asked:
                self._asked = self._send(_ASK)
            self._hear(patience)
            return not self._asked

    def end(self) -> None:
        """Have the proxy return to its thread."""
        with self._lock:
            self._send(_ASK)
            self._send(_END)

    @property
    def carried(self) -> Traffic:
        """As far as it is known."""
        return self._before.plus(self._now)

    def close(self) -> None:
        with self._lock:
            self._outer.close(0)

    def _send(self, command: bytes) -> bool:
        """False where the thread of the proxy has ended."""
        try:
            self._outer.send(command, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _hear(self, patience: float) -> None:
        """Take in the answers; waits for one that was asked for."""
        while self._outer.poll(int(patience * 1000) if self._asked else 0):
            answer = self._outer.recv_multipart()
            self._asked = False
            if len(answer) == _FIELDS:
                numbers = [struct.unpack("=Q", frame)[0] for frame in answer]
                self._now = Traffic(*numbers[0:2], *numbers[4:6])
            elif answer == [_ENDED]:
                self._before, self._now = self.carried, NOTHING

    # For the thread of the proxy

    def ended(self) -> None:
        """The proxy has returned: the next one counts from 0."""
        self.inner.send(_ENDED)

    def told_to_end(self) -> bool:
        """In place of a proxy: take in what came, up to an order to end."""
        while self.inner.poll(0):
            command = self.inner.recv()
            if command == _END:
                return True
            self.inner.send(b"")
        return False
