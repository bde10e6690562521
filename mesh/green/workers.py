"""The greenlets that carry out a server's calls: reused, and only as many as calls that wait.

A worker takes one call after the other; only when a handler gives way does the loop begin the
next call in another worker.
"""

from __future__ import annotations

import contextvars
import logging
import signal
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final

import gevent
import greenlet
from gevent.event import Event
from gevent.hub import Hub

from mesh.core.log import Limiter, in_short, raised_in, trace_of
from mesh.core.methods import MethodTable, expected_of, is_stream
from mesh.core.server_session import ServerCall, ServerSession
from mesh.errors import name_of
from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop
from mesh.green.thread_pool import Outcome, ThreadPool
from mesh.transport import process
from mesh.transport.pump import FAIR
from mesh.transport.server_endpoint import ServerEndpoint

LOOK_EVERY: Final = 8
"""Items after which a stream looks whether its turn is over, and others are to run."""
MAX_RUNNING: Final = 10_000
"""Handlers at once where the server has no pool size."""
CAPACITY: Final = 1_000
"""Calls at once that a hub may give where there is no limit."""
CROWDED: Final = 0.01
"""Seconds between two looks whether a hub has read what streams have sent."""
QUICK: Final = 0.0005
"""Seconds that a method takes whose answers wait for those of the next."""
TELL_ROOM: Final = 0.1
"""Seconds until hubs are told of the places that streams have left, or taken again."""
MAX_IDLE: Final = 256
"""Greenlets that are kept for the next calls."""
_END: Final = object()
_GO: Final = object()
Run = Callable[..., Any]
"""Calls a function with arguments, here or in a native thread."""
_QUIET: Final = (gevent.GreenletExit, GeneratorExit, gevent.Timeout)
"""What a handler ends with when its caller has gone."""
_CALLING: Final = ("_carry_out", "_here", "_outcome", "_keywords")
"""The functions of this file that call a handler: what is raised in them has not come to it."""
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""What is known to be no stream without asking."""

log = logging.getLogger("mesh.server")


class StreamLeft(gevent.GreenletExit, GeneratorExit):
    """Raised in a generator that waits for something while its caller has gone."""


class Workers:
    """Carries out the calls of one server endpoint.

    pool_size: handlers at once, or None for MAX_RUNNING. threads: native threads in which the
    handlers run, 0 for greenlets; a stream that waits for credit is in none. expected: exceptions of
    handlers that are no errors for the log.
    """

    def __init__(
        self,
        methods: MethodTable,
        pool_size: int | None,
        threads: int,
        expected: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._methods = methods
        self._functions = methods.functions
        self._expected = expected
        self._most = pool_size or MAX_RUNNING
        self._limit = self._offered = min(self._most, threads or MAX_RUNNING)
        self._lent = 0
        self._threads = threads
        self._teller: Any = None
        self._told_room = self._limit
        self._leaving = False
        self._pool: ThreadPool | None = None
        self._idle: list[greenlet.greenlet] = []
        self._streaming: dict[ServerCall, greenlet.greenlet] = {}
        self._endpoint: ServerEndpoint
        self._session: ServerSession
        self._hub: Hub
        self._quick: set[str] = set()
        self._slice_end = 0.0
        self._closed = False
        self._limiter = Limiter()
        self.running = 0
        self._no_calls = Event()

    @property
    def capacity(self) -> int:
        """Calls at once that a hub may give."""
        return min(self._limit, CAPACITY) if not self._leaving else 0

    def start(self, hub: Hub, endpoint: ServerEndpoint) -> None:
        self._hub, self._endpoint, self._session = hub, endpoint, endpoint.session
        self._generation = process.generation()
        self._in_main = process.in_main_thread()
        endpoint.blocked_in = self.blocked_in
        endpoint.session.load = lambda: (self.running, self._limit)
        endpoint.session.methods, endpoint.session.unknown = self._functions, self._methods.unknown
        if self._threads:
            self._pool = ThreadPool(self._threads, hub)
            # One that repeats: a timer that has ended and is started again is due at once.
            self._teller = hub.loop.timer(TELL_ROOM, TELL_ROOM)
        endpoint.start(GeventLoop(hub), self.dispatch, self.resume)

    def close(self) -> None:
        """Let go of the greenlets and threads; from the loop's own thread."""
        self._closed = True
        for worker in self._idle:
            # A greenlet that waits for ever is never collected, nor is what it refers to.
            self._hub.loop.run_callback(worker.switch, _END)
        self._idle.clear()
        if self._pool is not None:
            self._teller.stop()
            self._teller.close()
            self._pool.close()

    def leave(self) -> None:
        """Tell the hubs that they are to give no more."""
        self._leaving = True
        self._endpoint.offer(self.capacity)

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until no handler runs and no call waits; False after `timeout` seconds."""
        self._no_calls.clear()
        if not self.running and not self._session.ready:
            return True
        return bool(self._no_calls.wait(timeout))

    def blocked_in(self, frame: FrameType | None) -> str:
        """Whose handler runs in this frame of the loop's thread."""
        while frame is not None:
            if frame.f_code is Workers._carry_out.__code__:
                return f"{self._methods.name}.{frame.f_locals['call'].method:.80}"
            frame = frame.f_back
        return f"a greenlet beside {self._methods.name}"

    # In the loop

    def dispatch(self) -> None:
        """Begin what is ready, as far as the pool allows."""
        self._slice_end = monotonic() + FAIR
        ready = self._session.ready
        while ready and self.running < self._limit:
            if monotonic() > self._slice_end:
                self._endpoint.go_on_later()
                return
            worker = self._idle.pop() if self._idle else greenlet.greenlet(self._work, self._hub)
            worker.switch(_GO)

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

    # In a worker

    def _work(self, _: object) -> None:
        ready = self._session.ready
        me = greenlet.getcurrent()
        call: ServerCall | None
        while True:
            now = monotonic()
            while ready and self.running < self._limit and now < self._slice_end:
                call, began = ready.popleft(), now
                self._next(call, now)
                now = monotonic()
                if (now - began < QUICK) is not (call.method in self._quick):
                    self._note_speed(call.method)
                if me.__dict__:
                    break
            if ready and self.running < self._limit:
                self._endpoint.go_on_later()
            if not self.running and not ready:
                self._no_calls.set()
            # A handler's greenlet-local values must not be seen by the next call.
            if me.__dict__ or self._closed or len(self._idle) >= MAX_IDLE:
                return
            self._idle.append(me)
            call = None  # one that is idle must not keep what it was last called with
            while (order := self._hub.switch()) is not _GO:
                if order is _END:
                    return

    def _note_speed(self, method: str) -> None:
        if method in self._quick:
            self._quick.remove(method)
        else:
            self._quick.add(method)

    def _next(self, call: ServerCall, now: float) -> None:
        endpoint = self._endpoint
        if endpoint.cork.on and call.method not in self._quick:
            # No answer waits for a handler that may take its time.
            endpoint.send_held()
        if not endpoint.begin(call, now):
            return
        self.running += 1
        try:
            contextvars.Context().run(self._carry_out, call)
        finally:
            self.running -= 1
            if call.given_up:
                endpoint.ended(call)
        if call.given_up and process.generation() != self._generation:
            handler_ended(None, self._in_main)

    def _carry_out(self, call: ServerCall) -> None:
        """Run the handler and send what comes of it. Raises only what must end the process."""
        function = self._functions[call.method]  # the session gives no others
        run = _here if self._pool is None else partial(self._in_thread, contextvars.Context())
        try:
            kwargs = call.header.get("kwargs")
            if kwargs is None and run is _here:
                result = function(*call.args)
            else:
                result = run(function, *call.args, **_keywords(kwargs))
            if type(result) in _PLAIN and not is_stream(function):
                self._endpoint.answer(call, result)
            elif is_stream(function) or hasattr(type(result), "__next__"):
                self._stream(call, iter(result), run)
            else:
                self._endpoint.answer(call, _not_async(call, result))
        except BaseException as exc:  # gevent.Timeout and asyncio.CancelledError are no Exceptions
            if process.generation() != self._generation:
                handler_ended(exc, self._in_main)
                return
            self._fail(call, exc)
            if _ends_process(exc):
                raise

    def _in_thread(
        self, context: contextvars.Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """As function(*args, **kwargs), in a native thread of the pool."""
        assert self._pool is not None
        value, error = self._pool.apply(partial(_outcome, context, partial(function, *args, **kwargs)))
        if error is not None:
            raise error
        return value

    def _fail(self, call: ServerCall, exc: BaseException) -> None:
        """Tell the log and the caller; whatever goes wrong in the telling, the caller has its answer."""
        if call.given_up and issubclass(type(exc), _QUIET):
            return
        trace, untold = "", None
        try:
            trace = trace_of(exc, __file__)
            self._log(call, exc, trace)
        except BaseException as why:  # noqa: BLE001 - Ctrl-C, or a handler of the log
            untold = why
            trace += f"(the server could not log this: {name_of(why)})\n"
        self._endpoint.fail(call, exc, trace)
        if untold is not None and _ends_process(untold):
            raise untold

    def _log(self, call: ServerCall, exc: BaseException, trace: str) -> None:
        more = self._limiter.passes((call.method, name_of(exc)), monotonic())
        if more is not None:
            short = in_short(trace, exc)
            log.log(
                self._level(call.method, exc),
                "%s.%s raised %s%s",
                self._methods.name,
                call.method[:80],
                short,
                more,
            )

    def _level(self, method: str, exc: BaseException) -> int:
        """ERROR, but INFO for what the program expects, and for the caller's own mistakes.

        Those are nonsense that a built-in method was asked, and arguments that a handler does not take.
        """
        function = self._methods.exposed.get(method)
        if function is None or issubclass(type(exc), (*self._expected, *expected_of(function))):
            return logging.INFO
        misfits = issubclass(type(exc), TypeError) and hasattr(function, "__code__")
        return logging.INFO if misfits and raised_in(exc, __file__) in _CALLING else logging.ERROR

    # Streams

    def _stream(self, call: ServerCall, items: Iterator[Any], run: Run) -> None:
        self._streaming[call] = greenlet.getcurrent()
        try:
            if not call.given_up and self._send_items(call, items, run):
                self._endpoint.end_stream(call)
        finally:
            del self._streaming[call]
            close = getattr(items, "close", None)
            if close is not None:
                run(close)

    def _send_items(self, call: ServerCall, items: Iterator[Any], run: Run) -> bool:
        """Send items as credit allows; False where nobody wants more."""
        endpoint = self._endpoint
        sent, turn_end = 0, monotonic() + FAIR
        while True:
            began = monotonic()
            value = run(next, items, _END)
            if not self._has_credit(call):
                return False
            if value is _END:
                return True
            if not endpoint.item(call, value):
                return False
            if endpoint.cork.on and not (sent and monotonic() - began < QUICK):
                # The next item may take as long as this one.
                endpoint.send_held()
            sent += 1
            while endpoint.crowded(call) and not call.given_up:
                gevent.sleep(CROWDED)
            if sent % LOOK_EVERY == 0 and monotonic() > turn_end:
                gevent.sleep(0)
                turn_end = monotonic() + FAIR

    def _has_credit(self, call: ServerCall) -> bool:
        """Wait until the caller takes another item; False where it is gone."""
        while call.credit <= 0 and not call.given_up:
            if self._endpoint.waits(call, greenlet.getcurrent()):
                self._lend(1)
                self._hub.switch()
                self._lend(-1)
        return not call.given_up

    def _lend(self, number: int) -> None:
        """Give a stream's place to others while it is in no native thread, or take it back."""
        if self._pool is None:
            return
        self._lent += number
        self._limit = min(self._most, self._offered + self._lent)
        if self._endpoint.hubs and not self._teller.active:
            self._teller.start(self._tell_room)
        if self._session.ready and self.running < self._limit:
            self._endpoint.go_on_later()

    def _tell_room(self) -> None:
        """The hubs give their calls by it; not at once, for a stream that is read waits again and again."""
        if self._limit == self._told_room or self._endpoint.closed:
            self._teller.stop()
            return
        self._told_room = self._limit
        self._endpoint.offer(self.capacity)


def _ends_process(exc: BaseException) -> bool:
    """Whether it is Ctrl-C."""
    # Of the type: isinstance asks the exception's own __class__, which may raise. Where a signal handler
    # of the program's own takes Ctrl-C, this one is the method's.
    return (
        issubclass(type(exc), KeyboardInterrupt)
        and process.in_main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def _here(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _outcome(context: contextvars.Context, function: Callable[[], Any]) -> Outcome:
    try:
        return context.run(function), None
    except BaseException as exc:  # noqa: BLE001 - it belongs to the greenlet that waits
        return None, exc


def _not_async(call: ServerCall, result: Any) -> Any:
    if hasattr(type(result), "__await__"):
        if hasattr(result, "close"):
            result.close()  # else Python warns that it was never awaited
        raise TypeError(f"{call.method} is async, which this server can't carry out")
    return result


def _keywords(kwargs: Any) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise TypeError("the keyword arguments must be a map of names")
    return kwargs
