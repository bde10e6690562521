"""A DEALER socket to one endpoint: its connection, what waits to be sent by it, and its watchers in a loop.

What the messages mean, and what becomes of them when the connection breaks, is its owner's matter. All but
`watch` and `unwatch`, which are for the loop's own thread, is used by one thread at a time, under the owner's
lock; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import zmq

from mesh.core.channel import NEVER
from mesh.core.outbox import Outbox
from mesh.core.progress import Progress
from mesh.core.redial import Redial
from mesh.transport import process, sockets
from mesh.transport.dialer import Change, Dialer
from mesh.transport.loop import Loop, Watcher
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.sockets import MORE, NOBLOCK

RETRY: Final = 0.01
"""Seconds after which to try again what a connection did not take, where no descriptor tells."""

T = TypeVar("T")
Event = Callable[[bytes, float], object]
Message = Callable[[bytes, float], int]


class Dealer(Generic[T]):
    """A message that waits in the outbox is a T.

    max_message: bytes of one event. on_message: gets the first frame of a message, and the time; it takes the
    others by `rest`, and gives how many events they were, or 0 to have no more received now. on_event: gets
    the event of a message of an empty frame and an event, and the time; None where those are messages as any
    other. redial: that of an earlier socket to the same endpoint. hosts: as Finder's. send_high_water:
    messages that libzmq may hold, where that is to be less than usual.

    Raises ConfigError where the endpoint can't be connected to, and MeshError where descriptors have run out.
    """

    __slots__ = (
        "_on_event",
        "_on_message",
        "_recv",
        "_send",
        "_watchers",
        "dialer",
        "endpoint",
        "outbox",
        "readable",
        "socket",
    )

    def __init__(
        self,
        endpoint: str,
        max_message: int,
        on_message: Message,
        on_event: Event | None = None,
        *,
        redial: Redial | None = None,
        hosts: tuple[str, ...] = (),
        send_high_water: int | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.outbox: Outbox[T] = Outbox()
        """What the connection has not taken yet, in order."""
        self._on_message = on_message
        self._on_event = on_event
        self._watchers: list[Watcher | MonitorWatcher] = []
        self.socket = socket = sockets.open_socket(zmq.DEALER, max_message)
        # What is sent waits in the outbox, not in libzmq, until there is a connection: so it is known what
        # the far end can have seen.
        socket.set(zmq.IMMEDIATE, 1)
        if send_high_water is not None:
            socket.set(zmq.SNDHWM, send_high_water)
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self.readable: Callable[[], Any] = sockets.readable(socket)
        """Whether a message can be received now."""
        self.dialer: Dialer | None = None
        """None within a process, where nothing tells of connections and none of them breaks."""
        try:
            with sockets.explained("connect", endpoint):
                if endpoint.startswith("inproc:"):
                    socket.connect(endpoint)
                else:
                    self.dialer = Dialer(socket, process.monitors(), endpoint, redial or Redial(), hosts)
                    self.dialer.begin()
        except Exception:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        return bool(self.socket.closed)

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket, which goes on sending for so long. `unwatch` comes first."""
        if self.dialer is not None:
            self.dialer.close()
        self.socket.close(linger_ms)

    # In the loop

    def watch(
        self, loop: Loop, readable: Callable[..., object], changed: Callable[..., object], *args: Any
    ) -> None:
        """Have these called in the loop: where something may have come, or go out again; and where `changes`
        has something to tell.

        The descriptor tells of changes alone, and a send swallows them: look again after each.
        """
        self._watchers.append(loop.reader(sockets.descriptor(self.socket), readable, *args))
        if self.dialer is not None:
            self._watchers.append(MonitorWatcher(loop, self.dialer.monitor, changed, *args))

    def unwatch(self) -> None:
        """Not where the loop is closed, or that of the parent of this process."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.close()

    # Out

    def send(self, event: bytes) -> bool:
        """An event after an empty frame, past what waits; False where the connection takes no more."""
        send = self._send
        try:
            send(b"", MORE)
            send(
                event, NOBLOCK
            )  # fails where the connection has ended since: libzmq took the first frame back
        except zmq.Again:
            return False
        return True

    def send_frames(self, frames: Sequence[bytes]) -> bool:
        """A message of any frames, past what waits; False where the connection takes no more."""
        send = self._send
        accepted, last = 0, len(frames) - 1
        try:
            for frame in frames[:-1]:
                send(frame, MORE)
                accepted += 1
            send(frames[-1], NOBLOCK)
        except zmq.Again:
            if 0 < accepted < last:
                # The connection ended between two frames: libzmq took back those that it had, and throws
                # away what follows until the message ends.
                send(b"", NOBLOCK)
            return False
        return True

    def flush(self, send: Callable[[T], bool]) -> bool:
        """Send what waits, until `send` says that the connection takes no more; whether anything went."""
        outbox, went = self.outbox, False
        while outbox and send(outbox.first):
            outbox.popleft()
            went = True
        return went

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, until there were `most` events or more; how many there were."""
        if not self.readable():
            return 0
        recv, event, message = self._recv, self._on_event, self._on_message
        count = 0
        while count < most:
            try:
                frame = recv(NOBLOCK)
            except zmq.Again:
                break
            if not frame and event is not None:
                try:
                    frame = recv(NOBLOCK)
                except zmq.Again:
                    pass  # the empty frame was all
                else:
                    event(frame, now)
                    count += 1
                    continue
            number = message(frame, now)
            if not number:
                break
            count += number
        if self.dialer is not None and self.dialer.progress is not None:
            self.dialer.progress.came += count
        return count

    def rest(self, frames: list[bytes], most: int) -> None:
        """Append the other frames of a message, no more than make `most`: what is beyond that is dropped."""
        while self.socket.get(zmq.RCVMORE):
            frame = self._recv(NOBLOCK)
            if len(frames) < most:
                frames.append(frame)

    # The connection

    def changes(self, now: float) -> Sequence[Change]:
        """What has happened to the connection since the last time, in order."""
        return () if self.dialer is None else self.dialer.take(now)

    @property
    def progress(self) -> Progress | None:
        """What moves on the connection, None while there is none."""
        return None if self.dialer is None else self.dialer.progress

    @property
    def why(self) -> str:
        """What was wrong with the last handshake; "" where it went well."""
        return "" if self.dialer is None else self.dialer.why

    @property
    def unresolved(self) -> str:
        """Why the endpoint's host has no address, as far as is known; "" where it has one."""
        return "" if self.dialer is None else self.dialer.unresolved

    def wanted(self, now: float) -> None:
        """Somebody waits for the connection: after a refused handshake it is dialled sooner."""
        if self.dialer is not None:
            self.dialer.wanted(now)

    def dial_if_due(self, now: float) -> None:
        """Dial anew after a refused handshake, or another address, where it is time to."""
        if self.dialer is not None:
            self.dialer.dial_if_due(now)

    @property
    def redial_at(self) -> float:
        """When `dial_if_due` is to be called."""
        return NEVER if self.dialer is None else self.dialer.wake_at

    @property
    def retry_at(self) -> float:
        """When what waits is to be tried again."""
        return monotonic() + RETRY if self.outbox else NEVER
