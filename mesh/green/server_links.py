"""The connections of a sidecar to its server: one, and more as there are more calls.

Every method but `start` runs under the sidecar's lock, from its loop.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from mesh.core.carried import Lane
from mesh.core.channel import NEVER
from mesh.core.outbox import MAX_BYTES
from mesh.core.sidecar import MAX_UNHEARD, SidecarSession
from mesh.green.server_link import ServerLink
from mesh.transport import sockets
from mesh.transport.dialer import Change
from mesh.transport.loop import Loop, Watcher
from mesh.transport.monitoring import MonitorWatcher

RETRY: Final = 0.01
MAX_KEPT: Final = MAX_UNHEARD + MAX_BYTES
"""Bytes that all connections together keep until the server reads: calls, and what follows on them."""


class ServerLinks:
    """lock: the sidecar's. hand: called after each event of the server that the session has taken."""

    def __init__(
        self, session: SidecarSession, lock: Any, hand: Callable[[], object], max_message: int
    ) -> None:
        self._session = session
        self._lock = lock
        self._hand = hand
        self._max_message = max_message
        self._watchers: dict[ServerLink, list[Watcher | MonitorWatcher]] = {}
        self._loop: Loop | None = None
        self._work: Callable[[], None] = lambda: None
        lane = session.lanes[0]
        first = ServerLink(session, lane, hand, max_message)
        self._links = {lane: first}
        # Those that may have something: a descriptor tells only of changes, and a send swallows them.
        self._lively = {first}

    # Life

    def start(self, loop: Loop, work: Callable[[], None]) -> None:
        """Serve in this loop. work: called where something may have come."""
        self._loop, self._work = loop, work
        for lane, link in self._links.items():
            self._watch(lane, link)

    def _watch(self, lane: Lane, link: ServerLink) -> None:
        assert self._loop is not None
        data = self._loop.reader(sockets.descriptor(link.socket), self._readable, link)
        monitor = MonitorWatcher(self._loop, link.dialer.monitor, self._connection_changed, lane, link)
        self._watchers[link] = [data, monitor]

    def _readable(self, link: ServerLink) -> None:
        self._lively.add(link)
        self._work()

    def close(self, linger_ms: int) -> None:
        for lane in list(self._links):
            self._close(lane, linger_ms)

    def stop_watchers(self) -> None:
        for link in list(self._watchers):
            self._unwatch(link)

    def _unwatch(self, link: ServerLink) -> None:
        for watcher in self._watchers.pop(link, ()):
            watcher.close()

    def forked(self, lock: Any) -> None:
        """In the child of a fork; the owner has stopped the watchers, where their loop is its own."""
        self._lock = lock
        self._watchers.clear()
        self._links.clear()
        self._lively.clear()

    def _close(self, lane: Lane, linger_ms: int) -> None:
        link = self._links.pop(lane)
        self._lively.discard(link)
        self._unwatch(link)
        link.close(linger_ms)

    # In and out

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, about `most` messages at the most; how many there were."""
        total = 0
        most = most // max(len(self._lively), 1) or 1
        for link in list(self._lively):
            count = link.receive(now, most)
            if not count:
                self._lively.discard(link)
            total += count
        return total

    def flush(self) -> bool:
        """Send what the session has for the server, and what was kept; whether anything came of it."""
        session, went = self._session, False
        for link in self._links.values():
            if link.kept and link.flush():
                self._lively.add(link)
                went = True
        waiting, session.to_server = session.to_server, []
        for call, event in waiting:
            link = self._link(call.lane)
            if not link.kept or not (link.full or self._full):
                link.transmit(call, event)
                self._lively.add(link)
            elif not call.ended:
                session.not_taken(call)
        pings, session.health.out = session.health.out, []
        for ping in pings:
            link = self._links[session.lanes[0]]
            link.ping(ping)
            self._lively.add(link)
        return went or bool(waiting) or bool(pings)

    def _link(self, lane: Lane) -> ServerLink:
        link = self._links.get(lane)
        if link is None:
            link = self._links[lane] = ServerLink(self._session, lane, self._hand, self._max_message)
            self._watch(lane, link)
        return link

    @property
    def _full(self) -> bool:
        """Whether the connections together keep more than they may."""
        return sum(link.kept for link in self._links.values()) > MAX_KEPT

    @property
    def wake_at(self) -> float:
        """When `flush` and `redial` are to be tried again."""
        soon = monotonic() + RETRY if any(link.kept for link in self._links.values()) else NEVER
        return min([soon, *[link.dialer.wake_at for link in self._links.values()]])

    # The connections

    def _connection_changed(self, lane: Lane, link: ServerLink) -> None:
        if link not in self._watchers:
            return
        now = monotonic()
        with self._lock:
            for change in link.dialer.take(now):
                self._happened(change, lane, link, now)
        self._work()

    def redial(self, now: float) -> None:
        """Try the connections again whose handshake failed, where it is time to."""
        for link in self._links.values():
            link.dialer.dial_if_due(now)

    def _happened(self, change: Change, lane: Lane, link: ServerLink, now: float) -> None:
        session = self._session
        first = lane is session.lanes[0]
        if change is Change.UP:
            lane.up, lane.progress = True, link.dialer.progress
            if first:
                session.health.progress = lane.progress
                session.connected(now)
            return
        why = "the connection broke"
        if change is Change.FAILED:
            why = link.dialer.why
            link.dialer.wanted(now)  # the hubs wait for it
        link.broke(now)
        if not first:
            session.lane_broke(lane, why)
            return
        session.broke(why)
        for other in [other for other in self._links if other is not lane]:
            self._close(other, 0)
