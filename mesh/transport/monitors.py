"""What libzmq tells of the connections of many sockets, read by one socket.

Each monitored socket has a PAIR within libzmq, where its events come out. Usually one reads it by another
PAIR, which costs a descriptor for each. Here a lone ROUTER is connected to all of them, under a number for
each.

Any thread may use all of this: the lock is taken for each use of the shared socket.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

import zmq

from mesh.transport import descriptors
from mesh.transport.context import Context

_EVENT: Final = struct.Struct("=Hi")


class ConnectionEvent(NamedTuple):
    """kind: zmq.EVENT_…. value: a descriptor or an error, as libzmq's manual has it for each kind. address:
    the far end's, or that of the listening socket, with numbers for names.
    """

    kind: int
    value: int
    address: str


class Monitor:
    """What is told of one socket.

    notify: called, in any thread, where events have come that others have read.
    """

    __slots__ = ("_events", "_key", "_monitors", "_socket", "notify")

    def __init__(self, monitors: Monitors, socket: zmq.Socket[bytes], key: bytes) -> None:
        self.notify: Callable[[], object] = lambda: None
        self._monitors = monitors
        self._socket = socket
        self._key = key
        self._events: deque[ConnectionEvent] = deque()

    def take(self) -> list[ConnectionEvent]:
        """The events since the last time, in order."""
        self._monitors.read(self)
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def stop(self) -> None:
        """Have libzmq tell no more; with MONITOR_STOPPED among the kinds that is told as the last."""
        if not self._socket.closed:
            self._socket.disable_monitor()

    def close(self) -> None:
        """Stop, and forget it."""
        self.stop()
        self._monitors.forget(self._key)


class Monitors:
    """The monitored sockets of one context. allocate_lock: makes a lock for native threads."""

    def __init__(self, context: Context, allocate_lock: Callable[[], Any]) -> None:
        self._context = context
        self._allocate_lock = allocate_lock
        self._lock = allocate_lock()
        self._keys = count(1)
        self._monitors: dict[bytes, Monitor] = {}
        self._untold: set[Monitor] = set()
        """Those with events that nobody has been notified of."""
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        context.reclaim = self.read
        # Without a bound: libzmq's only thread would wait where there is no room, and with it all sockets.
        self._socket.set(zmq.RCVHWM, 0)
        self.fd = int(self._socket.get(zmq.FD))
        """Tells that there is something to read; edge-triggered, and silent until somebody has read."""

    def monitor(self, socket: zmq.Socket[bytes], kinds: int) -> Monitor:
        """Be told of these kinds of events from now on; only in the socket's own thread.

        Raises MeshError where file descriptors have run out, and closes the socket then.
        """
        with self._lock:
            key = b"%d" % next(self._keys)
            address = f"inproc://mesh.monitor.{os.getpid()}.{key.decode()}"
            try:
                descriptors.patiently(partial(socket.monitor, address, kinds), self._take_in)
            except BaseException:
                socket.close(0)
                raise
            # libzmq aborts where two connections have one number, so none is used twice.
            self._socket.set(zmq.CONNECT_ROUTING_ID, key)
            self._socket.connect(address)
            monitor = self._monitors[key] = Monitor(self, socket, key)
        if self._untold:
            self.read()
        return monitor

    def forked(self) -> None:
        """In the child, where a thread of the parent's may have held the lock: nobody would let it go."""
        self._lock = self._allocate_lock()

    def forget(self, key: bytes) -> None:
        with self._lock:
            self._monitors.pop(key, None)

    def read(self, reader: Monitor | None = None) -> None:
        """Take in what has come, and notify whom it is for. reader: looks by itself."""
        with self._lock:
            self._take_in()
            told, self._untold = self._untold, set()
        for monitor in told:
            if monitor is not reader:
                monitor.notify()

    def _take_in(self) -> None:
        """Under the lock."""
        while not self._socket.closed:
            try:
                key, event, address = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            monitor = self._monitors.get(key)
            if monitor is not None:
                kind, value = _EVENT.unpack(event)
                monitor._events.append(ConnectionEvent(kind, value, address.decode()))
                self._untold.add(monitor)

    def close(self) -> None:
        with self._lock:
            self._monitors.clear()
            self._socket.close(0)
