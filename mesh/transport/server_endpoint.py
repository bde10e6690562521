"""A server's sockets in one event loop: what comes, what is answered, timers, lost peers.

The driver that owns the loop is called when calls are ready, and for those that may go on; it says what
came of each, by `answer` and its like. What an event means is the session's matter.

The lock lets the watchdog do the same from its thread while a handler blocks the loop. All of the session
and of the sockets is touched under it alone, and nobody is called under it who carries out a handler. But
for what says otherwise the methods are the loop's own; only `attach`, `register`, `running` and `read_by`
are for any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from types import FrameType
from typing import Any, Final

import zmq

from mesh.core.channel import DONE, NEVER
from mesh.core.client_session import DEFAULT_HEARTBEAT
from mesh.core.cork import HOLD, QUICK, Cork
from mesh.core.probing import Probing
from mesh.core.progress import Progress
from mesh.core.registration import Registration
from mesh.core.server_call import HubCall
from mesh.core.server_session import Limits, Out, Peer, ServerCall, ServerSession
from mesh.core.unfinished import Running
from mesh.core.values import Encode
from mesh.errors import ConfigError, MeshError
from mesh.transport import host_lookup, identity, native, process, sockets
from mesh.transport.hub_registrations import HubRegistrations
from mesh.transport.ipc import Access
from mesh.transport.loop import Loop, Timer, Watcher
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.pump import BATCH, Pump
from mesh.transport.recording import recording
from mesh.transport.router import Router
from mesh.transport.watchdog import watchdog

MIN_PATIENCE: Final = 0.05
MAX_PATIENCE: Final = 2.5
"""Seconds for which a loop may stand still before the watchdog stands in for it."""
READ: Final = 0.25
"""Seconds for callers to read the last answers: libzmq throws away what a client has received and not
read yet when the connection ends."""
LOCKED: Final = 0.5
"""Seconds for which the question what runs waits for whoever has the lock."""

log = logging.getLogger("mesh.server")


class ServerEndpoint:
    """A ROUTER socket, bound or connected, registrations with hubs, and the session of both.

    name: in the log. heartbeat: seconds, None for none. blocked_in: tells whose handler runs in a frame
    of the loop's thread.
    """

    def __init__(
        self, name: str, heartbeat: float | None, limits: Limits, encode: Encode | None = None
    ) -> None:
        recorder = recording.recorder(name)
        self.session = ServerSession(process.new_base(), heartbeat, limits, name, encode, recorder)
        if recorder is not None:
            recording.serve_as(name)
            recording.watch(self)
        self.session.take_progress_from(self._progress_of)
        self.session.open_calls_told.origin = self._origin
        self.session.open_calls_told.process = identity.host_and_pid
        self.lock = native.allocate_lock()
        self.thread = 0
        self.closed = False
        self.blocked_in: Callable[[FrameType | None], str] = lambda frame: name
        self._name = name
        self._max_message = limits.max_message
        self._beat = heartbeat or DEFAULT_HEARTBEAT
        self._loop: Loop | None = None
        self._on_ready: Callable[[], None] = lambda: None
        self._on_resume: Callable[[list[ServerCall]], None] = lambda calls: None
        self._pump = Pump(self._work, self._on_timer, self._wake_at)
        self._pulse_timer: Timer | None = None
        # The shortest heartbeat that the pulse is quick enough for.
        self._paced = NEVER
        self._watchers: list[Watcher | MonitorWatcher] = []
        self._probing = Probing()
        # Whether anything was sent in this turn, and when it was last.
        self._sent = False
        self._sent_at = 0.0
        self._standing_in = False
        self._wakes_later = False
        self.router: Router | None = None
        """Made for the first endpoint: a server that only registers with hubs needs none."""
        session = self.session
        self.hubs = HubRegistrations(session, self.lock, limits.max_message, lambda: len(session.abandoned))
        self.cork = self.hubs.cork
        """While it is on, answers wait for others to go in one frame."""
        self._streams: Cork[ServerCall] = Cork(guarded=True)
        """The streams with items that wait for others, to go in one event."""
        self._corked = 0
        """How many times the cork is in: once for each turn of handlers that have not had it."""
        self._has_hubs = False
        process.remember(self)

    # Life

    def attach(self, endpoint: str, how: str, access: Access | None = None, fd: int | None = None) -> str:
        """Bind or connect the socket; gives the real endpoint. fd: what listens already.

        From any thread. Raises ConfigError, and MeshError where it was closed.
        """
        if how == "bind":
            host_lookup.look_up_first(endpoint)
        with self.lock:
            self.require_open()
            if self.router is None:
                self.router = Router(self.session, self._max_message)
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(self._watch_router)
            if how == "connect":
                with sockets.explained("connect", endpoint):
                    new_monitor = self.router.connect(endpoint, monotonic())
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(self._watch_monitor if new_monitor else self._changed)
                return endpoint
            socket = self.router.socket
            if fd is not None:
                socket.set(zmq.USE_FD, fd)
            try:
                return sockets.bind(socket, endpoint, access)
            finally:
                if fd is not None:
                    socket.set(zmq.USE_FD, -1)

    def register(self, registrations: Mapping[str, Registration]) -> None:
        """Be a worker of the hubs at these endpoints, too.

        From any thread. Raises ConfigError where it is that already, and MeshError where it was closed.
        """
        with self.lock:
            self.require_open()
            for endpoint, registration in registrations.items():
                if self.hubs.knows(endpoint, registration.service):
                    service = registration.service
                    raise ConfigError(f"{endpoint} is given twice: {service} is registered there already")
            for endpoint, registration in registrations.items():
                self.hubs.add(endpoint, registration)
                self._beat = min(self._beat, registration.heartbeat)
            self._has_hubs = True
        if self._loop is not None:
            watchdog.watch(self)

    def require_open(self) -> None:
        """Raise MeshError where it was closed."""
        if self.closed:
            raise MeshError(f"{self._name} was stopped; make a new server")

    def start(
        self,
        loop: Loop,
        on_ready: Callable[[], None],
        on_resume: Callable[[list[ServerCall]], None],
        *,
        wakes_later: bool = False,
    ) -> None:
        """Serve in this loop.

        on_ready: called when calls may wait in the session's `ready`. on_resume: called with those that have
        credit again or that nobody wants any more. wakes_later: what these begin goes on when they have
        returned, by the loop's `call_soon`, and may answer then.
        """
        self._loop, self._on_ready, self._on_resume = loop, on_ready, on_resume
        self._wakes_later = wakes_later
        self.thread = loop.thread
        self._pulse_timer = loop.timer(self._pulse)
        self._pump.start(loop)
        self._keep_pace()
        if self.router is not None:
            self._watch_router()
        self.hubs.start(loop, self._pump.run)
        watchdog.watch(self)

    def _watch_router(self) -> None:
        router, loop = self.router, self._loop
        if self.closed or router is None or loop is None:
            return
        data = loop.reader(sockets.descriptor(router.socket), self._pump.run)
        self._watchers.append(data)
        self._watch_monitor()
        self._pump.soon()

    def _watch_monitor(self) -> None:
        if not self.closed and self.router is not None and self._loop is not None:
            self._watchers.append(MonitorWatcher(self._loop, self.router.monitor, self._changed))

    def close(self, linger_ms: int) -> None:
        """Close the sockets; what was sent may still go out for `linger_ms`."""
        if self.closed:
            return
        self.closed = True
        watchdog.forget(self)
        self._stop_watchers()
        with self.lock:
            self.hubs.close(linger_ms)
            if self.router is not None:
                self.router.close(linger_ms)

    def _close_orphaned(self) -> None:
        """Its loop was closed and never turns again: whoever waits for an answer is to hear of that."""
        self.closed = True
        self._pump.forget()
        self._watchers.clear()
        self.session.give_up_all()
        self.hubs.close(0)
        if self.router is not None:
            self.router.close(0)
        log.warning("%s: its event loop was closed while it served: stop it before", self._name)

    def _stop_watchers(self) -> None:
        self.hubs.stop_watchers()
        for watcher in self._watchers:
            watcher.close()
        if self._pulse_timer is not None:
            self._pulse_timer.close()
        self._pump.close()

    def forked(self) -> None:
        """In the child of a fork: leave the parent's sockets alone."""
        self.closed = True
        self.lock = native.allocate_lock()  # the watchdog may have held it
        self.session.disown()
        if self._loop is not None and self._loop.here():
            self._stop_watchers()
        self._pump.forget()
        self._watchers.clear()
        self._pulse_timer = None
        self.hubs.forked(self.lock)
        self._streams.forget()

    # What comes of calls

    def begin(self, call: ServerCall, now: float, quick: bool) -> bool:
        """A call from `ready` is about to be carried out; False where nobody waits for it any more.

        quick: not even an answer that waits for others needs to go before it.
        """
        with self.lock:
            if self.cork.on and not quick:
                self.hubs.send_held(now)
            if self.session.begin(call, now):
                return True
            self._send_out()
            return False

    def answer(self, call: ServerCall, result: Any) -> None:
        """Send the result. Raises TypeError where it can't travel, WireError where it is too large."""
        with self.lock:
            if not call.given_up:
                self._give(call, self.session.answer(call, result))

    def fail(self, call: ServerCall, exc: BaseException, trace: str) -> None:
        """Its handler raised, which its caller is told unless it has the whole answer already, as of a stream
        whose close raises. trace: the traceback, for the caller.
        """
        with self.lock:
            if not call.given_up and call.state is not DONE:
                if call.group:
                    self._send_items(monotonic())
                self._give(call, self.session.failure(call, exc, trace))

    def item(self, call: ServerCall, value: Any) -> bool:
        """Send an item of its stream, which has credit; False where nobody wants it. Raises as `answer`."""
        with self.lock:
            if call.given_up:
                return False
            now = monotonic()
            quick = now - call.item_at < QUICK
            call.item_at = now
            if call.group is None:
                self._send(call.peer, self.session.item(call, value))
            else:
                self._hold_item(call, value, quick, now)
            if self.cork.on and not quick:
                # The next item may take as long as this one.
                self.hubs.send_held(now)
            return True

    def _hold_item(self, call: ServerCall, value: Any, quick: bool, now: float) -> None:
        """Have an item wait for the next where that is likely to be there at once; under the lock."""
        streams, first = self._streams, not call.group
        due = self.session.hold_item(call, value)
        if first:
            streams.begin(now)
            due = streams.add(call, now) or due or not (quick and streams.on)
            if not (due or self._pump.running or self._standing_in):
                self._pump.soon()
        if due or not quick or now - streams.since > HOLD:
            self._send_items(now)

    def _send_items(self, now: float) -> None:
        """Send the items that wait for others; under the lock."""
        for call in self._streams.release(now):
            for event in self.session.take_items(call):
                self._send(call.peer, event)

    def end_stream(self, call: ServerCall) -> None:
        """Its stream is over."""
        with self.lock:
            if not call.given_up:
                if call.group:
                    self._send_items(monotonic())
                self._send(call.peer, self.session.end_stream(call))

    def waits(self, call: ServerCall, waiter: Any) -> bool:
        """Have `on_resume` called with the call when it has credit again, or nobody wants it any more.

        False where that is so already. waiter: what the driver is to find in the call then.
        """
        with self.lock:
            if call.given_up or call.credit > 0:
                return False
            if call.group:
                self._send_items(monotonic())
            call.waiter = waiter
            return True

    def ended(self, call: ServerCall) -> None:
        """The handler of a call that was given up has ended: its hub may give another."""
        with self.lock:
            self.session.handler_ended(call)
            if self._has_hubs and not self.closed:
                self._send_out()
                self.hubs.freed(monotonic())
                self._pump.soon()

    def crowded(self, call: ServerCall) -> bool:
        """Whether the hub that this call came through has to read before it is given more."""
        return type(call.peer) is HubCall and self.hubs.crowded

    def offer(self, capacity: int) -> None:
        """Tell the hubs how many calls may come at once."""
        with self.lock:
            self.hubs.offer(capacity, monotonic())
        self._pump.soon()

    def go_on(self) -> None:
        """Have `on_ready` called in this turn of the loop or the next: there is room for calls that wait."""
        if not self._pump.running:
            self._pump.soon()

    def go_on_later(self) -> None:
        """Have `on_ready` called when the rest of the loop has had its turn."""
        self._pump.later()

    # The end

    def drain(self) -> None:
        """Refuse new calls.

        To unbind now would break the connections that were accepted, not only refuse new ones.
        """
        with self.lock:
            self.session.drain()

    def give_up_all(self) -> None:
        """Cut off the calls that are open."""
        with self.lock:
            self.session.give_up_all()
            self._send_out()
        if self._loop is not None and self._loop.here():
            self._loop.call_soon(self._resume)

    def running(self) -> list[Running]:
        """The calls that wait, run or stream, and those that run for nobody any more.

        From any thread, which it never keeps for long. Raises RuntimeError where another was at them.
        """
        locked = self.lock.acquire(True, LOCKED)
        try:
            now = monotonic()
            return [
                (call.method, now - call.opened, self.whom(call) if wanted else "for a caller that has gone")
                for call, wanted in self.session.running()
            ]
        finally:
            if locked:
                self.lock.release()

    def whom(self, call: ServerCall) -> str:
        """Where a call came from, in words; "" where that is not known."""
        address, hub = self._origin(call)
        return f"through {hub}" if hub else f"from {address}" if address else ""

    def _origin(self, call: ServerCall) -> tuple[str, str]:
        """The host that a call came from, and the endpoint of the hub that gave it; "" for what is not
        known."""
        peer = call.peer
        if isinstance(peer, HubCall):
            return "", self.hubs.endpoint(peer)
        if self.router is None:
            return "", ""
        return self.router.peers.address(peer if isinstance(peer, bytes) else peer[0]), ""

    @property
    def read_by(self) -> float:
        """When all that are connected have had the time to read the last answers; of time.monotonic."""
        read_by = (monotonic() if self._sent else self._sent_at) + READ
        connected = self.router is not None and self.router.peers.connected
        return read_by if read_by >= monotonic() and (self._has_hubs or connected) else 0.0

    # Out

    def _send(self, peer: Peer, payload: bytes) -> None:
        """Send, or keep until the peer reads; under the lock."""
        if self.closed:
            return
        if type(peer) is HubCall:
            self.hubs.send(peer, payload)
        elif self.router is not None:
            self.router.send(peer, payload)
        self._sent = True
        pump = self._pump
        if not (pump.running or self._standing_in):
            pump.soon()

    def _give(self, call: ServerCall, payload: bytes) -> None:
        """Send the last event of a call, with those of others where it came so; under the lock."""
        if not (call.batched and self.cork.on) or self.router is None or self.closed:
            self._send(call.peer, payload)
            return
        self.router.hold(call.peer, payload)
        self._sent = True
        if not (self._pump.running or self._standing_in):
            self._pump.soon()
        if self.cork.add(self.router, now := monotonic()):
            self.hubs.send_held(now)

    def _send_all(self, out: list[Out]) -> None:
        for peer, payload in out:
            self._send(peer, payload)

    def _send_out(self) -> None:
        """Send what the session answers without a handler; under the lock."""
        while self.session.out:
            self._send_all(self.session.take_out())

    # In

    def _work(self, now: float, most: int) -> bool:
        """Take in what has come and have calls carried out; whether there may be more to do."""
        if self._sent:
            self._sent, self._sent_at = False, now
        with self.lock:
            if self._streams:
                self._send_items(now)
            count = self._receive(now, most)
            if self._has_hubs or (self.router is not None and self.router.batches):
                self.cork.begin(now)
            if self.session.out:
                self._send_out()
        try:
            if self.session.woken:
                self._resume()
            self._on_ready()
        finally:
            if self._streams:
                with self.lock:
                    self._send_items(monotonic())
            if self.cork.on:
                self._corked += 1
                if self._wakes_later and self._loop is not None:
                    self._loop.call_soon(self._uncork)
                else:
                    self._uncork()
        # Calls that were left from the last turn send, too, where nothing was received.
        return bool(count or self._sent)

    def _uncork(self) -> None:
        """Send the answers that wait for others, and let none wait any more, unless handlers are to begin."""
        self._corked -= 1
        with self.lock:
            if self._corked:
                self.hubs.send_held(monotonic())
            else:
                self.hubs.release(monotonic())

    def _receive(self, now: float, most: int = BATCH) -> int:
        """Take in what has arrived, at most `most` messages of each socket; how many there were."""
        count = self.router.receive(now, most) if self.router is not None else 0
        return count + self.hubs.receive(now, most) if self._has_hubs else count

    def _resume(self) -> None:
        """Let the handlers go on that wait for credit, or whose caller is gone."""
        while self.session.woken:
            with self.lock:  # the watchdog may be adding to them
                woken = self.session.take_woken()
            self._on_resume(woken)

    def _progress_of(self, peer: Peer) -> Progress | None:
        """What moves on the connection that a peer's messages come by."""
        if type(peer) is HubCall:
            return self.hubs.progress(peer.hub)
        if self.router is None:
            return None
        return self.router.peers.progress(peer if type(peer) is bytes else peer[0])  # type: ignore[arg-type]

    def _changed(self) -> None:
        """Connections have something to tell, or the endpoints that are dialled."""
        if self.closed or self.router is None:
            return
        now = monotonic()
        with self.lock:
            broke = self.router.take_changes(now)
        if broke:
            self._probing.connection_broke(now)
        self._pump.arm(min(self._probing.wake_at, self.router.dialers.wake_at))

    # Time

    def _wake_at(self) -> float:
        if self._fastest < self._paced:
            self._keep_pace()
        if self._has_hubs:
            with self.lock:  # another thread may be registering
                return self._due_at()
        return self._due_at()

    def _due_at(self) -> float:
        """When `_tick` is to be called."""
        due_at = min(self.session.wake_at, self._probing.wake_at)
        if self.router is not None:
            due_at = min(due_at, self.router.retry_at, self.router.dialers.wake_at)
        return min(due_at, self.hubs.wake_at) if self._has_hubs else due_at

    def _on_timer(self) -> None:
        self._pump.run()
        now = monotonic()
        with self.lock:
            self._tick(now)
            if self._has_hubs:
                self.hubs.connect_anew(now)
        self._resume()

    def _tick(self, now: float) -> None:
        """What is due by now; under the lock, from the loop or from the watchdog."""
        session, router = self.session, self.router
        if session.wake_at <= now:
            self._send_all(session.on_timer(now))
        if router is not None:
            if self._probing.due(now):
                # Whoever can't be reached is lost: a heartbeat finds out, once libzmq looks at its pipes.
                router.readable()
                self._send_all(session.probes())
            router.flush(now)
            router.dialers.settle(now)
        if self._has_hubs:
            self.hubs.on_timer(now)
        if not self._standing_in:
            self._pump.soon()

    @property
    def turn(self) -> float:
        """When the loop turned last, of time.monotonic."""
        return self._pump.turn

    @property
    def patience(self) -> float:
        """Seconds for which the loop may stand still, for the sake of the most impatient caller or hub."""
        return max(MIN_PATIENCE, min(self._beat / 2, self._fastest / 2, MAX_PATIENCE))

    @property
    def _fastest(self) -> float:
        fastest = self.session.fastest
        return min(fastest, self.hubs.interval) if self._has_hubs else fastest

    def _keep_pace(self) -> None:
        """Turn more often than the patience of any caller or hub needs it."""
        self._paced = self._fastest
        if self._pulse_timer is not None:
            self._pulse_timer.at(monotonic() + min(1.0, self.patience / 2))

    def _pulse(self) -> None:
        """A sign of life for the watchdog, and at most once a second a line on what was dropped."""
        self._pump.turn = now = monotonic()
        self._keep_pace()
        news = self.session.dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self._name, news)

    # The watchdog's side: another thread, under the lock

    def overdue(self, now: float) -> bool:
        """Whether the loop has not turned for longer than half a heartbeat, or holds answers back."""
        if self.closed:
            return False
        late = now - self._pump.turn > self.patience
        late = late or self.cork.overdue(now) or self._streams.overdue(now)
        return late or not (self._loop is None or self._loop.alive())

    def stand_in(self, now: float) -> None:
        """Do what the blocked loop can't: take in what has come, and give the heartbeats."""
        if not (self._loop is None or self._loop.alive()):
            self._close_orphaned()
            return
        self._standing_in = True
        try:
            while self._receive(now) >= BATCH:
                pass
            self._send_out()
            self._send_items(now)
            self.hubs.send_held(now)
            if self._due_at() <= now:
                self._tick(now)
        finally:
            self._standing_in = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._pump.run)
