"""What users of mesh put around the calls of a client or of a server.

A middleware is a function of a call and of what comes after it:

    def timing(call, proceed):
        began = time.monotonic()
        try:
            return proceed(call)
        finally:
            log.info("%s took %.3f s", call.method, time.monotonic() - began)

`proceed` gives the outcome, a value or the iterator of a stream, and may be called again or not at all. With
asyncio a middleware is `async def`, and awaits `proceed`. This module knows no loop: it puts the functions
together, and says what a call looks like to them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, ContextVar
from typing import Any, Final

from mesh.core import wire
from mesh.core.channel import NEVER
from mesh.core.methods import is_async
from mesh.core.server_call import ServerCall
from mesh.core.values import Encode
from mesh.core.wire import Header
from mesh.errors import ConfigError

MAX_HEADERS: Final = 64
"""Keys that `call.headers` may have."""
MAX_HEADER_BYTES: Final = 16 * 1024
"""Bytes, keys and values together, as they travel."""
RESERVED: Final = frozenset(
    {
        "batch",
        "builtin",
        "cancel",
        "deadline",
        "from_process",
        "heartbeat",
        "idempotent",
        "items",
        "key",
        "kwargs",
        "load",
        "mesh",
        "message_id",
        "parent_id",
        "pause",
        "refused",
        "response_to",
        "service",
        "span_id",
        "trace_id",
        "v",
        "zmqid",
    }
)
"""Keys of a header that are zerorpc's and mesh's own; see docs/wire.md."""

Proceed = Callable[["CallContext"], Any]
Middleware = Callable[["CallContext", Proceed], Any]


class CallContext:
    """One call, as middleware and `mesh.current_call()` see it.

    service: the service's name. method, args, kwargs: what is called; what a middleware sets here is what
    comes after it gets. headers: names and values that travel with the request beside its arguments; set at
    the client, read at the server. timeout: seconds that the caller waits for an answer, at a server what is
    left of them as the handler begins; None where there is no limit. deadline: when the caller has waited
    enough, at a server alone, on the clock of time.monotonic; None where it waits for ever. peer: where the
    call came from, at a server alone, in words ("10.0.0.7", "through tcp://hub:2222"), "" where that is not
    known.
    """

    __slots__ = ("args", "deadline", "headers", "kwargs", "method", "peer", "service", "timeout")
    __mesh_unexposed__ = "a call"

    def __init__(
        self,
        service: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        headers: dict[str, Any],
        timeout: float | None,
        deadline: float | None = None,
        peer: str = "",
    ) -> None:
        self.service = service
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.headers = headers
        self.timeout = timeout
        self.deadline = deadline
        self.peer = peer

    def __repr__(self) -> str:
        return f"<call of {self.service}.{self.method:.80}>"


class ServedCall(CallContext):
    """A call at its server. What of it is seldom asked for is found out when it is.

    whom: where the call came from, in words. now: the present time.
    """

    __slots__ = ("_call", "_now", "_whom")

    def __init__(
        self, service: str, call: ServerCall, whom: Callable[[ServerCall], str], now: Callable[[], float]
    ) -> None:
        self.service = service
        self.method = call.method
        self._call = call
        self._whom = whom
        self._now = now

    def __getattr__(self, name: str) -> Any:
        # Asked only for a slot that has no value yet.
        call = self._call
        if name == "args":
            self.args = tuple(call.args)
        elif name == "kwargs":
            kwargs = call.header.get("kwargs")
            self.kwargs = dict(kwargs) if type(kwargs) is dict else {}
        elif name == "headers":
            self.headers = headers_of(call.header)
        elif name == "peer":
            self.peer = self._whom(call).removeprefix("from ")
        elif name in ("timeout", "deadline"):
            self.timeout, self.deadline = remaining(call.deadline, self._now())
        else:
            raise AttributeError(f"a call has no {name!r}")
        return getattr(self, name)


def checked(middleware: Iterable[Middleware] | None, *, coroutines: bool) -> tuple[Middleware, ...]:
    """What a program has given as `middleware`. coroutines: its driver awaits them.

    Raises ConfigError that says what is wrong.
    """
    if middleware is None:
        return ()
    if callable(middleware) or isinstance(middleware, (str, bytes, Mapping)):
        raise ConfigError(
            f"middleware is {middleware!r:.80}: give a list of functions of (call, proceed), [] for none"
        )
    try:
        functions = tuple(middleware)
    except TypeError:
        raise ConfigError(f"middleware is {middleware!r:.80}: give a list of functions") from None
    for one in functions:
        if problem := _problem(one, coroutines):
            raise ConfigError(f"middleware has {one!r:.80} in it, which {problem}")
    return functions


def _problem(one: Any, coroutines: bool) -> str:
    """What keeps it from being a middleware of its driver; "" where nothing does that can be told."""
    if not callable(one) or inspect.isclass(one):
        return "is no function of (call, proceed)"
    try:
        inspect.signature(one).bind(None, None)
    except TypeError:
        return "can't be called with (call, proceed)"
    except ValueError:
        pass  # Python knows no signature of it
    if is_async(one) and not coroutines:
        return "is `async def`: mesh.connect and mesh.Server take plain functions, mesh.aio takes coroutines"
    called = one if inspect.isroutine(one) else type(one).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return "has `yield`: return an iterator that wraps what `proceed` gives"
    if coroutines and not is_async(one):
        return "is no `async def`: with mesh.aio a middleware is one, and awaits proceed(call)"
    return ""


def chained(middleware: Iterable[Middleware], last: Proceed) -> Proceed:
    """One function of a call that goes through all of them, the first outermost, to `last`."""
    for one in reversed(tuple(middleware)):
        last = _around(one, last)
    return last


def _around(one: Middleware, proceed: Proceed) -> Proceed:
    return lambda call: one(call, proceed)


def request_headers(headers: Any, encode: Encode | None = None) -> Header:
    """What a middleware has put into `call.headers` of a client, to go into a request's header.

    encode: the client's, for values that can't travel. Raises TypeError for what is no dict of str, and for a
    value that can't travel; ValueError for a name that is mesh's own, and beyond MAX_HEADERS and
    MAX_HEADER_BYTES.
    """
    if type(headers) is not dict:
        raise TypeError(f"call.headers must be a dict, not {type(headers).__name__}")
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"call.headers has {len(headers)} keys; {MAX_HEADERS} may travel with a call")
    for name in headers:
        if type(name) is not str:
            raise TypeError(f"call.headers has the key {name!r:.80}; the names of headers are str")
        if name in RESERVED:
            raise ValueError(f"call.headers has {name!r}, which is mesh's own: take another name")
    size = _packed_size(headers, encode)
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"call.headers takes {size} bytes; {MAX_HEADER_BYTES} may travel with a call")
    return headers


def _packed_size(headers: Header, encode: Encode | None) -> int:
    pack, plain = wire.packer(encode)
    try:
        packed = pack(headers)
        if plain.arrays:
            wire.check_keys(plain, headers)
    except Exception as exc:  # noqa: BLE001 - a value of the program's own may raise anything
        place = "call.headers"
        raise wire.cannot_travel(headers, place, plain) or wire.not_packed(place, exc) from None
    return len(packed)


def headers_of(header: Header) -> dict[str, Any]:
    """What a request's header has besides what is zerorpc's and mesh's own."""
    return {name: value for name, value in header.items() if type(name) is str and name not in RESERVED}


def remaining(deadline: float, now: float) -> tuple[float | None, float | None]:
    """A server's `timeout` and `deadline` of a call whose caller waits until `deadline`, NEVER for ever."""
    return (None, None) if deadline == NEVER else (max(deadline - now, 0.0), deadline)


_current: ContextVar[Any] = ContextVar("mesh_current_call", default=None)
_describe: ContextVar[Callable[[Any], CallContext]] = ContextVar("mesh_describe_call")
begin_handler: Final = _current.set
"""Say, in the context of a handler, which call it carries out: whatever `describe` understands, or what that
has given."""


def handler_context(describe: Callable[[Any], CallContext]) -> Context:
    """A context whose copies the handlers of one server run in. describe: tells of a call that one carries
    out; it is asked only where somebody wants to know.
    """
    context = Context()
    context.run(_describe.set, describe)
    return context


def carried_out() -> ServerCall | None:
    """The same as its server has it."""
    call = _current.get()
    return call if call is None or type(call) is ServerCall else getattr(call, "_call", None)


def carried_out_in(context: Context) -> ServerCall | None:
    """The same of a handler that runs in that context, perhaps in another thread."""
    call = context.get(_current)
    return call if call is None or type(call) is ServerCall else getattr(call, "_call", None)


def current_call() -> CallContext | None:
    """The call that the running handler carries out; None outside of handlers.

    It has service, method, args, kwargs, headers, timeout, deadline and peer; see CallContext.
    """
    call = _current.get()
    return call if call is None or isinstance(call, CallContext) else _describe.get()(call)
