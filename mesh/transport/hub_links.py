"""The registrations of a server or a sidecar: its links to hubs, as their owner sees them together.

Every method but `start`, `connect_anew` and `interval` runs under the owner's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from mesh.core.channel import NEVER
from mesh.core.hub_calls import Session
from mesh.core.progress import Progress
from mesh.core.registration import Registration
from mesh.core.server_call import HubCall
from mesh.transport import sockets
from mesh.transport.hub_link import HubLink
from mesh.transport.loop import Loop, Watcher
from mesh.transport.monitoring import MonitorWatcher


class HubLinks:
    """lock: the owner's. max_message: bytes of one event. taken: how many handlers run for nobody.

    held_since: when the oldest answer came that waits for others, on the clock of time.monotonic.
    """

    def __init__(
        self, session: Session, lock: Any, max_message: int, taken: Callable[[], int] = lambda: 0
    ) -> None:
        self._session = session
        self._lock = lock
        self._max_message = max_message
        self._taken = taken
        self._links: dict[int, HubLink] = {}
        self._watchers: dict[HubLink, list[Watcher | MonitorWatcher]] = {}
        self.holding = False
        self.held_since = NEVER
        self._loop: Loop | None = None
        self._drain: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._links)

    def knows(self, endpoint: str, service: str) -> bool:
        """Whether there is a worker of that service for that hub: with two it would be given too much."""
        links = self._links.values()
        return any((link.endpoint, link.registration.service) == (endpoint, service) for link in links)

    # Life

    def add(self, endpoint: str, registration: Registration) -> None:
        """Register with one more hub, from now on or from the start. From any thread."""
        number = len(self._links)
        link = HubLink(number, endpoint, registration, self._session, self._max_message, self._taken)
        self._links[number] = link
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch, link)

    def start(self, loop: Loop, drain: Callable[[], None]) -> None:
        """Serve in this loop. drain: called where something may have come."""
        self._loop, self._drain = loop, drain
        for link in self._links.values():
            self._watch(link)

    def _watch(self, link: HubLink) -> None:
        assert self._loop is not None
        data = self._loop.reader(sockets.descriptor(link.socket), self._drain)
        monitor = MonitorWatcher(self._loop, link.dialer.monitor, self._connection_changed, link)
        self._watchers[link] = [data, monitor]

    def _connection_changed(self, link: HubLink) -> None:
        if link not in self._watchers:
            return
        with self._lock:
            link.watch(monotonic())
        self._drain()

    def connect_anew(self, now: float) -> None:
        """Where a connection broke, or its hub has sent us away; from the loop only."""
        for link in self._links.values():
            if link.registration.connect_at <= now:
                self._unwatch(link)
                link.connect_anew()
                self._watch(link)

    def _unwatch(self, link: HubLink) -> None:
        for watcher in self._watchers.pop(link, ()):
            watcher.close()

    def stop_watchers(self) -> None:
        for link in list(self._watchers):
            self._unwatch(link)

    def close(self, linger_ms: int) -> None:
        for link in self._links.values():
            link.registration.leave()
            link.flush()
            link.close(linger_ms)

    def forked(self, lock: Any) -> None:
        """In the child of a fork; the owner has stopped the watchers, where their loop is its own."""
        self._lock = lock
        self._watchers.clear()
        self._links.clear()

    # Calls

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, at most `most` messages of each hub; how many there were."""
        return sum([link.receive(now, most) for link in self._links.values()])

    def send(self, peer: HubCall, event: bytes) -> None:
        link = self._links[peer.hub]
        link.send(peer, event)
        if not self.holding:
            link.release()
        elif self.held_since == NEVER:
            self.held_since = monotonic()

    def endpoint(self, peer: HubCall) -> str:
        """The hub that a call came through."""
        return self._links[peer.hub].endpoint

    def hold(self) -> None:
        """Let answers wait for each other from now on: many in one message cost little more than one."""
        self.holding = bool(self._links)

    def release(self) -> None:
        """Send them, and let none wait after that."""
        self.holding = False
        self.send_held()

    def send_held(self) -> None:
        """Send the answers that wait."""
        if self.held_since != NEVER:
            self.held_since = NEVER
            for link in self._links.values():
                link.release()

    def progress(self, hub: int) -> Progress | None:
        """What moves on the connection to the hub of that number."""
        return self._links[hub].registration.progress

    @property
    def crowded(self) -> bool:
        """Whether any hub should read before it is given much more."""
        return any(link.crowded for link in self._links.values())

    # Time

    @property
    def interval(self) -> float:
        """Seconds, the shortest between heartbeats to any hub. For any thread, without the lock."""
        return min((link.registration.interval for link in list(self._links.values())), default=NEVER)

    @property
    def wake_at(self) -> float:
        return min((link.wake_at for link in self._links.values()), default=NEVER)

    def on_timer(self, now: float) -> None:
        for link in self._links.values():
            link.on_timer(now)

    # The end

    def offer(self, capacity: int, now: float) -> None:
        """Tell the hubs how many calls may come at once."""
        for link in self._links.values():
            link.offer(capacity, now)

    def freed(self, now: float) -> None:
        """A handler that ran for nobody has ended: a hub that came back meanwhile may give more."""
        taken = self._taken()
        for link in self._links.values():
            link.registration.free(taken, now)
            link.flush()

    @property
    def settled(self) -> bool:
        """Whether every hub knows how many."""
        return all(link.registration.settled for link in self._links.values())
