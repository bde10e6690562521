"""The greenlets that carry out a server's calls: reused, and only as many as calls that wait.

A worker takes one call after the other; only when a handler gives way does the loop begin the
next call in another worker. What is decided about handlers is mesh/transport/handlers.py's.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final

import gevent
import greenlet
from gevent.event import Event
from gevent.hub import Hub

from mesh.core.cork import QUICK
from mesh.core.methods import is_stream
from mesh.core.middleware import CallContext, begin_handler
from mesh.core.server_call import HubCall
from mesh.core.server_session import ServerCall, ServerSession
from mesh.core.slots import Slots
from mesh.green import spawned  # noqa: F401 - greenlets of handlers, and of programs that call, inherit
from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop
from mesh.green.parked import ParkedGreenlets
from mesh.green.thread_pool import FILES, GreenletPool
from mesh.transport import process
from mesh.transport.handler_places import tell_places
from mesh.transport.handlers import PLAIN, Handlers, ends_process, keywords
from mesh.transport.nested_calls import end_nested
from mesh.transport.pump import FAIR
from mesh.transport.server_endpoint import ServerEndpoint
from mesh.transport.thread_items import END
from mesh.transport.thread_pool import ThreadPlaces, outcome_of

LOOK_EVERY: Final = 8
"""Items after which a stream looks whether its turn is over, and others are to run."""
CROWDED: Final = 0.01
"""Seconds between two looks whether a hub has read what streams have sent."""
MAX_IDLE: Final = 256
"""Greenlets that are kept for the next calls."""
_END: Final = object()
_GO: Final = object()
_QUIET: Final = (gevent.GreenletExit, GeneratorExit, gevent.Timeout)
"""What a handler ends with when its caller has gone."""


class StreamLeft(gevent.GreenletExit, GeneratorExit):
    """Raised in a generator that waits for something while its caller has gone."""


class Workers:
    """Carries out the calls of one server endpoint.

    slots: how many handlers run. threads: native threads in which they run, 0 for greenlets; a stream that
    waits for credit is in none.
    """

    def __init__(self, handlers: Handlers, slots: Slots, threads: int) -> None:
        self._handlers = handlers
        self._functions = handlers.functions
        self._quick = handlers.quick
        handlers.called_by((Workers._carry_out, Workers._proceed, outcome_of), _QUIET, FILES)
        handlers.surround(self._proceed)
        self._slots = slots
        self._threads = threads
        self._places: ThreadPlaces | None = None
        self._pool: GreenletPool | None = None
        self._idle: list[greenlet.greenlet] = []
        self._parked = ParkedGreenlets()
        self._streaming: dict[ServerCall, greenlet.greenlet] = {}
        self._endpoint: ServerEndpoint
        self._session: ServerSession
        self._hub: Hub
        self._slice_end = 0.0
        self._closed = False
        self._no_calls = Event()

    def start(self, hub: Hub, endpoint: ServerEndpoint) -> None:
        self._hub, self._endpoint, self._session = hub, endpoint, endpoint.session
        self._generation = process.generation()
        self._in_main = process.in_main_thread()
        endpoint.blocked_in = self._blocked_in
        tell_places(self._handlers, endpoint, self._parked.stacks)
        loop = GeventLoop(hub)
        if self._threads:
            self._pool = GreenletPool(self._threads, hub)
            self._places = ThreadPlaces(self._slots, endpoint, loop)
        endpoint.start(loop, self.dispatch, self.resume)

    def close(self) -> None:
        """Let go of the greenlets and threads; from the loop's own thread."""
        self._closed = True
        for worker in self._idle:
            # A greenlet that waits for ever is never collected, nor is what it refers to.
            self._hub.loop.run_callback(worker.switch, _END)
        self._idle.clear()
        if self._pool is not None:
            self._pool.close()
        if self._places is not None:
            self._places.close()

    def wait_idle(self, timeout: float) -> None:
        """Wait until no handler runs and no call waits, for at most `timeout` seconds."""
        self._no_calls.clear()
        if self._slots.running or self._session.ready:
            self._no_calls.wait(timeout)
        else:
            gevent.sleep(timeout)

    def _blocked_in(self, frame: FrameType | None) -> str:
        """Whose handler runs in this frame of the loop's thread."""
        return self._handlers.running_in(frame) or f"a greenlet beside {self._handlers.methods.name}"

    # In the loop

    def dispatch(self) -> None:
        """Begin what is ready, as far as the pool allows."""
        self._slice_end = monotonic() + FAIR
        ready = self._session.ready
        while ready and self._slots.running < self._slots.limit:
            if monotonic() > self._slice_end:
                self._endpoint.go_on_later()
                return
            worker = self._idle.pop() if self._idle else self._new_worker()
            worker.switch(_GO)

    def _new_worker(self) -> greenlet.greenlet:
        worker = greenlet.greenlet(self._work, self._hub)
        self._parked.add(worker)
        return worker

    def resume(self, calls: list[ServerCall]) -> None:
        """These streams have credit again, or nobody wants them any more."""
        for call in calls:
            waiter = call.waiter
            if waiter is not None:
                call.waiter = None
                waiter.switch()
            elif call.given_up and self._pool is None and call in self._streaming:
                # Its generator waits for something that may never come.
                self._streaming[call].throw(StreamLeft)
            elif call.nested:
                end_nested(call)

    # In a worker

    def _work(self, _: object) -> None:
        ready = self._session.ready
        me = greenlet.getcurrent()
        call: ServerCall | None
        while True:
            now = monotonic()
            while ready and self._slots.running < self._slots.limit and now < self._slice_end:
                call, began = ready.popleft(), now
                self._next(call, now)
                now = monotonic()
                if (now - began < QUICK) is not (call.method in self._quick):
                    self._handlers.note_speed(call.method)
                if me.__dict__:
                    break
            if ready and self._slots.running < self._slots.limit:
                self._endpoint.go_on_later()
            if not self._slots.running and not ready:
                self._no_calls.set()
            # A handler's greenlet-local values must not be seen by the next call.
            if me.__dict__ or self._closed or len(self._idle) >= MAX_IDLE:
                return
            self._idle.append(me)
            call = None  # one that is idle must not keep what it was last called with
            while (order := self._hub.switch()) is not _GO:
                if order is _END:
                    return

    def _next(self, call: ServerCall, now: float) -> None:
        endpoint = self._endpoint
        if not endpoint.begin(call, now, call.method in self._quick):
            return
        self._slots.running += 1
        try:
            self._handlers.context().run(self._carry_out, call)
        finally:
            self._slots.running -= 1
            if call.given_up:
                endpoint.ended(call)
        if call.given_up and process.generation() != self._generation:
            handler_ended(None, self._in_main)

    def _carry_out(self, call: ServerCall) -> None:
        """Run the handler and send what comes of it. Raises only what must end the process."""
        begin_handler(call)
        function = self._functions[call.method]  # the session gives no others
        context = None if self._pool is None else contextvars.copy_context()
        try:
            kwargs = call.header.get("kwargs")
            if context is not None:
                result = self._in_thread(context, function, *call.args, **keywords(kwargs))
            elif kwargs is None:
                result = function(*call.args)
            else:
                result = function(*call.args, **keywords(kwargs))
            if type(result) in PLAIN and not is_stream(function):
                self._endpoint.answer(call, result)
            elif is_stream(function) or hasattr(type(result), "__next__"):
                self._stream(call, _not_async(call, result), context)
            else:
                self._endpoint.answer(call, _not_async(call, result))
        except BaseException as exc:  # gevent.Timeout and asyncio.CancelledError are no Exceptions
            if process.generation() != self._generation:
                handler_ended(exc, self._in_main)
                return
            self._handlers.fail(self._endpoint, call, exc)
            if ends_process(exc):
                raise

    def _proceed(self, call: CallContext) -> Any:
        """What comes after the last middleware."""
        function = self._handlers.of(call)
        result = function(*call.args, **call.kwargs)
        return iter(result) if is_stream(function) else result

    def _in_thread(
        self, context: contextvars.Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """As function(*args, **kwargs), in a native thread of the pool."""
        assert self._pool is not None
        return self._pool.call(context, partial(function, *args, **kwargs))

    # Streams

    def _stream(self, call: ServerCall, stream: Iterable[Any], context: contextvars.Context | None) -> None:
        """context: in which its items are taken in native threads; None where this greenlet takes them."""
        if context is None or self._pool is None:
            items = iter(stream)
            take: Callable[[], Any] = partial(next, items, END)
            close = getattr(items, "close", None)
        else:
            pooled = self._pool.items(call, stream, context)
            take, close = pooled.next, pooled.close
        self._streaming[call] = greenlet.getcurrent()
        try:
            if not call.given_up and self._send_items(call, take):
                self._endpoint.end_stream(call)
        finally:
            del self._streaming[call]
            if close is not None:
                close()

    def _send_items(self, call: ServerCall, take: Callable[[], Any]) -> bool:
        """Send items as credit allows; False where nobody wants more. take: gives the next one, or END."""
        endpoint = self._endpoint
        sent, turn_end = 0, monotonic() + FAIR
        by_hub = type(call.peer) is HubCall
        while True:
            value = take()
            if (call.credit <= 0 or call.given_up) and not self._has_credit(call):
                return False
            if value is END:
                return True
            if not endpoint.item(call, value):
                return False
            sent += 1
            while by_hub and endpoint.crowded(call) and not call.given_up:
                gevent.sleep(CROWDED)
            if sent % LOOK_EVERY == 0 and monotonic() > turn_end:
                gevent.sleep(0)
                turn_end = monotonic() + FAIR

    def _has_credit(self, call: ServerCall) -> bool:
        """Wait until the caller takes another item; False where it is gone."""
        while call.credit <= 0 and not call.given_up:
            if self._endpoint.waits(call, greenlet.getcurrent()):
                if self._places is None:
                    self._hub.switch()
                else:
                    self._places.lend(1)
                    self._hub.switch()
                    self._places.lend(-1)
        return not call.given_up


def _not_async(call: ServerCall, result: Any) -> Any:
    kind = type(result)
    if hasattr(kind, "__await__") or hasattr(kind, "__anext__"):
        if hasattr(kind, "__await__") and hasattr(result, "close"):
            result.close()  # else Python warns that it was never awaited
        raise TypeError(
            f"{call.method:.80} returned a value of type {kind.__name__}, which nobody awaits: mesh.Server "
            "runs plain functions and generators; expose it by mesh.aio.Server or `mesh serve --loop asyncio`"
        )
    return result
