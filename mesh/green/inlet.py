"""The receiving side of PUB/SUB and pipelines: one socket, read in one loop, and the handlers.

Nothing that comes in, and nothing that a handler raises, ends it: nobody would get the error, so it
goes to the log.
"""

from __future__ import annotations

import contextvars
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
import greenlet
import zmq
from gevent.event import Event
from gevent.pool import Pool

from mesh.core import events, settings
from mesh.core.dropped import Dropped
from mesh.core.events import Handlers
from mesh.core.log import Limiter, in_short, tell_left_out, trace_of
from mesh.core.methods import expected_of
from mesh.core.unfinished import Running, in_words
from mesh.errors import ConfigError, WireError
from mesh.green.event_socket import EventSocket, Role
from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop, loop_here
from mesh.green.runnable import Runnable
from mesh.names.resolver import Target
from mesh.transport import dialer, process, sockets
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.sockets import NOBLOCK, Socket

FAIR: Final = 0.01
"""Seconds of handlers after which the rest of the loop gets its turn."""
MOMENT: Final = 1e-6
"""Seconds; gevent lets sockets and timers have their turn only when this is not 0."""
PULSE: Final = 1.0
"""Seconds between two looks at the registry and at what was dropped."""

log = logging.getLogger("mesh.events")


class Inlet(Runnable):
    """What subscribers and pullers share: a socket, read in one loop, and the handlers."""

    __mesh_unexposed__ = "a receiver of events"

    def __init__(
        self,
        role: Role,
        target: Target | None,
        handler: Any,
        pool_size: int,
        queue_size: int,
        services: str | None,
        max_message: int,
        max_elements: int,
    ) -> None:
        settings.count("pool_size", pool_size)
        settings.count("queue_size", queue_size)
        settings.size("max_message", max_message)
        settings.size("max_elements", max_elements)
        self._max_elements = max_elements
        try:
            self._handlers = Handlers(handler)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        for hidden, why in self._handlers.hidden.items():
            log.warning("%r handles no events, for to look at it raised %s", hidden, why)
        tell_left_out(log, "handles no events", self._handlers.left_out)
        self._queue_size = queue_size
        self._ends = EventSocket(role, self._set_options, max_message, self._wake)
        self._monitor = process.monitors().monitor(self._ends.socket, dialer.KINDS)
        try:
            self._ends.attach(target, services)
        except Exception:
            self._close()
            raise
        self._recv = sockets.receiver(self._ends.socket)
        self._dropped = Dropped()
        self._limiter = Limiter()
        self._pool_size = pool_size
        self._pool: Pool | None = None
        self._reader: gevent.Greenlet[..., None] | None = None
        self._watchers: list[Any] = []
        self._handling: dict[greenlet.greenlet, tuple[str, float]] = {}
        self._slice_end = 0.0
        self._arrived: Any = None
        Runnable.__init__(self, self._ends.name)

    def _set_options(self, socket: Socket) -> None:
        socket.set(zmq.RCVHWM, self._queue_size)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._ends.forked()
        if loop_here(self._hub):
            self._stop_watchers()
        self._watchers = []
        Runnable.forked(self)

    # Endpoints

    def bind(self, endpoint: str) -> str:
        """Let senders connect here; gives the real endpoint, with the port that `*` became."""
        with self._ends.lock:
            real = self._ends.bind(endpoint)
        self._look_again()
        return real

    def connect(self, endpoint: str) -> None:
        """Connect to a sender that has bound or to a hub; in the background, and again for ever."""
        with self._ends.lock:
            self._ends.connect(endpoint)
        self._look_again()

    def _look_again(self) -> None:
        # To use the socket swallows what its descriptor had to tell.
        if self._hub is not None:
            self._hub.loop.run_callback_threadsafe(self._look)

    @property
    def dropped(self) -> Counter[str]:
        """How many events were not carried out, by reason."""
        return Counter(self._dropped)

    # Life

    def _begin(self) -> None:
        self._arrived = Event()
        self._generation, self._in_main = process.generation(), process.in_main_thread()
        loop = self._hub.loop
        self._pool = Pool(self._pool_size) if self._pool_size > 1 else None
        readable = loop.io(sockets.descriptor(self._ends.socket), 1)
        monitor = MonitorWatcher(GeventLoop(self._hub), self._monitor, self._connection_changed)
        pulse = loop.timer(PULSE, PULSE)
        pulse.start(self._pulse)
        self._watchers = [readable, pulse, monitor]
        self._reader = gevent.spawn(self._read)

    def _abandon(self) -> None:
        self._close()

    def _close(self) -> None:
        self._monitor.close()
        self._ends.socket.close(0)

    def _drain(self, timeout: float | None) -> None:
        self._look()
        running, name = self._running(), self._ends.name
        if running:
            limit = "" if timeout is None else f", for at most {timeout:g} s"
            log.info("%s: waits for %d handlers%s: %s", name, len(running), limit, in_words(running))
        gevent.joinall([self._reader, *(self._pool or ())], timeout)
        running = self._running()
        if running:
            what = in_words(running)
            log.warning(
                "%s: %d handlers still ran after %g s and are given up: %s", name, len(running), timeout, what
            )

    def _running(self) -> list[Running]:
        now = monotonic()
        return [(name, now - began, "") for name, began in list(self._handling.values())]

    def _end(self) -> None:
        self.cut_off = len(self._handling)
        self._stop_watchers()
        if self._reader is not None:
            self._reader.kill(block=False)
        if self._pool is not None:
            self._pool.kill(block=False)
        with self._ends.lock:
            self._close()
        self._tell(float("inf"))

    def _stop_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.close()

    def __repr__(self) -> str:
        return f"<mesh: {self._ends.name}>"

    # In the loop

    def _look(self) -> None:
        if self._watchers:
            self._watchers[0].stop()
            self._arrived.set()

    def _pulse(self) -> None:
        now = monotonic()
        with self._ends.lock:
            self._ends.follow(now)
        self._look()
        self._tell(now)

    def _tell(self, now: float) -> None:
        news = self._dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self._ends.name, news)

    def _connection_changed(self) -> None:
        now = monotonic()
        with self._ends.lock:
            for event in self._monitor.take():
                if not self._ends.socket.closed:
                    self._ends.happened(event, now)
        self._look()

    def _wake(self) -> None:
        """From any thread."""
        with self._ends.lock:
            # The loop is there for as long as the socket is.
            if self._hub is not None and not self._ends.socket.closed:
                self._hub.loop.run_callback_threadsafe(self._settle)

    def _settle(self) -> None:
        with self._ends.lock:
            if not self._ends.socket.closed:
                self._ends.settle(monotonic())
        self._look()

    # In the greenlet that reads

    def _read(self) -> None:
        pool = self._pool
        while True:
            if pool is not None:
                pool.wait_available()
            frame = self._next()
            if frame is None:
                return
            if pool is None:
                self._handle(frame)
            else:
                pool.spawn(self._handle, frame)

    def _next(self) -> bytes | None:
        """The next event, waited for; None when it is over."""
        while not self._stopping:
            if monotonic() > self._slice_end:
                gevent.sleep(MOMENT)
                self._slice_end = monotonic() + FAIR
                continue
            with self._ends.lock:
                frame = self._take()
            if frame is not None:
                return frame
            self._arrived.clear()
            self._watchers[0].start(self._look)
            self._arrived.wait()
            self._slice_end = monotonic() + FAIR
        return None

    def _take(self) -> bytes | None:
        """The last frame of the next message, which is the event; None where there is no message."""
        try:
            frame = self._recv(NOBLOCK, False)
            while frame.more:
                frame = self._recv(NOBLOCK, False)
        except zmq.Again:
            return None
        event: bytes = frame.bytes
        return event

    def _handle(self, frame: bytes) -> None:
        try:
            name, args, kwargs = events.unpack(frame, self._max_elements)
        except WireError as exc:
            self._drop("malformed", str(exc))
            return
        function = self._handlers.find(name)
        if function is None:
            self._drop("that nobody handles", self._handlers.unknown(name))
            return
        me = greenlet.getcurrent()
        self._handling[me] = name, monotonic()
        try:
            contextvars.Context().run(_carry_out, name, function, args, kwargs)
        except BaseException as exc:
            if process.generation() != self._generation:
                handler_ended(exc, self._in_main)
                return
            given_up = self._stopping and isinstance(exc, gevent.GreenletExit)
            if given_up or (isinstance(exc, KeyboardInterrupt) and process.in_main_thread()):
                raise
            more = self._limiter.passes((name, type(exc)), monotonic())
            if more is not None:
                trace = in_short(trace_of(exc, __file__), exc)
                level = logging.INFO if issubclass(type(exc), expected_of(function)) else logging.ERROR
                log.log(level, "%s: the handler of %.80r raised %s%s", self._ends.name, name, trace, more)
            return
        finally:
            del self._handling[me]
        if process.generation() != self._generation:
            handler_ended(None, self._in_main)

    def _drop(self, what: str, detail: str) -> None:
        self._dropped.add(what, detail)
        self._tell(monotonic())


def _carry_out(name: str, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    result = function(*args, **kwargs)
    if hasattr(type(result), "__await__") or hasattr(type(result), "__next__"):
        if hasattr(result, "close"):
            result.close()
        kind = type(result).__name__
        raise TypeError(
            f"{name!r:.80} gave a {kind}, of which nothing is carried out: write a plain function"
        )
