"""The ROUTER socket of a server in its event loop: frames in and out, timer, lost peers.

The lock lets the watchdog do the same from its thread while a handler blocks the loop. Handlers
are begun only from the loop, and nothing here switches greenlets under the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any, Final

import zmq
from gevent.hub import Hub

from mesh.core.channel import NEVER
from mesh.core.client_session import DEFAULT_HEARTBEAT
from mesh.core.progress import Progress
from mesh.core.registration import Registration
from mesh.core.server_call import HubCall
from mesh.core.server_session import Limits, Out, Peer, ServerCall, ServerSession
from mesh.core.values import Encode
from mesh.green.loop import GeventLoop, loop_here
from mesh.green.router import Router
from mesh.transport import native, process, sockets
from mesh.transport.hub_links import HubLinks
from mesh.transport.ipc import Access
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.watchdog import watchdog

BATCH: Final = 64
FAIR: Final = 0.01
"""Seconds of handlers after which the rest of the loop gets its turn."""
MAX_FRAMES: Final = 18
"""Frames of a message, the envelope of a call through many devices among them."""
RETRY: Final = 0.01
STILL: Final = 0.05
"""Seconds without a turn after which the loop counts as one that stood still."""
MIN_PATIENCE: Final = 0.05
MAX_PATIENCE: Final = 2.5
"""Seconds for which a loop may stand still before the watchdog stands in for it."""
STUCK: Final = 0.05
"""Seconds after which the watchdog sends what waits behind a handler."""
READ: Final = 0.25
"""Seconds for callers to read the last answers: libzmq throws away what a client has received and not
read yet when the connection ends."""
PROBES: Final = (0.1, 0.02, 0.0)
"""Pauses, the last first, before the open peers are probed when a connection broke; libzmq tells
of the break a moment before its routing table knows."""

log = logging.getLogger("mesh.server")


class Port:
    """A ROUTER socket, bound or connected, and its session."""

    def __init__(
        self, name: str, heartbeat: float | None, limits: Limits, encode: Encode | None = None
    ) -> None:
        self.session = ServerSession(process.new_base(), heartbeat, limits, name, encode)
        self.lock = native.allocate_lock()
        self.thread = 0
        self.turn = monotonic()
        self.closed = False
        self.blocked_in: Callable[[FrameType | None], str] = lambda frame: name
        self._name = name
        self._beat = heartbeat or DEFAULT_HEARTBEAT
        self._paced = NEVER
        self._pulser: Any = None
        self._hub: Hub | None = None
        self._dispatch: Callable[[], None] = lambda: None
        self._resume: Callable[[ServerCall], None] = lambda call: None
        self._watchers: list[Any] = []
        self._timer: Any = None
        self._armed = float("inf")
        self._draining = False
        self._sent = False
        self._sent_at = 0.0
        self._standing_in = False
        self._check_due = False
        self._probes: list[float] = []
        self._prober: Any = None
        self._later: Any = None
        self.router: Router | None = None
        """Made for the first endpoint: a server that only registers with hubs needs none."""
        self._max_message = limits.max_message
        self.hubs = HubLinks(self.session, self.lock, limits.max_message, lambda: len(self.session.abandoned))
        self._has_hubs = False
        self.session.progress_of = self._progress_of
        process.remember(self)

    # Life

    def attach(self, endpoint: str, how: str, access: Access | None = None, fd: int | None = None) -> str:
        """Bind or connect the socket; gives the real endpoint. fd: what listens already. Under the lock."""
        if self.router is None:
            self.router = Router(self.session, self._max_message)
            if self._hub is not None:
                self._hub.loop.run_callback_threadsafe(self._watch_router)
        socket = self.router.socket
        if fd is not None:
            socket.set(zmq.USE_FD, fd)
        try:
            return sockets.attach(socket, endpoint, how, access)
        finally:
            if fd is not None:
                socket.set(zmq.USE_FD, -1)

    def register(self, endpoint: str, registration: Registration) -> None:
        """Be a worker of a hub, too. From any thread, under the lock."""
        self.hubs.add(endpoint, registration)
        self._has_hubs = True
        self._beat = min(self._beat, registration.heartbeat)
        if self._hub is not None:
            watchdog.watch(self)

    def offer(self, capacity: int) -> None:
        """Tell the hubs how many calls may come at once; from the loop."""
        with self.lock:
            self.hubs.offer(capacity, monotonic())
        self._check_soon()

    def start(self, hub: Hub, dispatch: Callable[[], None], resume: Callable[[ServerCall], None]) -> None:
        """Serve in this loop.

        dispatch: called when calls are ready. resume: called for a call that has credit again or
        was given up.
        """
        self._hub, self._dispatch, self._resume = hub, dispatch, resume
        self.thread = native.get_ident()
        self.turn = monotonic()
        loop = hub.loop
        self._set_pace()
        self._later = loop.timer(0.0)
        self._watchers.append(self._later)
        if self.router is not None:
            self._watch_router()
        loop.run_callback(self._drain)
        self.hubs.start(GeventLoop(hub), self._drain)
        watchdog.watch(self)

    def _watch_router(self) -> None:
        router, hub = self.router, self._hub
        if self.closed or router is None or hub is None:
            return
        data = hub.loop.io(sockets.descriptor(router.socket), 1)
        data.start(self._drain)
        self._watchers += [data, MonitorWatcher(GeventLoop(hub), router.monitor, self._connection_broke)]
        self._check_soon()

    def close(self, linger_ms: int) -> None:
        """Close the socket; what was sent may still go out for `linger_ms`."""
        if self.closed:
            return
        self.closed = True
        watchdog.forget(self)
        self._stop_watchers()
        with self.lock:
            self.hubs.close(linger_ms)
            if self.router is not None:
                self.router.close(linger_ms)

    def _stop_watchers(self) -> None:
        self.hubs.stop_watchers()
        for watcher in self._watchers:
            watcher.close()
        for timer in (self._timer, self._prober, self._pulser):
            if timer is not None:
                timer.stop()
                timer.close()
        self._forget_watchers()

    def _forget_watchers(self) -> None:
        self._watchers.clear()
        self._timer = self._prober = self._pulser = None

    def forked(self) -> None:
        """In the child of a fork: leave the parent's socket alone."""
        self.closed = True
        self.lock = native.allocate_lock()  # the watchdog may have held it
        for call in self.session.open_calls():
            call.given_up = True  # whoever waits for it hears from the parent
        if loop_here(self._hub):
            self._stop_watchers()
        self._forget_watchers()
        self.hubs.forked(self.lock)

    # Out

    def send(self, peer: Peer, payload: bytes) -> None:
        """Send, or keep until the peer reads; under the lock."""
        if self.closed:
            return
        if type(peer) is HubCall:
            self.hubs.send(peer, payload)
        elif self.router is not None:
            self.router.send(peer, payload)
        self._sent = True
        if not self._draining:
            self._check_soon()

    @property
    def read_by(self) -> float:
        """When all that are connected have had the time to read the last answers; of time.monotonic."""
        read_by = (monotonic() if self._sent else self._sent_at) + READ
        connected = self.router is not None and self.router.peers.connected
        return read_by if read_by >= monotonic() and (self._has_hubs or connected) else 0.0

    def send_held(self, age: float = 0.0) -> None:
        """Send the answers that wait for others to hubs, if they have waited for `age` seconds."""
        if monotonic() - self.hubs.held_since >= age:
            with self.lock:
                self.hubs.send_held()

    def caller(self, call: ServerCall) -> str:
        """Where a call came from, in words; "" where that is not known."""
        peer = call.peer
        if isinstance(peer, HubCall):
            return f"through {self.hubs.endpoint(peer)}"
        if self.router is None:
            return ""
        address = self.router.peers.address(peer if isinstance(peer, bytes) else peer[0])
        return f"from {address}" if address else ""

    def crowded(self, call: ServerCall) -> bool:
        """Whether the hub that this call came through has to read before it is given more."""
        return type(call.peer) is HubCall and self.hubs.crowded

    def freed(self, call: ServerCall) -> None:
        """The handler of a call that was given up has ended: its hub may give another; under the lock."""
        self.session.abandoned.discard(call)
        if self._has_hubs and not self.closed:
            if type(call.peer) is HubCall:
                self.hubs.send(call.peer, self.session.cancelled(call))
            self.hubs.freed(monotonic())
            self._check_soon()

    def _send_all(self, out: list[Out]) -> None:
        for peer, payload in out:
            self.send(peer, payload)

    # In

    def _receive(self, now: float, most: int = BATCH) -> int:
        """Take in what has arrived, at most `most` messages of each socket; how many there were."""
        count = self.router.receive(now, most) if self.router is not None else 0
        return count + self.hubs.receive(now, most) if self._has_hubs else count

    def _progress_of(self, peer: Peer) -> Progress | None:
        """What moves on the connection that a peer's messages come by."""
        if type(peer) is HubCall:
            return self.hubs.progress(peer.hub)
        if self.router is None:
            return None
        return self.router.peers.progress(peer if type(peer) is bytes else peer[0])  # type: ignore[arg-type]

    # The loop

    def _check_soon(self) -> None:
        # A send swallows the edge of the descriptor: what came meanwhile is not signalled.
        if self._hub is not None and not (self._check_due or self._standing_in or self.closed):
            self._check_due = True
            self._hub.loop.run_callback(self._check)

    def _check(self) -> None:
        self._check_due = False
        self._drain()

    def go_on_later(self) -> None:
        """Receive and begin handlers when the rest of the loop has had its turn.

        By a timer: gevent runs callbacks that follow on each other in one turn.
        """
        if not self.closed and not self._later.active:
            self._later.start(self._drain)

    def _drain(self) -> None:
        """Receive and begin handlers until nothing is left, or the loop's turn is over."""
        if self.closed or self._draining:
            return
        self._draining = True
        end = 0.0
        # One at first: to receive until it fails costs more than a lone call. But of what came while the
        # loop stood still, some is a cancel of the rest.
        most = 1 if monotonic() - self.turn < STILL else BATCH
        try:
            while True:
                self.turn = now = monotonic()
                end = end or now + FAIR
                if self._sent:
                    self._sent, self._sent_at = False, now
                with self.lock:
                    count = self._receive(now, most)
                    self.hubs.hold()
                    self.answer_at_once()
                self._tell()
                self._dispatch()
                self._release()
                # Calls that were left from the last turn send, too, where nothing was received.
                if not (count or self._sent) or self.closed:
                    break
                if monotonic() > end:
                    self.go_on_later()
                    break
                most = BATCH
        finally:
            self._draining = False
            self._release()
        if self._fastest < self._paced:
            self._set_pace()
        self._arm()

    def _release(self) -> None:
        if self.hubs.holding:
            with self.lock:
                self.hubs.release()

    def answer_at_once(self) -> None:
        """Send what the session answers without a handler; under the lock."""
        session = self.session
        while session.out:
            out, session.out = session.out, []
            self._send_all(out)

    def _tell(self) -> None:
        """Let the handlers go on that wait for credit, or whose caller is gone."""
        session = self.session
        while session.woken:
            woken, session.woken = session.woken, []
            for call in woken:
                self._resume(call)

    def _connection_broke(self) -> None:
        if self.closed or self.router is None or not self.router.connection_broke():
            return
        if self._probes:
            self._probes = list(PROBES[:-1])  # a storm of them is probed for now and then
        else:
            self._probes = list(PROBES)
            self._probe_next()

    def _probe_next(self) -> None:
        assert self._hub is not None
        timer = self._prober = self._hub.loop.timer(self._probes[-1])
        timer.start(self._probe)

    def _probe(self) -> None:
        """Whoever can't be reached is lost; a heartbeat finds out."""
        self._prober.close()
        self._probes.pop()
        with self.lock:
            if self.router is not None:
                self.router.readable()  # makes libzmq look at its pipes
            self._send_all(self.session.probes())
        self._tell()
        self._check_soon()
        if self._probes:
            self._probe_next()

    def _wake_at(self) -> float:
        return min(self.session.wake_at, self.hubs.wake_at) if self._has_hubs else self.session.wake_at

    @property
    def patience(self) -> float:
        """Seconds for which the loop may stand still, for the sake of the most impatient caller or hub."""
        return max(MIN_PATIENCE, min(self._beat / 2, self._fastest / 2, MAX_PATIENCE))

    @property
    def _fastest(self) -> float:
        fastest = self.session.fastest
        return min(fastest, self.hubs.interval) if self._has_hubs else fastest

    def _set_pace(self) -> None:
        """Turn more often than the patience of any caller or hub needs it."""
        assert self._hub is not None
        if self._pulser is not None:
            self._pulser.stop()
            self._pulser.close()
        self._paced = self._fastest
        self._pulser = self._hub.loop.timer(min(1.0, self.patience / 2))
        self._pulser.start(self._pulse)

    def _arm(self) -> None:
        wake_at = self._wake_at()
        if self.closed or self._hub is None or wake_at >= self._armed:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._armed = wake_at
        self._timer = self._hub.loop.timer(max(wake_at - monotonic(), 0.0))
        self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._armed = float("inf")
        self._drain()
        with self.lock:
            self._tick(monotonic())
            if self._has_hubs:
                self.hubs.connect_anew(monotonic())
        self._tell()
        self._arm()

    def _tick(self, now: float) -> None:
        self._send_all(self.session.on_timer(now))
        if self._has_hubs:
            self.hubs.on_timer(now)
        if self.router is not None:
            self.router.flush()
        self._check_soon()

    def _pulse(self) -> None:
        """A sign of life for the watchdog, and at most once a second a line on what was dropped."""
        self.turn = now = monotonic()
        self._set_pace()
        news = self.session.dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self._name, news)

    # The watchdog's side: another thread, under the lock

    def overdue(self, now: float) -> bool:
        """Whether the loop has not turned for longer than half a heartbeat, or holds answers back."""
        late = now - self.turn > self.patience or now - self.hubs.held_since > STUCK
        return late and not self.closed

    def stand_in(self, now: float) -> None:
        """Do what the blocked loop can't: take in what has come, and give the heartbeats."""
        self._standing_in = True
        try:
            while self._receive(now) >= BATCH:
                pass
            self.answer_at_once()
            self.hubs.send_held()
            if self._wake_at() <= now:
                self._tick(now)
        finally:
            self._standing_in = False
        if self._hub is not None:
            self._hub.loop.run_callback_threadsafe(self._drain)
