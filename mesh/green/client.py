"""`mesh.connect`: a remote service as an object whose attributes are its methods."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from time import monotonic
from types import EllipsisType
from typing import Any

import gevent
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from greenlet import getcurrent

from mesh.core.attempts import Attempts, Step
from mesh.core.call import Options
from mesh.core.client_session import DEFAULT_HEARTBEAT, GO_ELSEWHERE, Call
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.middleware import CallContext, Middleware, chained, checked, request_headers
from mesh.core.values import Encode
from mesh.core.wire import MAX_MESSAGE, Header
from mesh.errors import MeshError
from mesh.green.future import Future, ThreadFuture, outcome_of
from mesh.green.loop import GeventLoop, switch_to, wait, wait_for_connection
from mesh.green.stream import Stream, ThreadStream
from mesh.green.threads import loop_thread
from mesh.names.model import Service
from mesh.names.resolver import Target
from mesh.transport import descriptors, process
from mesh.transport.client_connections import ClientConnections
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_target import DEFAULT_TIMEOUT, reach


class Method:
    """One remote method: call it, or ask for its answer later with `future`."""

    __slots__ = ("_client", "_name")
    __mesh_unexposed__ = "a method of another service"

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return _call(self._client, self._name, args, kwargs)

    def future(self, /, *args: Any, **kwargs: Any) -> Future | ThreadFuture:
        """Send the request now and give its answer to come."""
        return _future(self._client, self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<remote method {self._name!r} of {self._client!r}>"


class Client:
    """A remote service. Its attributes are the remote methods; `client("name", …)` is the same.

    Safe in any number of greenlets and native threads, and after a fork. Use it as a context
    manager, or `close` it.
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

    def __call__(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the remote method of that name."""
        if not isinstance(method, str):
            raise TypeError(f"the name of a method must be str, not {type(method).__name__}")
        return _call(self, method, args, kwargs)

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
        """End the open calls with LostRemote and close the connections."""
        self._connections.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh client of {self._service.name}>"


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
    """A client of a service.

    target: a name from the registry, an endpoint, or a list of endpoints. timeout: seconds that
    a call waits at most, None for no limit; a service's own in the registry goes before the
    default. heartbeat: seconds between heartbeats, the same as the server's where that is an
    old zerorpc; None for none. services: the registry file. max_message: bytes of one message.
    max_elements: values in one answer, each item, key and value counted; what holds more is not decoded.
    encode: gives what is to travel in place of an argument, or a part of one, that can't.
    middleware: functions of (call, proceed) that run around each call, the first outermost; see
    docs/middleware.md.

    Connects in the background, and again for ever. Raises ServiceNotFound and ConfigError.
    """
    service, connections, options = reach(
        target, timeout, heartbeat, services, max_message, max_elements, encode
    )
    client = Client(service, connections, options, checked(middleware, coroutines=False))
    _endpoint(connections)
    return client


def _endpoint(connections: ClientConnections) -> ClientEndpoint | None:
    """That of the current loop, of which there may be none yet; None in a native thread that has no loop."""
    hub = get_hub_if_exists()
    if hub is None:
        if not process.in_main_thread():
            return None
        descriptors.require(descriptors.LOOP)
        hub = get_hub()
        # Ctrl-C is no error to print: the main greenlet gets it, as in every program.
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    return connections.of(hub) or connections.begin(hub, GeventLoop(hub), switch_to)


def _call(client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options, connections = client._options, client._connections
    if client._proceed is None:
        return _request(connections, options, connections.header, method, args, kwargs)
    return client._proceed(CallContext(client._service.name, method, args, kwargs, {}, options.timeout))


def _proceed(connections: ClientConnections, options: Options, call: CallContext) -> Any:
    """What comes after the last middleware."""
    if call.timeout != options.timeout:
        options = replace(options, timeout=call.timeout)
    header = connections.header
    if call.headers:
        header = {**(header or {}), **request_headers(call.headers, connections.encode)}
    return _request(connections, options, header, call.method, tuple(call.args), call.kwargs)


def _request(
    connections: ClientConnections,
    options: Options,
    header: Header | None,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    endpoint = connections.of(get_hub_if_exists()) or _endpoint(connections)
    if endpoint is None:
        return loop_thread.call(_request_for_thread, connections, options, header, method, args, kwargs)
    if kwargs or options.retries or options.idempotent or options.key is not None:
        call = _persist(endpoint, options, header, method, args, kwargs)
    else:
        call = endpoint.open(method, args, header, options.timeout, None, getcurrent())
        wait(endpoint, call)
        if call.error is not None and isinstance(call.error, GO_ELSEWHERE) and call.error.refused:
            call = _persist(endpoint, options, header, method, args, kwargs, call)
    if call.items is not None and (call.error is None or call.items):
        return Stream(connections, endpoint, call, options.timeout)
    if call.error is not None:
        raise call.error
    return call.value


def _persist(
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
            step = _attempt(endpoint, attempts)
        elif step is Step.RENEW:
            step = attempts.renewed(endpoint.renew(), monotonic())
        elif step is Step.CONNECTION:
            wait_for_connection(endpoint, attempts.until)
            step = attempts.waited(monotonic())
        else:
            gevent.sleep(max(attempts.until - monotonic(), 0.0))
            step = attempts.waited(attempts.until)
    return attempts.outcome()


def _attempt(endpoint: ClientEndpoint, attempts: Attempts) -> Step:
    try:
        call = endpoint.open(*attempts.request, getcurrent())
        wait(endpoint, call)
    except MeshError as exc:
        return attempts.failed(exc, monotonic())
    return attempts.answered(call, monotonic())


def _request_for_thread(*request: Any) -> Any:
    """The request of a thread without a loop; this runs in the loop thread."""
    return _for_thread(_request(*request))


def _call_for_thread(client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same, with the client's middleware."""
    return _for_thread(_call(client, method, args, kwargs))


def _for_thread(result: Any) -> Any:
    return ThreadStream(result) if type(result) is Stream else result


def _future(
    client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future | ThreadFuture:
    if _endpoint(client._connections) is None:
        return ThreadFuture(loop_thread.submit(_call_for_thread, client, method, args, kwargs))
    greenlet = gevent.spawn(outcome_of, _call, client, method, args, kwargs)
    gevent.sleep(0)  # lets it send before the program computes on
    return Future(greenlet, client._options.timeout)
