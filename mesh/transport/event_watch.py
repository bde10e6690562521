"""What a loop does for a socket that sends events: watches it, and closes it.

Knows the connections of the socket, from its monitor, and when libzmq has let go of it. What the socket
sends, and who waits for that, is its sender's matter, which this must not keep alive.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol
from weakref import finalize, ref

import zmq

from mesh.core.channel import NEVER
from mesh.transport import dialer, process, sockets
from mesh.transport.loop import Loop, Timer, Watcher
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import Socket

PULSE: Final = 1.0
"""Seconds between two looks at the registry and at what was dropped."""
LINGER: Final = 1.0
"""Seconds that what was sent has to leave when nobody says how long."""

_KINDS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_MONITOR_STOPPED | dialer.NAMED


class Watched(Protocol):
    """Whose socket it is. All are called in the loop."""

    def on_readable(self) -> None:
        """The descriptor of the socket has something to tell."""

    def on_pulse(self, now: float) -> None:
        """Another second has passed, or the time that was given to `arm`."""

    def on_connection(self, event: ConnectionEvent, now: float) -> None:
        """The monitor of the socket has told this."""


class EventPeers:
    """The connections of a socket, as its monitor tells of them. up: how many stand."""

    def __init__(self) -> None:
        self.up = 0
        self._open: dict[int, str] = {}

    def happened(self, event: int, descriptor: int, endpoint: str) -> None:
        """One event of the monitor."""
        if event in (zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED):
            self._open[descriptor] = endpoint
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.up += 1
        elif event == zmq.EVENT_DISCONNECTED:
            self._open.pop(descriptor, None)
        # A handshake that fails is not told reliably; no more than these can be up.
        self.up = min(self.up, len(self._open))

    def left(self, endpoints: list[str]) -> None:
        """The socket was disconnected from these, of which the monitor says nothing."""
        self._open = {key: endpoint for key, endpoint in self._open.items() if endpoint not in endpoints}
        self.up = min(self.up, len(self._open))


class EventWatch:
    """Watches the socket of one sender. From `begin` on it is for the loop's own thread."""

    def __init__(self, sender: Watched, socket: Socket) -> None:
        self.peers = EventPeers()
        self._sender = ref(sender)
        self._socket = socket
        self._generation = process.generation()
        self._loop: Loop | None = None
        self._reader: Watcher | None = None
        self._pulse: Timer | None = None
        self._monitor_watcher: MonitorWatcher | None = None
        self._on_gone: Callable[[], object] = lambda: None
        self._monitor = process.monitors().monitor(socket, _KINDS)
        finalize(sender, self._abandon).atexit = False

    def begin(self, loop: Loop) -> None:
        """Watch in this loop."""
        self._loop = loop
        self._reader = loop.reader(sockets.descriptor(self._socket), self._readable)
        self._monitor_watcher = MonitorWatcher(loop, self._monitor, self._monitored)
        self._pulse = loop.timer(self._on_pulse)
        self._pulse.at(monotonic() + PULSE)
        # The descriptor does not tell of what came before this.
        loop.call_soon(self._readable)
        if self._sender() is None:
            self.end(round(LINGER * 1000))

    def arm(self, when: float) -> None:
        """Have `on_pulse` called then, if that is sooner."""
        if self._pulse is not None and when != NEVER:
            self._pulse.at(when)

    def end(self, linger_ms: int, on_gone: Callable[[], object] = lambda: None) -> None:
        """Close the socket; `on_gone` is called when libzmq has let go of it."""
        self._on_gone = on_gone
        self._stop()
        self._socket.close(linger_ms)
        self._monitored()

    def drop(self) -> None:
        """Close the socket where there is no loop to be had for it."""
        self._monitor.close()
        self._socket.close(0)

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._pulse is not None:
            self._pulse.close()
        self._reader = self._pulse = None

    def _readable(self) -> None:
        sender = self._sender()
        if sender is not None and not self._socket.closed:
            sender.on_readable()

    def _on_pulse(self) -> None:
        sender = self._sender()
        if sender is not None and not self._socket.closed and self._pulse is not None:
            self._pulse.at(monotonic() + PULSE)
            sender.on_pulse(monotonic())

    def _monitored(self) -> None:
        for event in self._monitor.take():
            if event.kind == zmq.EVENT_MONITOR_STOPPED:
                self._stopped()
                return
            self.peers.happened(*event)
            sender = self._sender()
            if sender is not None and not self._socket.closed:
                sender.on_connection(event, monotonic())

    def _stopped(self) -> None:
        if self._monitor_watcher is not None:
            self._monitor_watcher.close()
        self._monitor.close()
        self._on_gone()

    # In any thread

    def _abandon(self) -> None:
        """The sender was dropped without close. No lock: this may have interrupted whoever holds it."""
        loop = self._loop
        if loop is None or self._socket.closed or self._generation != process.generation():
            return
        loop.call_soon_threadsafe(self.end, round(LINGER * 1000))
