"""`mesh.aio.connect`: a remote service as an object whose attributes are its methods, for asyncio."""

from __future__ import annotations

import random
from asyncio import AbstractEventLoop, get_running_loop, sleep
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from dataclasses import replace
from functools import partial
from inspect import iscoroutine
from time import monotonic
from types import EllipsisType
from typing import Any

from mesh.aio.loop import AsyncioLoop
from mesh.aio.stream import Stream, wait
from mesh.core.attempts import Attempts, Step
from mesh.core.call import Options
from mesh.core.client_session import DEFAULT_HEARTBEAT, GO_ELSEWHERE, Call, Waiting
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.middleware import CallContext, Middleware, chained, checked, request_headers
from mesh.core.values import Encode
from mesh.core.wire import MAX_MESSAGE, Header
from mesh.errors import MeshError
from mesh.names.model import Service
from mesh.names.resolver import Target
from mesh.transport.client_connections import ClientConnections
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_target import DEFAULT_TIMEOUT, reach


class RemoteCall(Coroutine[Any, Any, Any]):
    """A call that is still to be made: await it, make a task of it, or go through it by `async for`; once.

    The request goes out with the first step, as that of any coroutine.
    """

    __slots__ = ("_coroutine", "_method")
    __mesh_unexposed__ = "a call of another service"

    def __init__(self, client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._method = method
        if client._proceed is None:
            connections = client._connections
            coroutine = _request(connections, client._options, connections.header, method, args, kwargs)
        else:
            coroutine = _through_middleware(client, method, args, kwargs)
        self._coroutine: Coroutine[Any, Any, Any] = coroutine
        # What Python says of one that is never awaited, which is easily forgotten, names it so.
        coroutine.__qualname__ = method  # type: ignore[attr-defined]

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return Stream.of(self._coroutine, self._method)

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        return self._coroutine.throw(*args)

    def close(self) -> None:
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<call of {self._method!r:.80}, to be awaited>"


class Method:
    """One remote method: `await` its call, or iterate over it with `async for`."""

    __slots__ = ("_client", "_name")
    __mesh_unexposed__ = "a method of another service"

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> RemoteCall:
        return RemoteCall(self._client, self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<remote method {self._name!r} of {self._client!r}>"


class Client:
    """A remote service. Its attributes are the remote methods; `client("name", …)` is the same.

    Safe in any number of tasks, in several event loops, one after the other or each in its thread, and after
    a fork: each loop has connections of its own. Use it with `async with`, or `close` it.
    """

    __slots__ = ("__weakref__", "_connections", "_middleware", "_options", "_proceed", "_service")
    __mesh_unexposed__ = "a client of another service"

    def __init__(
        self,
        service: Service,
        connections: ClientConnections,
        options: Options,
        middleware: tuple[Middleware, ...] = (),
    ) -> None:
        self._service = service
        self._connections = connections
        self._options = options
        self._middleware = middleware
        # None where there is no middleware, for which nothing is to be paid then.
        self._proceed = chained(middleware, partial(_proceed, connections, options)) if middleware else None

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_") and not name.startswith("_zerorpc_"):
            raise AttributeError(f"names that begin with _ are never remote methods: {name!r}")
        return Method(self, name)

    def __call__(self, method: str, /, *args: Any, **kwargs: Any) -> RemoteCall:
        """Call the remote method of that name."""
        if not isinstance(method, str):
            raise TypeError(f"the name of a method must be str, not {type(method).__name__}")
        return RemoteCall(self, method, args, kwargs)

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retries: int | EllipsisType = ...,
        idempotent: bool | EllipsisType = ...,
        key: str | bytes | int | EllipsisType | None = ...,
    ) -> Client:
        """A view of this client whose calls have another timeout, retries, idempotent or key.

        timeout: seconds or None. retries: further attempts. idempotent: the calls may be
        carried out twice, so that a lost one may be tried again. key: a sharded hub gives all calls
        with the same one to the same worker; None for none. Raises ConfigError.
        """
        given = {"timeout": timeout, "retries": retries, "idempotent": idempotent, "key": key}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not ...}
        return Client(self._service, self._connections, replace(self._options, **changes), self._middleware)

    def close(self) -> None:
        """End the open calls with LostRemote and close the connections. There is nothing to await."""
        self._connections.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Client:
        raise TypeError("a client of mesh.aio is used with `async with`; that of mesh.connect with `with`")

    def __exit__(self, *_: object) -> None:
        """Only for `__enter__` to be found."""

    def __repr__(self) -> str:
        return f"<mesh.aio client of {self._service.name}>"


def connect(
    target: Target,
    *,
    timeout: float | None = DEFAULT_TIMEOUT,
    heartbeat: float | None = DEFAULT_HEARTBEAT,
    services: str | None = None,
    max_message: int = MAX_MESSAGE,
    max_elements: int = MAX_ELEMENTS,
    encode: Encode | None = None,
    middleware: Iterable[Middleware] = (),
) -> Client:
    """A client of a service, for asyncio.

    target: a name from the registry, an endpoint, or a list of endpoints. timeout: seconds that
    a call waits at most, None for no limit; a service's own in the registry goes before the
    default. heartbeat: seconds between heartbeats, the same as the server's where that is an
    old zerorpc; None for none. services: the registry file. max_message: bytes of one message.
    max_elements: values in one answer, each item, key and value counted; what holds more is not decoded.
    encode: gives what is to travel in place of an argument, or a part of one, that can't.
    middleware: functions of (call, proceed) that run around each call, the first outermost; `async def`, to
    await what `proceed` gives. See docs/middleware.md.

    Connects in the background, and again for ever: from now on in the loop that runs, if one does, else from
    the first call on. Raises ServiceNotFound and ConfigError.
    """
    service, connections, options = reach(
        target, timeout, heartbeat, services, max_message, max_elements, encode, wakes_later=True
    )
    client = Client(service, connections, options, checked(middleware, coroutines=True))
    try:
        loop = get_running_loop()
    except RuntimeError:
        return client
    _begin(connections, loop)
    return client


def _begin(connections: ClientConnections, loop: AbstractEventLoop) -> ClientEndpoint:
    return connections.begin(loop, AsyncioLoop(), _resolve)


def _resolve(endpoint: ClientEndpoint, woken: list[Call | Waiting]) -> None:
    """Have the tasks go on that wait."""
    for call in woken:
        future = call.waiter
        if future is not None:
            call.waiter = None
            if not future.done():
                future.set_result(None)


async def _through_middleware(
    client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    assert client._proceed is not None
    call = CallContext(client._service.name, method, args, kwargs, {}, client._options.timeout)
    result = await client._proceed(call)
    if iscoroutine(result):
        result.close()
        raise TypeError(
            f"a middleware has given {result!r:.80} as the outcome of {method!r:.80}: it is to "
            "`return await proceed(call)`"
        )
    return result


async def _proceed(connections: ClientConnections, options: Options, call: CallContext) -> Any:
    """What comes after the last middleware."""
    if call.timeout != options.timeout:
        options = replace(options, timeout=call.timeout)
    header = connections.header
    if call.headers:
        header = {**(header or {}), **request_headers(call.headers, connections.encode)}
    return await _request(connections, options, header, call.method, tuple(call.args), call.kwargs)


async def _request(
    connections: ClientConnections,
    options: Options,
    header: Header | None,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    try:
        loop = get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{method!r:.80} was called where no event loop of asyncio runs: await it in a coroutine that "
            "asyncio.run runs, or use mesh.connect, which needs none"
        ) from None
    endpoint = connections.of(loop) or _begin(connections, loop)
    if kwargs or options.retries or options.idempotent or options.key is not None:
        call = await _persist(endpoint, options, header, method, args, kwargs)
    else:
        future = loop.create_future()
        call = endpoint.open(method, args, header, options.timeout, None, future)
        try:
            await future
        except GeneratorExit:  # from wherever it is collected
            endpoint.drop(call)
            raise
        except BaseException:
            endpoint.give_up(call)
            raise
        if call.error is not None and isinstance(call.error, GO_ELSEWHERE) and call.error.refused:
            call = await _persist(endpoint, options, header, method, args, kwargs, call)
    if call.items is not None and (call.error is None or call.items):
        return Stream(connections, endpoint, call, options.timeout)
    if call.error is not None:
        raise call.error
    return call.value


async def _persist(
    endpoint: ClientEndpoint,
    options: Options,
    header: Header | None,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    first: Call | None = None,
) -> Call:
    """A call that may take several attempts. first: the first of them, where it was made."""
    now = monotonic() if first is None else first.opened
    attempts = Attempts(endpoint.session, options, header, method, args, kwargs, random.random, now)
    step = attempts.begin(now)
    if first is not None:
        step = attempts.answered(first, monotonic())
    while step is not Step.DONE:
        if step is Step.REQUEST:
            step = await _attempt(endpoint, attempts)
        elif step is Step.RENEW:
            step = attempts.renewed(endpoint.renew(), monotonic())
        elif step is Step.CONNECTION:
            await _wait_for_connection(endpoint, attempts.until)
            step = attempts.waited(monotonic())
        else:
            await sleep(max(attempts.until - monotonic(), 0.0))
            step = attempts.waited(attempts.until)
    return attempts.outcome()


async def _attempt(endpoint: ClientEndpoint, attempts: Attempts) -> Step:
    future = get_running_loop().create_future()
    try:
        call = endpoint.open(*attempts.request, future)
    except MeshError as exc:
        return attempts.failed(exc, monotonic())
    await wait(endpoint, call, future)
    return attempts.answered(call, monotonic())


async def _wait_for_connection(endpoint: ClientEndpoint, until: float) -> None:
    """Until another connection stands, or it is `until`."""
    future = get_running_loop().create_future()
    waiting = endpoint.await_connection(future, until)
    try:
        await future
    finally:
        waiting.waiter = None
