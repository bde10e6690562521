"""The sidecar of a server that runs already: registers it with hubs, and stands beside it.

The driver of a SidecarSession in an event loop: one connection to the server, one to each hub.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import gevent

from mesh.core import settings, wire
from mesh.core.channel import NEVER
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.health import Health
from mesh.core.registration import LOST_AFTER, VERSIONS, Registration
from mesh.core.sidecar import SidecarSession
from mesh.core.unfinished import Running, in_words
from mesh.errors import ConfigError
from mesh.green.life import Life
from mesh.green.loop import GeventLoop, loop_here
from mesh.green.server_link import BATCH
from mesh.green.server_links import ServerLinks
from mesh.names.endpoints import check_endpoint
from mesh.transport import native, process
from mesh.transport.hub_links import HubLinks
from mesh.transport.identity import myself
from mesh.transport.lookup import Obstacles
from mesh.transport.registering import check_registration

DEFAULT_CAPACITY: Final = 1_000
"""Calls at once that a hub may give: an old server would take any number."""
FAIR: Final = 0.01
"""Seconds of work after which the rest of the loop gets its turn."""
LINGER_MS: Final = 1_000
LEAVE: Final = 1.0
"""Seconds that a hub has to take in that its worker wants no more calls."""

log = logging.getLogger("mesh.sidecar")


class Sidecar(Life):
    """A worker of a service at hubs, whose calls another program carries out.

    name: what callers call the service. endpoint: that program's, any server of zerorpc. hubs: the
    out sides of one or several. heartbeat: seconds between signs of life to the hubs, and without
    one of the server until it is asked for one. capacity: calls at once that each hub may give. mdp: the
    version of Majordomo that the hubs speak, "0.2" or "0.1". max_message, max_elements: bytes of one
    event, and values in it, either way.

    problem: why it has stopped by itself, "" where it has not. Raises ConfigError.
    """

    __mesh_unexposed__ = "a sidecar"

    def __init__(
        self,
        name: str,
        endpoint: str,
        hubs: str | Sequence[str],
        *,
        heartbeat: float = 2.5,
        capacity: int = DEFAULT_CAPACITY,
        mdp: str = "0.2",
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        hubs = check_registration(name, hubs, heartbeat, mdp)
        check_endpoint(endpoint)
        if endpoint.startswith("inproc:"):
            raise ConfigError(f"{endpoint!r}: a sidecar's server is another process; it has tcp:// or ipc://")
        settings.count("capacity", capacity)
        settings.size("max_message", max_message)
        settings.size("max_elements", max_elements)
        if _address(endpoint) in map(_address, hubs):
            raise ConfigError(
                f"{endpoint!r} is the hub's endpoint: a sidecar stands beside a server; give that one's"
            )
        self.problem = ""
        self.name = name
        self.endpoint = endpoint
        health = Health(process.new_base(), heartbeat)
        self._session = SidecarSession(process.new_base(), endpoint, health, capacity, max_elements)
        self._lock = native.allocate_lock()
        self._server = ServerLinks(self._session, self._lock, self._answer, max_message)
        self._hubs = HubLinks(self._session, self._lock, max_message)
        about = {"capacity": 0, "address": endpoint, "kind": "sidecar", **myself()}
        for hub in hubs:
            self._hubs.add(hub, Registration(name, about, heartbeat, VERSIONS[mdp]))
        self._obstacles = Obstacles()
        self._timer: Any = None
        self._later: Any = None
        self._armed = NEVER
        self._busy = False
        self._offered = 0
        self._told = ""
        self._patient_until = NEVER
        self._closed = False
        Life.__init__(self, f"the sidecar of {name}")

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        if loop_here(self._hub):
            self._stop_watchers()
        self._closed = True
        self._lock = native.allocate_lock()
        self._hubs.forked(self._lock)
        self._server.forked(self._lock)
        Life.forked(self)

    # Life

    def _begin(self) -> None:
        loop = self._hub.loop
        self._patient_until = monotonic() + LOST_AFTER * self._session.health.heartbeat
        log.info("%s: asking the server at %s whether it is well", self.name, self.endpoint)
        self._later = loop.timer(0.0)
        self._obstacles.look([self.endpoint])
        ours = GeventLoop(self._hub)
        self._server.start(ours, self._work)
        self._hubs.start(ours, self._work)

    def _abandon(self) -> None:
        self._end()

    def _drain(self, timeout: float | None) -> None:
        give_up_at = NEVER if timeout is None else monotonic() + timeout
        running = self._running()
        if running:
            limit = "" if timeout is None else f", for at most {timeout:g} s"
            log.info("%s: waits for %d calls%s: %s", self.name, len(running), limit, in_words(running))
        with self._lock:
            self._hubs.offer(0, monotonic())
        self._offered = 0
        self._work()
        leave_at = min(monotonic() + LEAVE, give_up_at)
        while not self._hubs.settled and monotonic() < leave_at:
            gevent.sleep(0.005)
        self._session.draining = True
        while self._session.channels and monotonic() < give_up_at:
            gevent.sleep(0.005)
        running = self._running()
        self.cut_off = len(running)
        if running:
            log.warning(
                "%s: %d calls still ran after %g s and are given up: %s",
                self.name,
                len(running),
                timeout,
                in_words(running),
            )
        with self._lock:
            self._session.give_up("the sidecar has stopped")
        self._work()
        gevent.sleep(0.05)  # what was sent leaves through libzmq's own thread

    def _running(self) -> list[Running]:
        now, hubs = monotonic(), self._hubs
        calls = list(self._session.channels.values())
        return [(call.name, now - call.opened, f"through {hubs.endpoint(call.peer)}") for call in calls]

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_watchers()
        with self._lock:
            self._hubs.close(LINGER_MS)
            self._server.close(LINGER_MS)

    def _stop_watchers(self) -> None:
        self._hubs.stop_watchers()
        self._server.stop_watchers()
        for timer in (self._timer, self._later):
            if timer is not None:
                timer.stop()
                timer.close()
        self._timer = self._later = None

    # The loop

    def _work(self) -> None:
        """Pass on what has come until nothing is left, or the loop's turn is over."""
        if self._closed or self._busy:
            return
        self._busy = True
        end = monotonic() + FAIR
        try:
            while True:
                now = monotonic()
                with self._lock:
                    self._hubs.hold()
                    count = self._hubs.receive(now, BATCH)
                    if not self._hubs.crowded:
                        # Else the server has to wait for the hub, as it would if they were one.
                        count += self._server.receive(now, BATCH)
                    went = self._answer()
                    self._hubs.release()
                    # To send swallows the edge of the descriptor: what came meanwhile is not signalled.
                    went = self._server.flush() or went
                self._look(now)
                if not count and not went:
                    break
                if now > end:
                    self._work_later()
                    break
        finally:
            self._busy = False
        self._arm()

    def _work_later(self) -> None:
        """When the rest of the loop has had its turn."""
        if not self._closed and not self._later.active:
            self._later.start(self._work)

    def _answer(self) -> bool:
        """Give the hubs what the session has for them; whether there was anything."""
        session = self._session
        if not session.out:
            return False
        while session.out:
            out, session.out = session.out, []
            for peer, event in out:
                self._hubs.send(peer, event)
        return True

    def _look(self, now: float) -> None:
        """Tell the hubs and the log where the server has fallen sick or is well again."""
        if self._session.loop and not self.problem:
            self.problem = (
                f"what is at {self.endpoint} is a hub where this worker of {self.name} is registered: it "
                "would be given its own calls; give the endpoint of the server itself"
            )
            log.error("%s: %s", self.name, self.problem)
            self.stop(0.0)
        health, capacity = self._session.health, self._session.capacity
        if capacity != self._offered and not self._stopping:
            self._offered = capacity
            with self._lock:
                self._hubs.offer(capacity, now)
            self._work_later()
        if health.well and self._told != "well":
            self._told = "well"
            kind = "mesh" if health.mesh else "zerorpc"
            log.info("%s: the server at %s, of %s, is well", self.name, self.endpoint, kind)
        elif not health.well and (self._told == "well" or (not self._told and now >= self._patient_until)):
            never_well = not self._told
            self._told = "sick"
            why = (never_well and self._obstacles.problem(self.endpoint)) or health.why
            log.warning("%s: the server at %s is out for now: %s", self.name, self.endpoint, why)

    def _arm(self) -> None:
        wake_at = min(self._session.wake_at, self._hubs.wake_at, self._server.wake_at)
        if not self._told:
            wake_at = min(wake_at, self._patient_until)
        if self._closed or self._hub is None or wake_at >= self._armed:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._armed = wake_at
        self._timer = self._hub.loop.timer(max(wake_at - monotonic(), 0.0))
        self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._armed = NEVER
        self._work()
        if self._closed:
            return
        now = monotonic()
        with self._lock:
            self._session.on_timer(now)
            self._hubs.on_timer(now)
            self._hubs.connect_anew(now)
            self._server.redial(now)
        self._tell_dropped(now)
        self._work()

    def _tell_dropped(self, now: float) -> None:
        news = self._session.dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self.name, news)


def _address(endpoint: str) -> str:
    return endpoint.replace("tcp://localhost:", "tcp://127.0.0.1:")
