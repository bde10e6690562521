"""`mesh.connect`: a remote service as an object whose attributes are its methods."""

from __future__ import annotations

from time import monotonic
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from greenlet import getcurrent

from mesh.core import misuse
from mesh.core.attempts import Attempts, Step, may_go_on
from mesh.core.call import check_method, remote_name
from mesh.core.client_session import Call
from mesh.core.middleware import CallContext
from mesh.core.span import in_this_context
from mesh.core.wire import Header, UnreadableKey
from mesh.errors import MeshError, ServiceNotFound
from mesh.green import spawned  # noqa: F401 - greenlets of handlers, and of programs that call, inherit
from mesh.green.loop import GeventLoop, in_asyncio, switch_to, wait, wait_for_connection
from mesh.green.stream import Stream, ThreadStream
from mesh.green.threads import loop_thread
from mesh.transport import descriptors, process
from mesh.transport.client_connections import ClientConnections
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_target import ClientTarget, connect_target, with_arguments_of

if TYPE_CHECKING:
    from mesh.green.future import Future


class Method:
    """One remote method: call it, or ask for its answer later with `future`."""

    __slots__ = ("_client", "_name")
    __mesh_unexposed__ = "a method of another service"

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return _call(self._client, self._name, args, kwargs)

    def future(self, /, *args: Any, **kwargs: Any) -> Future:
        """Send the request now and give its answer to come."""
        return _future(self._client, self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<remote method {self._name!r} of {self._client!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise misuse.no_such_attribute(self._name, name)


class Client:
    """A remote service. Its attributes are the remote methods; `client("name", …)` is the same.

    Safe in any number of greenlets and native threads, and after a fork. Use it as a context
    manager, or `close` it.
    """

    __slots__ = ("__weakref__", "_proceed", "_target")
    __mesh_unexposed__ = "a client of another service"

    def __init__(self, target: ClientTarget) -> None:
        self._target = target
        self._proceed = target.chain(_proceed)

    def __getattr__(self, name: str) -> Method:
        return Method(self, remote_name(name))

    def __call__(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the remote method of that name."""
        check_method(method)
        return _call(self, method, args, kwargs)

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retries: int | EllipsisType | None = ...,
        idempotent: bool | EllipsisType = ...,
        key: str | bytes | int | EllipsisType | None = ...,
        version: str | EllipsisType | None = ...,
        zone: str | EllipsisType | None = ...,
        hedge: bool | EllipsisType = ...,
    ) -> Client:
        """A view of this client whose calls are made in another way.

        timeout: seconds or None. retries: further attempts; None for up to two, with servers that were not
        tried yet. idempotent: the calls may be carried out twice, so that a lost one may be tried again. key:
        calls with the same one go to the same worker of a sharded hub, and to the same server where the
        client balances by key; None for none. version, zone: only servers with this label are called; None
        for any. hedge: a call that may be carried out twice, and whose answer is late, goes to another server
        as well. Raises ConfigError.
        """
        return Client(
            self._target.with_options(
                timeout=timeout,
                retries=retries,
                idempotent=idempotent,
                key=key,
                version=version,
                zone=zone,
                hedge=hedge,
            )
        )

    def close(self) -> None:
        """End the open calls with LostRemote and close the connections."""
        self._target.connections.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh client of {self._target.connections.name}>"

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __aenter__ = __aexit__ = misuse.advice(
            "a client of mesh.connect is used with `with`; one for asyncio, with `async with`, comes from "
            "mesh.aio.connect"
        )


@with_arguments_of(connect_target, coroutines=False)
def connect(target: ClientTarget) -> Client:
    """A client of a service. It connects in the background, and again for ever."""
    client = Client(target)
    _endpoint(target.connections)
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
    target = client._target
    if client._proceed is None:
        return _request(target, target.header, method, args, kwargs)
    return client._proceed(target.context(method, args, kwargs))


def _proceed(target: ClientTarget, call: CallContext) -> Any:
    """What comes after the last middleware."""
    return _request(*target.request(call))


def _request(
    target: ClientTarget, header: Header | None, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    connections = target.connections
    endpoint = connections.of(get_hub_if_exists()) or _endpoint(connections)
    if endpoint is None:
        return loop_thread.call(in_this_context(_request_for_thread), target, header, method, args, kwargs)
    if connections.rules is not None:
        ruled = _ruled(target, method)
        if ruled.connections is not connections:
            try:
                return _request(ruled, header, method, args, kwargs)
            except ServiceNotFound as exc:
                if not (exc.refused and ruled.connections.left):
                    raise
                # Nobody has seen it, and calls are split otherwise by now.
                return _request(target, header, method, args, kwargs)
        target = ruled
    first: Call | None = None
    if not (kwargs or target.persistent):
        try:
            first = endpoint.open(method, args, header, target.options.timeout, None, getcurrent())
            wait(endpoint, first)
        except UnreadableKey:
            pass  # whether its server reads it is asked first
    if first is None or (first.error is not None and may_go_on(first.error)):
        call = _persist(endpoint, target.attempts(endpoint, header, method, args, kwargs, first))
    else:
        call = first
    if call.items is None and call.error is None:
        return call.value
    if call.is_stream:
        return Stream(connections, endpoint, call, target.options.timeout)
    assert call.error is not None
    raise call.error


def _ruled(target: ClientTarget, method: str) -> ClientTarget:
    """Where a call goes by the rules of its service, after what befalls it in a test."""
    strike = target.strike(method)
    if strike is None:
        return target.ruled()
    gevent.sleep(strike.pause)
    if strike.error is not None:
        raise strike.error
    return target.ruled(strike.pause)


def _persist(endpoint: ClientEndpoint, attempts: Attempts) -> Call:
    """A call that may take several attempts."""
    step = attempts.begin(monotonic())
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
    except (MeshError, UnreadableKey) as exc:
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


def _future(client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future:
    from mesh.green.future import Future  # later, as it takes a while and few commands need it

    limit = client._target.options.timeout
    # Where a loop of asyncio runs this thread waits in that, and gevent's would not turn.
    if in_asyncio() or _endpoint(client._target.connections) is None:
        return Future.in_loop_thread(limit, in_this_context(_call_for_thread), client, method, args, kwargs)
    future = Future.in_greenlet(limit, in_this_context(_call), client, method, args, kwargs)
    gevent.sleep(0)  # lets it send before the program computes on
    return future
