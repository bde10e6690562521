"""A server's handlers: which there are, how a call becomes their arguments, and what their errors come to.

Whoever drives a loop calls them, and waits for them; what is decided about them is here, for every loop.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection
from contextvars import Context
from time import monotonic
from types import CodeType, FrameType
from typing import Any, Final

from mesh.core.log import Limiter, in_short, raising_code, trace_of
from mesh.core.methods import MethodTable, expected_of, is_stream
from mesh.core.middleware import (
    CallContext,
    Middleware,
    Proceed,
    ServedCall,
    begin_handler,
    chained,
    current_call,
    handler_context,
)
from mesh.core.server_call import ServerCall
from mesh.core.span import span_in
from mesh.errors import LostRemote, MethodNotFound, name_of
from mesh.transport import process
from mesh.transport.server_endpoint import ServerEndpoint

PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})
"""Results that are known to be no stream, and nothing to be awaited, without asking."""

log = logging.getLogger("mesh.server")


class Handlers:
    """expected: exceptions of handlers that are no errors for the log. middleware: what runs around them.
    whom: where a call came from, in words.

    functions: by the names of the methods, with the middleware around them. context: makes the context that a
    call is carried out in, where `begin_handler` tells which one it is. quick: the methods that took no
    longer than QUICK the last time.
    """

    def __init__(
        self,
        methods: MethodTable,
        expected: tuple[type[BaseException], ...],
        middleware: tuple[Middleware, ...],
        whom: Callable[[ServerCall], str],
    ) -> None:
        self.methods = methods
        self.functions = dict(methods.functions)
        self.context: Callable[[], Context] = handler_context(self._described).copy
        self._middleware = middleware
        self._whom = whom
        self.quick: set[str] = set()
        self._expected = expected
        self._limiter = Limiter()
        self.calling: Collection[CodeType] = ()
        """The code of the driver's functions that call a handler; each has its call in a variable `call`."""
        self._files: tuple[str, ...] = (__file__,)
        self._quiet: tuple[type[BaseException], ...] = ()

    def called_by(
        self,
        functions: Collection[Callable[..., Any]],
        quiet: tuple[type[BaseException], ...],
        files: tuple[str, ...] = (),
    ) -> None:
        """functions: those of the driver that call a handler: what is raised in them has not come to it, and
        their file is at the head of no traceback, nor are these others. quiet: what a handler ends with when
        its caller has gone.
        """
        self.calling = {function.__code__ for function in functions}
        self._files = (__file__, *files, *{code.co_filename for code in self.calling})
        self._quiet = quiet

    def surround(self, carry_out: Proceed) -> None:
        """Put the middleware around the handlers. carry_out: calls the handler of a call, as the driver does.

        Not around what every server has, such as pings.
        """
        if not self._middleware:
            return
        proceed = chained(self._middleware, carry_out)

        def surrounded(*args: Any, **kwargs: Any) -> Any:
            call = current_call()
            assert call is not None
            call.args, call.kwargs = args, kwargs
            begin_handler(call)  # what they change of it the handler sees, too
            return proceed(call)

        self.functions.update(dict.fromkeys(self.methods.exposed, surrounded))

    def of(self, call: CallContext) -> Callable[..., Any]:
        """The handler of a call whose method a middleware may have changed. Raises MethodNotFound."""
        function = self.methods.exposed.get(call.method)
        if function is None:
            raise MethodNotFound(self.methods.unknown(call.method))
        return function

    def _described(self, call: ServerCall) -> CallContext:
        return ServedCall(self.methods.name, call, self._whom, monotonic)

    def note_speed(self, method: str) -> None:
        """It was not as quick, or slow, as it is known for."""
        if method in self.quick:
            self.quick.remove(method)
        else:
            self.quick.add(method)

    def running_in(self, frame: FrameType | None) -> str:
        """Which one runs in this frame of the loop's thread, in words; "" for none.

        The driver's functions that call one have its call in a variable of that name.
        """
        while frame is not None:
            if frame.f_code in self.calling and "call" in frame.f_locals:
                return f"{self.methods.name}.{frame.f_locals['call'].method:.80}"
            frame = frame.f_back
        return ""

    def fail(self, endpoint: ServerEndpoint, call: ServerCall, exc: BaseException) -> None:
        """Tell the log and the caller what a handler raised; whatever goes wrong in the telling, the caller
        has its answer. Raises only what must end the process.
        """
        if call.given_up and (issubclass(type(exc), self._quiet) or type(exc) is LostRemote):
            return  # the latter is what calls of a handler end with then
        trace, untold = "", None
        endpoint.session.keep(call, exc)
        try:
            trace = trace_of(exc, *self._files)
            self._log(call, exc, trace)
        except BaseException as why:  # noqa: BLE001 - Ctrl-C, or a handler of the log
            untold = why
            trace += f"(the server could not log this: {name_of(why)})\n"
        endpoint.fail(call, exc, trace)
        if untold is not None and ends_process(untold):
            raise untold

    def _log(self, call: ServerCall, exc: BaseException, trace: str) -> None:
        more = self._limiter.passes((call.method, name_of(exc)), monotonic())
        if more is not None:
            level, short = self._level(call.method, exc), in_short(trace, exc)
            span = span_in(call.header)
            trace_id = f" [TraceID: {span.trace_id}]" if span is not None else ""
            log.log(level, "%s.%s%s raised %s%s", self.methods.name, call.method[:80], trace_id, short, more)

    def _level(self, method: str, exc: BaseException) -> int:
        """ERROR, but INFO for what the program expects, and for the caller's own mistakes.

        Those are nonsense that a built-in method was asked, and arguments that a handler does not take.
        """
        function = self.methods.exposed.get(method)
        if function is None or issubclass(type(exc), (*self._expected, *expected_of(function))):
            return logging.INFO
        misfits = issubclass(type(exc), TypeError) and hasattr(function, "__code__")
        return logging.INFO if misfits and self._not_begun(exc) else logging.ERROR

    def _not_begun(self, exc: BaseException) -> bool:
        """Whether it was raised before the handler's first line."""
        code = raising_code(exc)
        return code is keywords.__code__ or code in self.calling


def goes_on(result: Any, function: Callable[..., Any]) -> bool:
    """Whether a handler has given what takes its time: a coroutine, a future, or a stream."""
    kind = type(result)
    if kind in PLAIN:
        return is_stream(function)
    slow = ("__await__", "__aiter__", "__next__")
    return is_stream(function) or any(hasattr(kind, name) for name in slow)


def keywords(kwargs: Any) -> dict[str, Any]:
    """The keyword arguments of a call. Raises TypeError where they are none."""
    if kwargs is None:
        return {}
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise TypeError("the keyword arguments must be a map of names")
    return kwargs


def ends_process(exc: BaseException) -> bool:
    """Whether it is Ctrl-C."""
    # Of the type: isinstance asks the exception's own __class__, which may raise. Where a signal handler
    # of the program's own takes Ctrl-C, this one is the method's.
    return (
        issubclass(type(exc), KeyboardInterrupt)
        and process.in_main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
