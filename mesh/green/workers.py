"""The greenlets that carry out a server's calls: reused, and only as many as calls that wait.

A worker takes one call after the other; only when a handler gives way does the loop begin the
next call in another worker.
"""

from __future__ import annotations

import contextvars
import logging
import traceback
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

import gevent
import greenlet
from gevent.event import Event
from gevent.hub import Hub
from gevent.threadpool import ThreadPool

from mesh.core.methods import MethodTable, is_stream
from mesh.core.server_session import ServerCall, ServerSession
from mesh.green.port import FAIR, Port

YIELD_EVERY: Final = 64
"""Items after which a stream lets others run."""
MAX_RUNNING: Final = 10_000
"""Handlers at once where the server has no pool size."""
_END: Final = object()
_GO: Final = object()
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""What is known to be no stream without asking."""

log = logging.getLogger("mesh.server")


class StreamLeft(gevent.GreenletExit, GeneratorExit):
    """Raised in a generator that waits for something while its caller has gone."""


class Workers:
    """Carries out the calls of one port.

    pool_size: handlers at once, or None for MAX_RUNNING. threads: native threads in which the
    handlers run, 0 for greenlets.
    """

    def __init__(self, methods: MethodTable, pool_size: int | None, threads: int) -> None:
        self._methods = methods
        self._functions = methods.functions
        self._limit = min(pool_size or MAX_RUNNING, threads or MAX_RUNNING)
        self._threads = threads
        self._pool: ThreadPool | None = None
        self._idle: list[greenlet.greenlet] = []
        self._busy: set[greenlet.greenlet] = set()
        self._streaming: dict[ServerCall, greenlet.greenlet] = {}
        self._port: Port
        self._session: ServerSession
        self._hub: Hub
        self._slice_end = 0.0
        self.running = 0
        self.current = ""
        self._no_calls = Event()

    def start(self, hub: Hub, port: Port) -> None:
        self._hub, self._port, self._session = hub, port, port.session
        port.blocked_in = self.blocked_in
        if self._threads:
            self._pool = ThreadPool(self._threads, hub)
        port.start(hub, self.dispatch, self.resume)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.kill()

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until no handler runs and no call waits; False after `timeout` seconds."""
        self._no_calls.clear()
        if not self.running and not self._session.ready:
            return True
        return bool(self._no_calls.wait(timeout))

    def is_worker(self, one: greenlet.greenlet) -> bool:
        """Whether a handler runs in this greenlet."""
        return one in self._busy

    def blocked_in(self) -> str:
        return (
            f"{self._methods.name}.{self.current}"
            if self.current
            else f"a greenlet beside {self._methods.name}"
        )

    # In the loop

    def dispatch(self) -> None:
        """Begin what is ready, as far as the pool allows."""
        self._slice_end = monotonic() + FAIR
        ready = self._session.ready
        while ready and self.running < self._limit:
            if monotonic() > self._slice_end:
                self._hub.loop.run_callback(self.dispatch)
                return
            worker = self._idle.pop() if self._idle else greenlet.greenlet(self._work, self._hub)
            worker.switch(_GO)

    def resume(self, call: ServerCall) -> None:
        """A stream has credit again, or nobody wants it any more."""
        waiter = call.waiter
        if waiter is not None:
            call.waiter = None
            waiter.switch()
        elif call.given_up and self._pool is None and call in self._streaming:
            # Its generator waits for something that may never come.
            self._streaming[call].throw(StreamLeft)

    # In a worker

    def _work(self, _: object) -> None:
        ready = self._session.ready
        me = greenlet.getcurrent()
        self._busy.add(me)
        while True:
            while ready and self.running < self._limit and monotonic() < self._slice_end:
                self._next(ready.popleft())
            if ready and self.running < self._limit:
                self._hub.loop.run_callback(self.dispatch)
            if not self.running and not ready:
                self._no_calls.set()
            self._busy.discard(me)
            self._idle.append(me)
            while self._hub.switch() is not _GO:
                pass
            self._busy.add(me)

    def _next(self, call: ServerCall) -> None:
        with self._port.lock:
            if not self._session.begin(call, monotonic()):
                self._port.answer_at_once()
                return
        self.running += 1
        self.current = call.method
        try:
            contextvars.Context().run(self._carry_out, call)
        finally:
            self.running -= 1
            self.current = ""

    def _carry_out(self, call: ServerCall) -> None:
        """Run the handler and send what comes of it. Raises only what must end the process."""
        try:
            function = self._functions.get(call.method)
            if function is None:
                raise self._methods.unknown(call.method)
            kwargs = call.header.get("kwargs")
            if kwargs is None and self._pool is None:
                result = function(*call.args)
            else:
                result = self._run(function, tuple(call.args), _keywords(kwargs))
            if type(result) in _PLAIN and not is_stream(function):
                self._answer(call, result)
            elif is_stream(function) or hasattr(type(result), "__next__"):
                self._stream(call, iter(result))
            else:
                self._answer(call, _not_async(call, result))
        except (Exception, gevent.GreenletExit, SystemExit) as exc:  # noqa: BLE001 - all of it is the caller's
            self._fail(call, exc)

    def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._pool is None:
            return function(*args, **(kwargs or {}))
        return self._pool.apply(function, args, kwargs)

    def _answer(self, call: ServerCall, result: Any) -> None:
        port = self._port
        with port.lock:
            if not call.given_up:
                port.send(call.peer, self._session.answer(call, result))

    def _fail(self, call: ServerCall, exc: BaseException) -> None:
        if call.given_up:
            return
        # The first frame is this file's own.
        inner = exc.__traceback__.tb_next if exc.__traceback__ else None
        trace = "".join(traceback.format_exception(type(exc), exc, inner))
        level = logging.INFO if isinstance(exc, Exception) else logging.WARNING
        log.log(level, "%s.%s raised %s", self._methods.name, call.method[:80], trace.rstrip())
        port = self._port
        with port.lock:
            port.send(call.peer, self._session.failure(call, exc, trace))

    # Streams

    def _stream(self, call: ServerCall, items: Iterator[Any]) -> None:
        self._streaming[call] = greenlet.getcurrent()
        try:
            if self._send_items(call, items):
                with self._port.lock:
                    if not call.given_up:
                        self._port.send(call.peer, self._session.end_stream(call))
        finally:
            del self._streaming[call]
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _send_items(self, call: ServerCall, items: Iterator[Any]) -> bool:
        """Send items as credit allows; False where nobody wants more."""
        port, session = self._port, self._session
        lock = port.lock
        sent = 0
        while True:
            value = self._run(next, (items, _END))
            if not self._has_credit(call):
                return False
            if value is _END:
                return True
            with lock:
                if call.given_up:
                    return False
                port.send(call.peer, session.item(call, value))
            sent += 1
            if sent % YIELD_EVERY == 0:
                gevent.sleep(0)

    def _has_credit(self, call: ServerCall) -> bool:
        """Wait until the caller takes another item; False where it is gone."""
        while call.credit <= 0 or call.given_up:
            with self._port.lock:
                if call.given_up:
                    return False
                if call.credit > 0:
                    return True
                call.waiter = greenlet.getcurrent()
            self._hub.switch()
        return True


def _not_async(call: ServerCall, result: Any) -> Any:
    if hasattr(type(result), "__await__"):
        raise TypeError(f"{call.method} is async, which this server can't carry out")
    return result


def _keywords(kwargs: Any) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise TypeError("the keyword arguments must be a map of names")
    return kwargs
