"""The receiving side of PUB/SUB and pipelines: one socket, read in one loop, and who handles what comes.

Nothing that comes in, and nothing that a handler raises, ends it: nobody would get the error, so it goes to
the log. How a handler is run, and how many at once, is the driver's matter.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from time import monotonic
from typing import Any, Final

import zmq

from mesh.core import events, settings
from mesh.core.dropped import Dropped
from mesh.core.events import EventHandlers
from mesh.core.log import Limiter, in_short, tell_left_out, trace_of
from mesh.core.methods import expected_of
from mesh.core.span import Span, within
from mesh.core.trace_record import GOOD, Kind
from mesh.core.unfinished import Running
from mesh.errors import ConfigError, WireError, name_of, text_of
from mesh.names.resolver import Target
from mesh.transport import dialer, host_lookup, process, sockets
from mesh.transport.draining import tell_given_up, tell_waiting
from mesh.transport.event_socket import EventSocket, Role
from mesh.transport.loop import Loop, Timer, Watcher
from mesh.transport.monitoring import MonitorWatcher
from mesh.transport.recording import recording
from mesh.transport.sockets import NOBLOCK, Socket

FAIR: Final = 0.01
"""Seconds of handlers after which a driver gives the rest of the loop its turn."""
PULSE: Final = 1.0
"""Seconds between two looks at the registry and at what was dropped."""

log = logging.getLogger("mesh.events")


class Delivery:
    """An event and the function that handles it. began: when it was given to the driver. span: the one
    in which it was sent; None for none. outcome: what its handler has come to. message, traceback: of what
    it has raised, where that is recorded.
    """

    __slots__ = ("args", "began", "function", "kwargs", "message", "name", "outcome", "span", "traceback")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        began: float,
        span: Span | None,
    ) -> None:
        self.name = name
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.began = began
        self.span = span
        self.outcome = GOOD
        self.message = ""
        self.traceback = ""

    def context(self) -> Context:
        """A new one for its handler."""
        return within(self.span)


class EventReceiver:
    """handler, coroutines: as EventHandlers has them. prefixes: of the topics that are wanted, where the role
    has topics. queue_size: events that wait for the handlers. max_message, max_elements: bytes of one event,
    and values in it.

    Raises ConfigError, ServiceNotFound and MeshError. From `start` on it is for the loop's own thread, where
    nothing else is said.
    """

    def __init__(
        self,
        role: Role,
        target: Target | None,
        handler: Any,
        *,
        coroutines: bool,
        prefixes: Sequence[bytes] = (),
        queue_size: int,
        services: str | None,
        max_message: int,
        max_elements: int,
    ) -> None:
        settings.count("queue_size", queue_size)
        settings.size("max_message", max_message)
        settings.size("max_elements", max_elements)
        self._max_elements = max_elements
        self._coroutines = coroutines
        try:
            self._handlers = EventHandlers(handler, coroutines=coroutines)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        for hidden, why in self._handlers.hidden.items():
            log.warning("%r handles no events, for to look at it raised %s", hidden, why)
        tell_left_out(log, "handles no events", self._handlers.left_out)
        self._queue_size = queue_size
        self._prefixes = prefixes
        self._loop: Loop | None = None
        self._on_arrived: Callable[[], object] = lambda: None
        self._reader: Watcher | None = None
        self._pulse: Timer | None = None
        self._monitor_watcher: MonitorWatcher | None = None
        self.ends = EventSocket(role, self._set_options, max_message, self._wake)
        self._monitor = process.monitors().monitor(self.ends.socket, dialer.NAMED)
        try:
            self.ends.attach(target, services)
        except Exception:
            self._close_socket()
            raise
        self._recv = sockets.receiver(self.ends.socket)
        self._dropped = Dropped()
        self._limiter = Limiter()
        self._handling: set[Delivery] = set()
        self._service = target if isinstance(target, str) else role.name
        self._recorder = recording.recorder(self._service)

    def _set_options(self, socket: Socket) -> None:
        socket.set(zmq.RCVHWM, self._queue_size)
        for prefix in self._prefixes:
            socket.set(zmq.SUBSCRIBE, prefix)

    @property
    def name(self) -> str:
        """What it is called in errors and in the log."""
        return self.ends.name

    # Endpoints; from any thread

    def bind(self, endpoint: str) -> str:
        """Let senders connect here; gives the real endpoint, with the port that `*` became."""
        host_lookup.look_up_first(endpoint)
        with self.ends.lock:
            real = self.ends.bind(endpoint)
        self._look_again()
        return real

    def connect(self, endpoint: str) -> None:
        """Connect to a sender that has bound or to a hub; in the background, and again for ever."""
        with self.ends.lock:
            self.ends.connect(endpoint)
        self._look_again()

    def _look_again(self) -> None:
        # To use the socket swallows what its descriptor had to tell.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._settle)

    @property
    def dropped(self) -> Counter[str]:
        """How many events were not carried out, by reason."""
        return Counter(self._dropped)

    # Life

    def start(self, loop: Loop, on_arrived: Callable[[], object]) -> None:
        """Receive in this loop. on_arrived: called when something may have come, after each `wait`."""
        self._on_arrived = on_arrived
        self._reader = loop.reader(sockets.descriptor(self.ends.socket), self._look)
        self._reader.pause()
        self._monitor_watcher = MonitorWatcher(loop, self._monitor, self._connection_changed)
        self._pulse = loop.timer(self._on_pulse)
        self._pulse.at(monotonic() + PULSE)
        self._loop = loop
        with self.ends.lock:
            self.ends.release()
        loop.call_soon(self._settle)

    def close(self) -> None:
        """Let go of all; what has come and was not handled is lost. Also for one that was never started."""
        self._stop_watchers()
        with self.ends.lock:
            self._close_socket()
        self._tell(float("inf"))

    def _close_socket(self) -> None:
        self._monitor.close()
        self.ends.close()
        self.ends.socket.close(0)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self.ends.forked()
        if self._loop is not None and self._loop.here():
            self._stop_watchers()
        self._reader = self._pulse = self._monitor_watcher = None

    def _stop_watchers(self) -> None:
        for watcher in (self._reader, self._pulse, self._monitor_watcher):
            if watcher is not None:
                watcher.close()
        self._reader = self._pulse = self._monitor_watcher = None

    def tell_draining(self, timeout: float | None) -> None:
        """Say in the log what its end waits for."""
        tell_waiting(log, self.name, "handlers", self.running(), timeout)

    def tell_given_up(self, timeout: float | None) -> None:
        """Say in the log what its end cuts off."""
        tell_given_up(log, self.name, "handlers", self.running(), timeout)

    def running(self) -> list[Running]:
        """The handlers that run. From any thread: RuntimeError where the loop is at them just then."""
        now = monotonic()
        return [(one.name, now - one.began, "") for one in list(self._handling)]

    # In the loop

    def _look(self) -> None:
        if self._reader is not None:
            self._reader.pause()
            self._on_arrived()

    def _on_pulse(self) -> None:
        now = monotonic()
        with self.ends.lock:
            self.ends.follow(now)
            self._arm(now)
        self._look()
        self._tell(now)

    def _tell(self, now: float) -> None:
        news = self._dropped.news(now)
        if news:
            log.warning("%s: dropped %s", self.name, news)

    def _connection_changed(self) -> None:
        now = monotonic()
        with self.ends.lock:
            for event in self._monitor.take():
                if not self.ends.socket.closed:
                    self.ends.happened(event, now)
            self._arm(now)
        self._look()

    def _wake(self) -> None:
        """There is something to settle; from any thread."""
        with self.ends.lock:
            # The loop is there for as long as the socket is.
            if self._loop is not None and not self.ends.socket.closed:
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        now = monotonic()
        with self.ends.lock:
            if not self.ends.socket.closed:
                self.ends.follow(now)
            self._arm(now)
        self._look()

    def _arm(self, now: float) -> None:
        if self._pulse is not None:
            self._pulse.at(min(now + PULSE, self.ends.wake_at))

    # For the driver

    def take(self) -> bytes | None:
        """The next event as it has come; None where there is none now: `wait` then."""
        with self.ends.lock:
            try:
                frame = self._recv(NOBLOCK, False)
                while frame.more:  # the last one is the event
                    frame = self._recv(NOBLOCK, False)
            except zmq.Again:
                return None
        event: bytes = frame.bytes
        return event

    def wait(self) -> None:
        """Have `on_arrived` called once something may have come."""
        if self._reader is not None:
            self._reader.resume()

    def begin(self, frame: bytes) -> Delivery | None:
        """Who is to handle it, and what; None where it was dropped, and counted. `end` it afterwards."""
        try:
            name, args, kwargs, span = events.unpack(frame, self._max_elements)
        except WireError as exc:
            self._drop("malformed", str(exc))
            return None
        function = self._handlers.find(name)
        if function is None:
            self._drop("that nobody handles", self._handlers.unknown(name))
            return None
        delivery = Delivery(name, function, args, kwargs, monotonic(), span)
        self._handling.add(delivery)
        return delivery

    def call(self, delivery: Delivery) -> Awaitable[Any] | None:
        """Call its handler; what there is to await of that. Raises what it raises, and TypeError where it has
        given something of which nothing is carried out.
        """
        result = delivery.function(*delivery.args, **delivery.kwargs)
        if result is None:
            return None
        kind = type(result)
        if hasattr(kind, "__await__") and self._coroutines:
            awaitable: Awaitable[Any] = result
            return awaitable
        if any(hasattr(kind, one) for one in ("__await__", "__next__", "__anext__")):
            if hasattr(result, "close"):
                result.close()  # else Python warns that a coroutine was never awaited
            wanted = "one without `yield`" if self._coroutines else "a plain function, or take mesh.aio"
            what = f"{delivery.name!r:.80} gave a value of type {kind.__name__}"
            raise TypeError(f"{what}, of which nothing is carried out: write {wanted}")
        return None

    def end(self, delivery: Delivery) -> None:
        """Its handler has come to its end. Whatever is said of it afterwards counts no more."""
        if delivery not in self._handling:
            return
        self._handling.discard(delivery)
        if self._recorder is not None and delivery.span is not None:
            began = delivery.began
            self._recorder.event(
                Kind.RECEIVED,
                self._service,
                delivery.name,
                delivery.span,
                began,
                began,
                delivery.outcome,
                delivery.message,
                delivery.traceback,
            )

    def raised(self, delivery: Delivery, exc: BaseException, file: str) -> None:
        """Its handler raised: tell the log. To be called before `end`. file: the driver's, whose frames are
        left out.
        """
        delivery.outcome = name_of(exc)
        more = self._limiter.passes((delivery.name, type(exc)), monotonic())
        recorded = self._recorder is not None and delivery.span is not None
        if more is None and not recorded:
            return
        trace = trace_of(exc, file, __file__)
        if recorded:
            delivery.message, delivery.traceback = text_of(exc), trace
        if more is None:
            return
        level = logging.INFO if issubclass(type(exc), expected_of(delivery.function)) else logging.ERROR
        short = in_short(trace, exc)
        log.log(level, "%s: the handler of %.80r raised %s%s", self.name, delivery.name, short, more)

    def _drop(self, what: str, detail: str) -> None:
        self._dropped.add(what, detail)
        self._tell(monotonic())
