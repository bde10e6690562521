"""A sidecar on a loop: carries calls between hubs and one server that knows nothing of them.

Owns the connections, the timer, what is told in the log, and the end: a drain. What becomes of each call is
the session's matter (core/sidecar.py), what runs the loop is the driver's. All of it is for the loop's own
thread, but `running`, which any may ask.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from enum import Enum
from time import monotonic
from typing import Final

from mesh.core import settings, wire
from mesh.core.channel import NEVER
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.health import Health
from mesh.core.labels import check_labels
from mesh.core.registration import LOST_AFTER, VERSIONS, Registration
from mesh.core.sidecar import SidecarSession
from mesh.core.unfinished import Running, in_words
from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.transport import process
from mesh.transport.hub_registrations import HubRegistrations
from mesh.transport.identity import myself
from mesh.transport.lookup import Obstacles
from mesh.transport.loop import Loop
from mesh.transport.pump import Pump
from mesh.transport.registering import check_registration
from mesh.transport.server_connections import ServerConnections

DEFAULT_CAPACITY: Final = 1_000
"""Calls at once that a hub may give: an old server would take any number."""
LINGER_MS: Final = 1_000
LEAVE: Final = 1.0
"""Seconds that a hub has to take in that its worker wants no more calls."""
DEPART: Final = 0.05
"""Seconds for the last answers to leave through libzmq's own thread."""

log = logging.getLogger("mesh.sidecar")


class _Stage(Enum):
    """How far the end has come."""

    SERVING = "takes calls"
    LEAVING = "the hubs are being told to give no more"
    FINISHING = "the open calls may end"
    DEPARTING = "the last answers leave"
    DRAINED = "nothing is left"


class Told(Enum):
    """What the log has said last of the server's health."""

    NOTHING = "nothing"
    WELL = "well"
    SICK = "out for now"


class SidecarEndpoint:
    """A worker of a service at hubs, whose calls another program carries out.

    The settings are those of mesh.green.sidecar.Sidecar. on_problem: called in the loop, once, where it can
    never work; `problem` says why then, and is "" before. cut_off: how many calls the drain has given up.
    Raises ConfigError.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        hubs: str | Sequence[str],
        on_problem: Callable[[], object],
        *,
        heartbeat: float = 2.5,
        capacity: int = DEFAULT_CAPACITY,
        mdp: str = "0.2",
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        hubs = check_registration(name, hubs, heartbeat, mdp)
        settings.count("capacity", capacity)
        settings.size("max_message", max_message)
        settings.size("max_elements", max_elements)
        _check_server(endpoint, hubs)
        self.name = name
        self.endpoint = endpoint
        self.problem = ""
        self.cut_off = 0
        self._on_problem = on_problem
        health = Health(process.new_base(), heartbeat)
        self._session = SidecarSession(process.new_base(), endpoint, health, capacity, max_elements)
        self._server = ServerConnections(self._session, max_message, self._pass_answers)
        # No lock: all is done by one thread, which computes for nobody.
        self._hubs = HubRegistrations(self._session, nullcontext(), max_message)
        about = {"capacity": 0, "address": endpoint, "kind": "sidecar", **myself()}
        if labels:
            about["labels"] = check_labels(labels)
        for hub in hubs:
            self._hubs.add(hub, Registration(name, about, heartbeat, VERSIONS[mdp]))
        self._obstacles = Obstacles()
        self._loop: Loop | None = None
        self._pump = Pump(self._turn, self._on_timer, self._wake_at)
        self._offered = 0
        """The calls at once that the hubs have been told of."""
        self._told = Told.NOTHING
        self._patient_until = NEVER
        """When a server is reported that never was there."""
        self._closed = False
        self._stage = _Stage.SERVING
        self._stage_ends = NEVER
        """When the next stage begins in any case."""
        self._timeout: float | None = None
        self._give_up_at = NEVER
        self._on_drained: Callable[[], object] = lambda: None

    # Life

    def start(self, loop: Loop) -> None:
        """Serve in this loop. Once."""
        self._loop = loop
        self._patient_until = monotonic() + LOST_AFTER * self._session.health.heartbeat
        log.info("%s: asking the server at %s whether it is well", self.name, self.endpoint)
        self._obstacles.look([self.endpoint])
        self._pump.start(loop)
        self._server.start(loop, self._pump.run)
        self._hubs.start(loop, self._pump.run)

    def running(self) -> list[Running]:
        """The calls that are open. From any thread: RuntimeError where the loop is at them at that moment."""
        now, hubs = monotonic(), self._hubs
        calls = list(self._session.channels.values())
        return [(call.name, now - call.opened, f"through {hubs.endpoint(call.peer)}") for call in calls]

    def close(self) -> None:
        """Let go of all. What was sent has a second to leave."""
        if self._closed:
            return
        self._stop()
        self._hubs.close(LINGER_MS)
        self._server.close(LINGER_MS)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        if self._loop is not None and self._loop.here():
            self._stop()
        self._closed = True
        self._pump.forget()
        self._hubs.forked(nullcontext())
        self._server.forked()

    def _stop(self) -> None:
        self._closed = True
        self._hubs.stop_watchers()
        self._server.stop_watchers()
        self._pump.close()

    # The end

    def drain(self, timeout: float | None, on_drained: Callable[[], object]) -> None:
        """Take no more calls, and let those that are open end, for `timeout` seconds; None for no limit.

        on_drained: called in the loop when nothing is left to do; `close` then.
        """
        self._timeout, self._on_drained = timeout, on_drained
        now = monotonic()
        self._give_up_at = NEVER if timeout is None else now + timeout
        running = self.running()
        if running:
            limit = "" if timeout is None else f", for at most {timeout:g} s"
            log.info("%s: waits for %d calls%s: %s", self.name, len(running), limit, in_words(running))
        self._enter(_Stage.LEAVING, min(now + LEAVE, self._give_up_at))
        self._offer(0, now)
        self._pump.soon()

    def _advance(self, now: float) -> bool:
        """Go on to the next stage of the end where it is time to; whether there is more to send for that."""
        over = now >= self._stage_ends
        if self._stage is _Stage.LEAVING and (over or self._hubs.settled):
            self._session.drain()
            self._enter(_Stage.FINISHING, self._give_up_at)
        elif self._stage is _Stage.FINISHING and (over or not self._session.channels):
            self._give_up()
            self._enter(_Stage.DEPARTING, now + DEPART)
        elif self._stage is _Stage.DEPARTING and over:
            self._enter(_Stage.DRAINED, NEVER)
            self._on_drained()
        else:
            return False
        return True

    def _enter(self, stage: _Stage, ends: float) -> None:
        self._stage, self._stage_ends = stage, ends

    def _give_up(self) -> None:
        running = self.running()
        self.cut_off = len(running)
        if running:
            log.warning(
                "%s: %d calls still ran after %g s and are given up: %s",
                self.name,
                len(running),
                self._timeout,
                in_words(running),
            )
        self._session.give_up("the sidecar has stopped")

    # In the loop

    def _turn(self, now: float, most: int) -> bool:
        """Pass on what has come, `most` messages of each side; whether there was anything to do."""
        moved = self._pass_on(now, most)
        self._check_server(now)
        moved = self._offer_capacity(now) or moved
        return self._advance(now) or moved

    def _pass_on(self, now: float, most: int) -> bool:
        """What has come, to whom it is for; whether there was anything.

        To send swallows the edge of the descriptor: what came meanwhile is not signalled, and has to be
        looked for.
        """
        self._hubs.hold(now)
        count = self._hubs.receive(now, most)
        if not self._hubs.crowded:
            # Else the server has to wait for the hub, as it would if they were one.
            count += self._server.receive(now, most)
        answered = self._pass_answers()
        self._hubs.release(now)
        return self._server.flush() or answered or count > 0

    def _pass_answers(self) -> bool:
        """Give the hubs what the session has for them; whether there was anything."""
        passed = False
        while answers := self._session.take_out():
            passed = True
            for peer, event in answers:
                self._hubs.send(peer, event)
        return passed

    def _offer_capacity(self, now: float) -> bool:
        """Tell the hubs where the server has fallen sick or is well again; whether there was need to."""
        capacity = self._session.capacity
        if capacity == self._offered or self._stage is not _Stage.SERVING:
            return False
        self._offer(capacity, now)
        return True

    def _offer(self, capacity: int, now: float) -> None:
        self._offered = capacity
        self._hubs.offer(capacity, now)

    def _check_server(self, now: float) -> None:
        """Tell the log how the server is, where that is new."""
        if self._session.circular and not self.problem:
            self.problem = (
                f"what is at {self.endpoint} is a hub where this worker of {self.name} is registered: it "
                "would be given its own calls; give the endpoint of the server itself"
            )
            log.error("%s: %s", self.name, self.problem)
            self._on_problem()
        health, told = self._session.health, self._told
        never = told is Told.NOTHING
        if health.well and told is not Told.WELL:
            self._told = Told.WELL
            kind = "mesh" if health.mesh else "zerorpc"
            log.info("%s: the server at %s, of %s, is well", self.name, self.endpoint, kind)
        elif not health.well and (told is Told.WELL or (never and now >= self._patient_until)):
            self._told = Told.SICK
            obstacle = self._obstacles.problem(self.endpoint) or self._server.unresolved
            why = (never and obstacle) or health.why
            log.warning("%s: the server at %s is out for now: %s", self.name, self.endpoint, why)

    def _wake_at(self) -> float:
        wake_at = min(self._session.wake_at, self._hubs.wake_at, self._server.wake_at, self._stage_ends)
        return min(wake_at, self._patient_until) if self._told is Told.NOTHING else wake_at

    def _on_timer(self) -> None:
        # What has come first: it may be what the timer would miss.
        self._pump.run()
        if self._closed:
            return
        now = monotonic()
        self._session.on_timer(now)
        self._hubs.on_timer(now)
        self._hubs.connect_anew(now)
        self._server.redial(now)
        news = self._session.dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self.name, news)
        self._pump.run()


def _check_server(endpoint: str, hubs: Sequence[str]) -> None:
    """Raise ConfigError where a sidecar can't stand beside that."""
    check_endpoint(endpoint)
    if endpoint.startswith("inproc:"):
        raise ConfigError(f"{endpoint!r}: a sidecar's server is another process; it has tcp:// or ipc://")
    if _address(endpoint) in map(_address, hubs):
        raise ConfigError(
            f"{endpoint!r} is the hub's endpoint: a sidecar stands beside a server; give that one's"
        )


def _address(endpoint: str) -> str:
    return endpoint.replace("tcp://localhost:", "tcp://127.0.0.1:")
