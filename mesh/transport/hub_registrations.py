"""The registrations of a server or a sidecar: its connections to hubs, as their owner sees them together.

All but `start`, `stop_watchers`, `connect_anew` and what says otherwise runs under the owner's lock. A server
registers from any thread: the table of connections is never changed, but replaced, so that whoever goes
through it without the lock has the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from mesh.core.channel import NEVER
from mesh.core.cork import Cork
from mesh.core.hub_calls import Session
from mesh.core.progress import Progress
from mesh.core.registration import Registration
from mesh.core.server_call import HubCall
from mesh.transport.hub_connection import HubConnection
from mesh.transport.loop import Loop


class Held(Protocol):
    """What answers wait at for others."""

    def release(self) -> None:
        """Send those that wait."""


class HubRegistrations:
    """lock: the owner's. max_message: bytes of one event. abandoned: how many handlers run for nobody.

    cork: the answers that wait for others, at the connections that they go by; those of the owner's other
    sockets may be among them.
    """

    def __init__(
        self, session: Session, lock: Any, max_message: int, abandoned: Callable[[], int] = lambda: 0
    ) -> None:
        self.cork: Cork[Held] = Cork(guarded=True)
        self._session = session
        self._lock = lock
        self._max_message = max_message
        self._abandoned = abandoned
        self._connections: dict[int, HubConnection] = {}
        self._watched: set[HubConnection] = set()
        self._loop: Loop | None = None
        self._on_readable: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._connections)

    def knows(self, endpoint: str, service: str) -> bool:
        """Whether there is a worker of that service for that hub: with two it would be given too much."""
        there = ((one.endpoint, one.registration.service) for one in self._connections.values())
        return (endpoint, service) in there

    # Life

    def add(self, endpoint: str, registration: Registration) -> None:
        """Register with one more hub, from now on or from the start. From any thread."""
        number = len(self._connections)
        connection = HubConnection(
            number, endpoint, registration, self._session, self._max_message, self._abandoned
        )
        self._connections = {**self._connections, number: connection}
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch, connection)

    def start(self, loop: Loop, on_readable: Callable[[], None]) -> None:
        """Serve in this loop. on_readable: called where something may have come."""
        self._loop, self._on_readable = loop, on_readable
        for connection in self._connections.values():
            self._watch(connection)

    def _watch(self, connection: HubConnection) -> None:
        if self._loop is not None and connection.number in self._connections:
            self._watched.add(connection)
            connection.watch(self._loop, self._readable, self._connection_changed)

    def _readable(self, _: HubConnection) -> None:
        self._on_readable()

    def _connection_changed(self, connection: HubConnection) -> None:
        if connection not in self._watched:
            return
        with self._lock:
            connection.take_changes(monotonic())
        self._on_readable()

    def connect_anew(self, now: float) -> None:
        """Where a connection broke, or its hub has sent us away; under the lock, from the loop."""
        for connection in self._connections.values():
            if connection.registration.connect_at <= now:
                self._unwatch(connection)
                connection.connect_anew()
                self._watch(connection)

    def _unwatch(self, connection: HubConnection) -> None:
        self._watched.discard(connection)
        connection.unwatch()

    def stop_watchers(self) -> None:
        """In the loop's own thread, where the loop is not closed."""
        self._loop = None
        for connection in list(self._watched):
            self._unwatch(connection)

    def close(self, linger_ms: int) -> None:
        for connection in self._connections.values():
            connection.registration.leave()
            connection.flush()
            connection.close(linger_ms)

    def forked(self, lock: Any) -> None:
        """In the child of a fork; the owner has stopped the watchers, where their loop is its own."""
        self._lock = lock
        self._loop = None
        self._watched.clear()
        self._connections = {}
        self.cork.forget()

    # Calls

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, at most `most` messages of each hub; how many there were."""
        return sum([connection.receive(now, most) for connection in self._connections.values()])

    def send(self, peer: HubCall, event: bytes) -> None:
        connection = self._connections[peer.hub]
        connection.send(peer, event)
        if not self.cork.on:
            connection.release()
        elif self.cork.add(connection, now := monotonic()):
            self.send_held(now)

    def hold(self, now: float) -> None:
        """Let answers wait for each other from now on: many in one message cost little more than one."""
        if self._connections:
            self.cork.begin(now)

    def release(self, now: float) -> None:
        """Send those that wait, and let none wait after that."""
        self.cork.end()
        self.send_held(now)

    def send_held(self, now: float) -> None:
        """Send the answers that wait."""
        if self.cork:
            for connection in self.cork.release(now):
                connection.release()

    def endpoint(self, peer: HubCall) -> str:
        """The hub that a call came through. Without the lock."""
        return self._connections[peer.hub].endpoint

    def progress(self, hub: int) -> Progress | None:
        """What moves on the connection to the hub of that number."""
        return self._connections[hub].registration.progress

    @property
    def crowded(self) -> bool:
        """Whether any hub should read before it is given much more. Without the lock."""
        return any(connection.crowded for connection in self._connections.values())

    # Time

    @property
    def interval(self) -> float:
        """Seconds, the shortest between heartbeats to any hub. Without the lock."""
        return min((one.registration.interval for one in self._connections.values()), default=NEVER)

    @property
    def wake_at(self) -> float:
        """When on_timer and connect_anew are to be called."""
        return min((connection.wake_at for connection in self._connections.values()), default=NEVER)

    def on_timer(self, now: float) -> None:
        for connection in self._connections.values():
            connection.on_timer(now)

    # The end

    def offer(self, capacity: int, now: float) -> None:
        """Tell the hubs how many calls may come at once."""
        for connection in self._connections.values():
            connection.offer(capacity, now)

    def freed(self, now: float) -> None:
        """A handler that ran for nobody has ended."""
        for connection in self._connections.values():
            connection.freed(now)

    @property
    def settled(self) -> bool:
        """Whether every hub knows how many. Without the lock."""
        return all(connection.registration.settled for connection in self._connections.values())
