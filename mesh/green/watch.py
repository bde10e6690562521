"""What the loop thread does for a socket that sends events: watches it, and closes it.

Knows the connections of the socket, from its monitor, and when libzmq has let go of it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol
from weakref import finalize, ref

import zmq
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from mesh.errors import MeshError
from mesh.green.loop import GeventLoop
from mesh.transport import dialer, native, process, sockets
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import Socket

PULSE: Final = 1.0
"""Seconds between two looks at the registry and at what was dropped."""
LINGER: Final = 1.0
"""Seconds that what was sent has to leave when nobody says how long."""

_KINDS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_MONITOR_STOPPED | dialer.KINDS


class Watched(Protocol):
    """Whose socket it is."""

    def on_readable(self) -> None:
        """The descriptor of the socket has something to tell."""

    def on_pulse(self, now: float) -> None:
        """Another second has passed."""

    def on_connection(self, event: ConnectionEvent, now: float) -> None:
        """The monitor of the socket has told this."""


class Waiter:
    """A greenlet, or a native thread without a loop, that waits for `attempt` to give True."""

    __slots__ = ("_done", "_hub", "attempt", "error", "succeeded")

    def __init__(self, attempt: Callable[[], bool]) -> None:
        self.attempt = attempt
        self.succeeded = False
        self.error: MeshError | None = None
        self._hub = get_hub_if_exists()
        self._done: Any = native.allocate_lock()
        if self._hub is None:
            self._done.acquire()
        else:
            self._done = Event()

    def wake(self) -> None:
        """From any thread, once."""
        if self._hub is None:
            self._done.release()
        else:
            self._hub.loop.run_callback_threadsafe(self._done.set)

    @property
    def here(self) -> bool:
        """Whether it waits in this thread's own loop."""
        return self._hub is not None and self._hub is get_hub_if_exists()

    def wait(self, timeout: float | None) -> None:
        if self._hub is not None:
            self._done.wait(timeout)
        else:
            self._done.acquire(True, -1 if timeout is None else timeout)


class Peers:
    """The connections of a socket, as its monitor tells of them."""

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


class Watch:
    """What the loop thread does for one socket. Its watchers don't keep the outlet alive."""

    def __init__(self, outlet: Watched, socket: Socket) -> None:
        self.peers = Peers()
        self._outlet = ref(outlet)
        self._socket = socket
        self._generation = process.generation()
        self._watchers: list[Any] = []
        self._loop: Any = None
        self._gone: Waiter | None = None
        self._monitor = process.monitors().monitor(socket, _KINDS)
        finalize(outlet, self._abandon).atexit = False

    # In the loop thread

    def begin(self) -> None:
        self._loop = loop = get_hub().loop
        data = loop.io(sockets.descriptor(self._socket), 1)
        data.start(self._readable)
        monitor = MonitorWatcher(GeventLoop(get_hub()), self._monitor, self._monitored)
        pulse = loop.timer(PULSE, PULSE)
        pulse.start(self._pulse)
        self._watchers = [data, pulse, monitor]
        loop.run_callback(self._readable)
        if self._outlet() is None:
            self.end(round(LINGER * 1000))

    def end(self, linger_ms: int, gone: Waiter | None = None) -> None:
        """Close the socket; `gone` is woken when libzmq has let go of it."""
        self._gone = gone
        for watcher in self._watchers[:-1]:
            watcher.close()
        del self._watchers[:-1]
        self._socket.close(linger_ms)
        self._monitored()

    def _readable(self) -> None:
        outlet = self._outlet()
        if outlet is not None and not self._socket.closed:
            outlet.on_readable()

    def _pulse(self) -> None:
        outlet = self._outlet()
        if outlet is not None and not self._socket.closed:
            outlet.on_pulse(monotonic())

    def _monitored(self) -> None:
        for event in self._monitor.take():
            if event.kind == zmq.EVENT_MONITOR_STOPPED:
                self._stopped()
                return
            self.peers.happened(*event)
            outlet = self._outlet()
            if outlet is not None and not self._socket.closed:
                outlet.on_connection(event, monotonic())

    def _stopped(self) -> None:
        for watcher in self._watchers:
            watcher.close()
        self._watchers.clear()
        self._monitor.close()
        if self._gone is not None:
            self._gone.wake()

    # Anywhere

    def _abandon(self) -> None:
        """The outlet was dropped without close. No lock: this may have interrupted whoever holds it."""
        if self._loop is not None and not self._socket.closed and self._generation == process.generation():
            self._loop.run_callback_threadsafe(self.end, round(LINGER * 1000))
