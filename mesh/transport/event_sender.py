"""The sending side of PUB/SUB and pipelines: one socket for all who send, from any thread.

A send needs no loop. What does (connections that come and go, room in a full queue, a name that leads
elsewhere) is looked after by the loop that the driver gives. The socket is used under the lock only, and
whoever has used it looks at who waits: the descriptor tells of a change once, to whoever touches the socket
next. How somebody waits is the driver's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import zmq

from mesh.core import settings
from mesh.core.channel import NEVER
from mesh.core.dropped import Dropped
from mesh.core.events import Packer, Subscribed
from mesh.core.values import Encode
from mesh.errors import ConfigError, MeshError, Overloaded, TimeoutExpired
from mesh.names.resolver import Target
from mesh.transport import host_lookup, process, sockets
from mesh.transport.event_socket import PUBLISHER, PUSHER, EventSocket, Role
from mesh.transport.event_watch import EventWatch
from mesh.transport.loop import Loop
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.recording import recording
from mesh.transport.sockets import MORE, NOBLOCK, Socket

MAX_INCOMING: Final = 4_096
"""Bytes of what a receiver may send, which are subscriptions."""
GRACE: Final = 0.5
"""Seconds, beyond those that what was sent has to leave, after which nobody waits for a socket's end."""

_NO_TOPIC: Final = b"\x93"
"""How an event without a topic begins: as an array of three."""

log = logging.getLogger("mesh.events")

InLoop = Callable[[Callable[[Loop], object]], object]
"""Has a function called in the loop that looks after a socket, with that loop; in the order of the calls."""


class EventWaiter:
    """Somebody who waits until `attempt`, which is called under the lock, gives True.

    wake: called once, in any thread and under the lock, when that is so, or can't be any more. loop: in which
    it waits; None for none. succeeded, error: what has come of it. abandoned: it has gone without `leave`,
    which takes the lock, and is not to be woken.
    """

    __slots__ = ("abandoned", "attempt", "error", "loop", "succeeded", "wake")

    def __init__(self, attempt: Callable[[], bool], wake: Callable[[], object], loop: Loop | None) -> None:
        self.attempt = attempt
        self.wake = wake
        self.loop = loop
        self.succeeded = False
        self.abandoned = False
        self.error: MeshError | None = None

    def outcome(self) -> bool:
        """Whether it has succeeded. Raises MeshError where it could not go on to wait."""
        if self.error is not None:
            raise self.error
        return self.succeeded


class EventSender:
    """A socket that sends events. dropped: what is known to have reached nobody.

    queue_size: events that wait for each receiver. max_message: bytes of one. encode: gives what is to travel
    in place of what can't. in_loop: the driver's. Raises ConfigError, ServiceNotFound and MeshError.
    """

    def __init__(
        self,
        role: Role,
        in_loop: InLoop,
        target: Target | None,
        services: str | None,
        queue_size: int,
        max_message: int,
        encode: Encode | None = None,
    ) -> None:
        settings.count("queue_size", queue_size)
        settings.size("max_message", max_message)
        settings.function("encode", encode)
        self._in_loop = in_loop
        self._queue_size = queue_size
        self.dropped = Dropped()
        self.closed = False
        self._max_message = max_message
        self._encode = encode
        self._service = target if isinstance(target, str) else role.name
        self._waiters: list[EventWaiter] = []
        self._watch: EventWatch | None = None
        """None after a fork, until it is used again, and after the end."""
        self.ends = EventSocket(role, self._set_options, MAX_INCOMING, self._wake)
        self._packer = self._new_packer()
        # Watched before it is attached: what happens before that is never told.
        self._begin()
        try:
            with self.ends.lock:
                self.ends.attach(target, services)
                self._attached()
                self.look()
        except Exception:
            self.close(0.0, lambda: None)
            raise
        process.remember(self)

    def _set_options(self, socket: Socket) -> None:
        socket.set(zmq.SNDHWM, self._queue_size)
        socket.set(zmq.MAXMSGSIZE, MAX_INCOMING)
        # Nothing is queued for a far end that is not there, as nobody could tell what became of it.
        socket.set(zmq.IMMEDIATE, 1)

    def _begin(self) -> None:
        self._send = sockets.sender(self.ends.socket)
        self._watch = watch = EventWatch(self, self.ends.socket)
        try:
            self._in_loop(watch.begin)
        except BaseException:
            self._watch = None
            watch.drop()
            raise

    def forked(self) -> None:
        """In the child of a fork: leave the parent's socket alone, and let go who waits for it."""
        self.ends.forked()
        self._packer = self._new_packer()
        self._watch = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.error = MeshError(f"the process was forked while {self.ends.name} waited; send again")
            if waiter.loop is not None and waiter.loop.here():  # the others are the parent's
                waiter.wake()

    def _new_packer(self) -> Packer:
        recorder = recording.recorder(self._service)
        return Packer(process.new_base(), self._max_message, self._encode, self._service, recorder)

    # Under the lock

    def ready(self) -> None:
        """Be there to send. Raises MeshError where nothing can be sent any more, and ConfigError where its
        name leads to nothing for it.
        """
        self._open()
        if self.ends.misfit is not None:
            raise ConfigError(str(self.ends.misfit))

    def _open(self) -> None:
        """Begin anew after a fork. Raises MeshError where it can't."""
        if self.closed:
            raise MeshError(f"{self.ends.name} is closed; make a new one")
        if self._watch is None:
            if self.ends.bound:
                raise MeshError(f"{self.ends.name} was bound before a fork, by the parent; make a new one")
            self.ends.reopen()
            self._begin()
            self.ends.reconnect()
            self._attached()

    def look(self) -> None:
        """Take in what the socket has to tell, and let go on who can."""
        if self.closed or self._watch is None:
            return
        self.ends.socket.get(zmq.EVENTS)
        self._take()
        for waiter in list(self._waiters):
            if waiter.abandoned:
                self._waiters.remove(waiter)
            elif waiter.attempt():
                self._waiters.remove(waiter)
                waiter.succeeded = True
                waiter.wake()

    def _take(self) -> None:
        """Take in what receivers have sent."""

    # In the loop

    def on_readable(self) -> None:
        with self.ends.lock:
            self.look()

    def on_pulse(self, now: float) -> None:
        """Follow the name, and tell of what was dropped."""
        with self.ends.lock:
            self._follow(now)
            news = self.dropped.news(now)
        if news:
            log.warning("%s: %s", self.ends.name, news)

    def _follow(self, now: float) -> None:
        """Go where the name leads now; under the lock."""
        if self.closed or self._watch is None:
            return
        left = self.ends.follow(now)
        if left is not None:
            self._watch.peers.left(left)
        if self.ends.misfit is not None:
            self._let_go(self.ends.misfit)
        self._arm()
        self.look()

    def _let_go(self, why: MeshError) -> None:
        """Nobody is to wait any more; under the lock."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.error = type(why)(str(why))
            waiter.wake()

    def on_connection(self, event: ConnectionEvent, now: float) -> None:
        with self.ends.lock:
            if not self.closed:
                self.ends.happened(event, now)
                self._arm()
                self.look()

    def _wake(self) -> None:
        """There is something to settle; from any thread."""
        self._in_loop(self._settle)

    def _settle(self, _: Loop) -> None:
        with self.ends.lock:
            self._follow(monotonic())

    def _arm(self) -> None:
        if self._watch is not None:
            self._watch.arm(self.ends.wake_at)

    # For whoever sends

    def bind(self, endpoint: str) -> str:
        host_lookup.look_up_first(endpoint)
        with self.ends.lock:
            self._open()
            try:
                real = self.ends.bind(endpoint)
                self.ends.misfit = None
                return real
            finally:
                self.look()

    def connect(self, endpoint: str) -> None:
        with self.ends.lock:
            self._open()
            try:
                self.ends.connect(endpoint)
                self.ends.misfit = None
                self._attached()
            finally:
                self.look()

    def _attached(self) -> None:
        """It may have hosts that have to be asked for again; under the lock, in any thread."""
        if self.ends.wake_at != NEVER:
            self._wake()

    def pack(self, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """One event. Raises TypeError with the place of what can't travel, and WireError."""
        with self.ends.lock:
            return self._packer.pack(event, args, kwargs)

    def at_once(self, attempt: Callable[[], bool]) -> bool:
        """Whether `attempt`, called under the lock, gives True now: nobody goes before those who wait."""
        with self.ends.lock:
            self.ready()
            return not self._waiters and attempt()

    def wait(self, waiter: EventWaiter) -> bool:
        """Have it woken when its attempt succeeds, until it is to `leave`; True where that is so already."""
        with self.ends.lock:
            self.ready()
            if not self._waiters and waiter.attempt():
                return True
            self._waiters.append(waiter)
            self.ends.awaited = True
            return False

    def leave(self, waiter: EventWaiter) -> None:
        """It waits no more."""
        with self.ends.lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            self.ends.awaited = bool(self._waiters)

    @property
    def connections(self) -> int:
        """How many far ends are connected; those inside this process can't be counted."""
        return self._watch.peers.up if self._watch is not None else 0

    def describe(self) -> str:
        """Who is connected, for an error."""
        ends = ", ".join([*self.ends.connected, *self.ends.bound])
        if not ends:
            return self.ends.awaited_source or "it has no endpoint: bind or connect it first"
        if not self.connections and not self.ends.connected:
            return f"nobody has come to {ends}"
        several = len(self.ends.connected) > 1
        problems = {
            f"{one}: {problem}" if several else problem
            for one in self.ends.connected
            if (problem := self.ends.problem(one))
        }
        who = f"{self.connections} connected at" if self.connections else "there is no connection to"
        return f"{who} {'; '.join([ends, *sorted(problems)])}"

    # The end

    def close(self, timeout: float, on_gone: Callable[[], object]) -> bool:
        """Close; False where there is nothing to wait for.

        on_gone: called in the loop when all that was sent has left this process, or `timeout` seconds have
        passed.
        """
        watch = self._end()
        if watch is None:
            return False
        self._in_loop(lambda _: watch.end(round(timeout * 1000), on_gone))
        return True

    def _end(self) -> EventWatch | None:
        with self.ends.lock:
            self.closed = True
            self.ends.close()
            watch, self._watch = self._watch, None
            self._let_go(MeshError(f"{self.ends.name} was closed"))
        return watch

    def tell_what_stayed(self, began: float, timeout: float) -> bool:
        """Whether the end, which began then, came before all that was sent had left; the log is told."""
        stayed = bool(timeout) and monotonic() - began >= timeout
        if stayed:
            log.warning("%s: not all that was sent had left after %.4g s", self.ends.name, timeout)
        return stayed


class JobSender(EventSender):
    """That of a pusher."""

    def __init__(
        self,
        in_loop: InLoop,
        target: Target | None,
        services: str | None,
        queue_size: int,
        max_message: int,
        encode: Encode | None,
    ) -> None:
        super().__init__(PUSHER, in_loop, target, services, queue_size, max_message, encode)

    @property
    def own_timeout(self) -> float | None:
        """That of its service in the registry."""
        return self.ends.service.timeout if self.ends.service is not None else None

    def push(self, payload: bytes) -> bool:
        """Hand over a job; False where nobody takes more now, or others wait for that."""
        with self.ends.lock:
            self.ready()
            return not self._waiters and self.try_send(payload)

    def try_send(self, payload: bytes) -> bool:
        """Hand over a job; False where nobody takes more. Under the lock."""
        try:
            self._send(payload, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def refused(self, event: str, timeout: float | None) -> MeshError:
        """The error of a job that nobody has taken within `timeout` seconds."""
        error: MeshError
        if self.connections:
            error = Overloaded(f"no puller took {event!r:.80} within {timeout:.4g} s: {self.describe()}")
        else:
            error = TimeoutExpired(f"nobody took {event!r:.80} within {timeout:.4g} s: {self.describe()}")
        error.refused = True
        return error


class TopicSender(EventSender):
    """That of a publisher: knows who has subscribed, as far as an XPUB socket tells."""

    def __init__(
        self,
        in_loop: InLoop,
        target: Target | None,
        services: str | None,
        queue_size: int,
        max_message: int,
        encode: Encode | None,
    ) -> None:
        super().__init__(PUBLISHER, in_loop, target, services, queue_size, max_message, encode)

    def _set_options(self, socket: Socket) -> None:
        super()._set_options(socket)
        self._subscribed = Subscribed()
        # Tells when a subscriber falls behind, which libzmq would do in silence.
        socket.set(zmq.XPUB_NODROP, 1)

    def _take(self) -> None:
        socket = self.ends.socket
        while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._subscribed.take(socket.recv(NOBLOCK))

    def publish(self, topic: bytes, event: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Send an event to all who have subscribed. Never waits. Raises as `pack`, and MeshError."""
        payload = self.pack(event, args, kwargs)
        with self.ends.lock:
            self.ready()
            first = topic or payload
            if not self._subscribed.match(first):
                self.look()
                if not self._subscribed.match(first):
                    self.dropped.add("nobody had subscribed", quiet=True)
            frames = (topic, payload) if topic else (payload,)
            if not self._try(frames):
                # Those who are not behind get it all the same.
                self.dropped.add("a subscriber fell behind and loses events", "raise its queue_size")
                self.ends.socket.set(zmq.XPUB_NODROP, 0)
                self._try(frames)
                self.ends.socket.set(zmq.XPUB_NODROP, 1)
            if self._waiters:
                self.look()

    def _try(self, frames: tuple[bytes, ...]) -> bool:
        try:
            for frame in frames[:-1]:
                self._send(frame, MORE)
            self._send(frames[-1], NOBLOCK)
        except zmq.Again:
            return False
        return True

    def is_subscribed(self, topic: bytes) -> bool:
        """Whether somebody gets events of that topic, b"" for none. Under the lock."""
        self._take()
        return self._subscribed.match(topic or _NO_TOPIC)

    def nobody(self, topic: Any, timeout: float | None) -> MeshError:
        """The error where nobody has subscribed within `timeout` seconds."""
        what = "events without a topic" if topic is None or not len(topic) else f"topic {topic!r}"
        return TimeoutExpired(f"nobody has subscribed to {what} within {timeout:.4g} s: {self.describe()}")
