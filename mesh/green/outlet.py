"""The sending side of PUB/SUB and pipelines: one socket for all who send, from any loop or thread.

A send needs no loop. What does (connections that come and go, room in a full queue, a name that
leads elsewhere) is looked after by the loop thread, so that it goes on while others compute. The
socket is used under the lock only, and whoever has used it looks at who waits: the descriptor tells
of a change once, to whoever touches the socket next.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import zmq

from mesh.core import settings
from mesh.core.dropped import Dropped
from mesh.core.events import Packer
from mesh.core.values import Encode
from mesh.errors import MeshError
from mesh.green.event_socket import EventSocket, Role
from mesh.green.threads import loop_thread
from mesh.green.watch import LINGER, Waiter, Watch
from mesh.names.resolver import Target
from mesh.transport import process, sockets
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import NOBLOCK, Socket

MAX_INCOMING: Final = 4_096
"""Bytes of what a receiver may send, which are subscriptions."""
GRACE: Final = 0.5

log = logging.getLogger("mesh.events")


class Outlet:
    """A socket that sends events. dropped: what is known to have reached nobody."""

    def __init__(
        self,
        role: Role,
        target: Target | None,
        services: str | None,
        queue_size: int,
        max_message: int,
        encode: Encode | None = None,
    ) -> None:
        settings.count("queue_size", queue_size)
        settings.size("max_message", max_message)
        settings.function("encode", encode)
        self._queue_size = queue_size
        self.dropped = Dropped()
        self.closed = False
        self._packer = Packer(process.new_base(), max_message, encode)
        self._max_message = max_message
        self._encode = encode
        self._waiters: list[Waiter] = []
        self._watch: Watch | None = None
        self.ends = EventSocket(role, self._set_options, MAX_INCOMING, self._wake)
        # Watched before it is attached: what happens before that is never told.
        self._begin()
        try:
            with self.ends.lock:
                self.ends.attach(target, services)
                self.look()
        except Exception:
            self.close(0.0)
            raise
        process.remember(self)
        _open.add(self)

    def _set_options(self, socket: Socket) -> None:
        socket.set(zmq.SNDHWM, self._queue_size)
        socket.set(zmq.MAXMSGSIZE, MAX_INCOMING)
        # Nothing is queued for a far end that is not there, as nobody could tell what became of it.
        socket.set(zmq.IMMEDIATE, 1)

    def _begin(self) -> None:
        self._send = sockets.sender(self.ends.socket)
        self._watch = Watch(self, self.ends.socket)
        loop_thread.submit(self._watch.begin)

    def forked(self) -> None:
        """In the child of a fork: leave the parent's socket alone, and let go who waits for it."""
        self.ends.forked()
        self._packer = Packer(process.new_base(), self._max_message, self._encode)
        self._watch = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.error = MeshError(f"the process was forked while {self.ends.name} waited; send again")
            if waiter.here:  # the others are the parent's
                waiter.wake()

    # Under the lock

    def try_send(self, payload: bytes) -> bool:
        """Send; False where nobody takes more."""
        try:
            self._send(payload, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def ready(self) -> None:
        """Begin anew after a fork. Raises MeshError where nothing can be sent any more."""
        if self.closed:
            raise MeshError(f"{self.ends.name} is closed; make a new one")
        if self._watch is None:
            if self.ends.bound:
                raise MeshError(f"{self.ends.name} was bound before a fork, by the parent; make a new one")
            self.ends.reopen()
            self._begin()
            self.ends.reconnect()

    def look(self) -> None:
        """Take in what the socket has to tell, and let go on who can."""
        if self.closed or self._watch is None:
            return
        self.ends.socket.get(zmq.EVENTS)
        self._take()
        for waiter in list(self._waiters):
            if waiter.attempt():
                self._waiters.remove(waiter)
                waiter.succeeded = True
                waiter.wake()

    def _take(self) -> None:
        """Take in what receivers have sent."""

    # In the loop thread

    def on_readable(self) -> None:
        with self.ends.lock:
            self.look()

    def on_pulse(self, now: float) -> None:
        """Follow the name, and tell of what was dropped."""
        with self.ends.lock:
            left = None if self.closed else self.ends.follow(now)
            if left is not None and self._watch is not None:
                self._watch.peers.left(left)
            self.look()
            news = self.dropped.news(now)
        if news:
            log.warning("%s: %s", self.ends.name, news)

    def on_connection(self, event: ConnectionEvent, now: float) -> None:
        with self.ends.lock:
            if not self.closed:
                self.ends.happened(event, now)
                self.look()

    def _wake(self) -> None:
        """From any thread."""
        loop_thread.submit(self._settle)

    def _settle(self) -> None:
        with self.ends.lock:
            if not self.closed and self._watch is not None:
                self.ends.settle(monotonic())
                self.look()

    # For whoever sends

    def bind(self, endpoint: str) -> str:
        with self.ends.lock:
            self.ready()
            try:
                return self.ends.bind(endpoint)
            finally:
                self.look()

    def connect(self, endpoint: str) -> None:
        with self.ends.lock:
            self.ready()
            try:
                self.ends.connect(endpoint)
            finally:
                self.look()

    def pack(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """One event. Raises TypeError with the place of what can't travel, and WireError."""
        with self.ends.lock:
            return self._packer.pack(event, args, kwargs)

    @property
    def connections(self) -> int:
        """How many far ends are connected; those inside this process can't be counted."""
        return self._watch.peers.up if self._watch is not None else 0

    def describe(self) -> str:
        """Who is connected, for an error."""
        ends = ", ".join([*self.ends.connected, *self.ends.bound])
        if not ends:
            return "it has no endpoint: bind or connect it first"
        if not self.connections and not self.ends.connected:
            return f"nobody has come to {ends}"
        several = len(self.ends.connected) > 1
        problems = {
            f"{one}: {problem}" if several else problem
            for one in self.ends.connected
            if (problem := self.ends.problem(one))
        }
        who = f"{self.connections} connected at" if self.connections else "there is no connection to"
        return f"{who} {'; '.join([ends, *sorted(problems)])}"

    def until(self, attempt: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `attempt`, called under the lock, gives True; False after `timeout` seconds."""
        with self.ends.lock:
            self.ready()
            # Nobody goes before those who wait.
            if not self._waiters and attempt():
                return True
            if timeout is not None and timeout <= 0:
                return False
            waiter = Waiter(attempt)
            self._waiters.append(waiter)
            self.ends.awaited = True
        try:
            waiter.wait(timeout)
        finally:
            with self.ends.lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self.ends.awaited = bool(self._waiters)
        if waiter.error is not None:
            raise waiter.error
        return waiter.succeeded

    def close(self, timeout: float) -> None:
        """Close, and wait at most `timeout` seconds until all that was sent has left this process."""
        with self.ends.lock:
            if self.closed:
                return
            self.closed = True
            _open.discard(self)
            watch, waiters = self._watch, self._waiters
            self._watch, self._waiters = None, []
            for waiter in waiters:
                waiter.error = MeshError(f"{self.ends.name} was closed")
                waiter.wake()
        if watch is None:
            return
        gone = Waiter(lambda: False)
        began = monotonic()
        loop_thread.submit(watch.end, round(timeout * 1000), gone)
        gone.wait(timeout + GRACE)
        if timeout and monotonic() - began >= timeout:
            log.warning("%s: not all that was sent had left after %.4g s", self.ends.name, timeout)


_open: WeakSet[Outlet] = WeakSet()


def _close_all() -> None:
    for outlet in list(_open):
        outlet.close(LINGER)


atexit.register(_close_all)
