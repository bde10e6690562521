"""`mesh.aio.connect`: a remote service as an object whose attributes are its methods, for asyncio."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop, sleep
from inspect import iscoroutine
from time import monotonic
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from mesh.aio.loop import AsyncioLoop
from mesh.aio.remote_call import RemoteCall
from mesh.aio.stream import Stream, wait
from mesh.aio.waiter import Waiter, wake
from mesh.core import misuse
from mesh.core.attempts import Attempts, Step, may_go_on
from mesh.core.call import check_method, remote_name
from mesh.core.client_session import Call, Waiting
from mesh.core.middleware import CallContext
from mesh.core.wire import Header, UnreadableKey
from mesh.errors import MeshError, ServiceNotFound
from mesh.transport.client_connections import ClientConnections
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_target import ClientTarget, connect_target, with_arguments_of


class Method:
    """One remote method: `await` its call, or iterate over it with `async for`."""

    __slots__ = ("_client", "_name")
    __mesh_unexposed__ = "a method of another service"

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> RemoteCall:
        client, method = self._client, self._name
        target = client._target
        if client._proceed is None:
            return RemoteCall(_request(target, target.header, method, args, kwargs), method)
        return RemoteCall(_through_middleware(client, method, args, kwargs), method)

    def __repr__(self) -> str:
        return f"<remote method {self._name!r} of {self._client!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "future":
                raise AttributeError(
                    "a client of mesh.aio has no futures of its own: make a task of the call, by "
                    f"asyncio.create_task(client.{self._name:.80}(…)) or asyncio.ensure_future"
                )
            raise misuse.no_such_attribute(self._name, name)


class Client:
    """A remote service. Its attributes are the remote methods; `client("name", …)` is the same.

    Safe in any number of tasks, in several event loops, one after the other or each in its thread, and after
    a fork: each loop has connections of its own. Use it with `async with`, or `close` it.
    """

    __slots__ = ("__weakref__", "_proceed", "_target")
    __mesh_unexposed__ = "a client of another service"

    def __init__(self, target: ClientTarget) -> None:
        self._target = target
        self._proceed = target.chain(_proceed)

    def __getattr__(self, name: str) -> Method:
        return Method(self, remote_name(name))

    def __call__(self, method: str, /, *args: Any, **kwargs: Any) -> RemoteCall:
        """Call the remote method of that name."""
        check_method(method)
        return Method(self, method)(*args, **kwargs)

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
        """A view of this client whose calls have another timeout, retries, idempotent, key, version, zone or
        hedge.

        As `with_options` of the client of mesh.connect. Raises ConfigError.
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
        """End the open calls with LostRemote and close the connections. There is nothing to await."""
        self._target.connections.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh.aio client of {self._target.connections.name}>"

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __enter__ = __exit__ = misuse.advice(
            "a client of mesh.aio is used with `async with`; that of mesh.connect with `with`"
        )


@with_arguments_of(connect_target, coroutines=True)
def connect(target: ClientTarget) -> Client:
    """A client of a service, for asyncio; each middleware is `async def`, to await what `proceed` gives.

    It connects in the background, and again for ever: from now on in the loop that runs, if one does, else
    from the first call on.
    """
    client = Client(target)
    try:
        loop = get_running_loop()
    except RuntimeError:
        return client
    _begin(target.connections, loop)
    return client


def _begin(connections: ClientConnections, loop: AbstractEventLoop) -> ClientEndpoint:
    return connections.begin(loop, AsyncioLoop(), _on_woken)


def _on_woken(endpoint: ClientEndpoint, woken: list[Call | Waiting]) -> bool:
    """Have the tasks go on that wait."""
    loop: AsyncioLoop = endpoint.loop  # type: ignore[assignment]  # as _begin made it
    return wake(loop, woken)


async def _through_middleware(
    client: Client, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    assert client._proceed is not None
    result = await client._proceed(client._target.context(method, args, kwargs))
    if iscoroutine(result):
        result.close()
        raise TypeError(
            f"a middleware has given {result!r:.80} as the outcome of {method!r:.80}: it is to "
            "`return await proceed(call)`"
        )
    return result


async def _proceed(target: ClientTarget, call: CallContext) -> Any:
    """What comes after the last middleware."""
    return await _request(*target.request(call))


async def _request(
    target: ClientTarget, header: Header | None, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        loop = get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"{method!r:.80} was called where no event loop of asyncio runs: await it in a coroutine that "
            "asyncio.run runs, or use mesh.connect, which needs none"
        ) from None
    connections = target.connections
    endpoint = connections.of(loop) or _begin(connections, loop)
    if connections.rules is not None:
        ruled = await _ruled(target, method)
        if ruled.connections is not connections:
            try:
                return await _request(ruled, header, method, args, kwargs)
            except ServiceNotFound as exc:
                if not (exc.refused and ruled.connections.left):
                    raise
                # Nobody has seen it, and calls are split otherwise by now.
                return await _request(target, header, method, args, kwargs)
        target = ruled
    first: Call | None = None
    if not (kwargs or target.persistent):
        waiter = Waiter(loop)
        try:
            first = endpoint.open(method, args, header, target.options.timeout, None, waiter)
            await waiter
        except UnreadableKey:
            pass  # whether its server reads it is asked first
        except GeneratorExit:  # from wherever it is collected
            if first is not None:
                endpoint.drop(first)
            raise
        except BaseException:
            if first is not None:
                endpoint.give_up(first)
            raise
    if first is None or (first.error is not None and may_go_on(first.error)):
        call = await _persist(endpoint, target.attempts(endpoint, header, method, args, kwargs, first))
    else:
        call = first
    if call.items is None and call.error is None:
        return call.value
    if call.is_stream:
        return Stream(connections, endpoint, call, target.options.timeout)
    assert call.error is not None
    raise call.error


async def _ruled(target: ClientTarget, method: str) -> ClientTarget:
    """Where a call goes by the rules of its service, after what befalls it in a test."""
    strike = target.strike(method)
    if strike is None:
        return target.ruled()
    await sleep(strike.pause)
    if strike.error is not None:
        raise strike.error
    return target.ruled(strike.pause)


async def _persist(endpoint: ClientEndpoint, attempts: Attempts) -> Call:
    """A call that may take several attempts."""
    step = attempts.begin(monotonic())
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
    waiter = Waiter(get_running_loop())
    try:
        call = endpoint.open(*attempts.request, waiter)
    except (MeshError, UnreadableKey) as exc:
        return attempts.failed(exc, monotonic())
    await wait(endpoint, call, waiter)
    return attempts.answered(call, monotonic())


async def _wait_for_connection(endpoint: ClientEndpoint, until: float) -> None:
    """Until another connection stands, or it is `until`."""
    waiter = Waiter(get_running_loop())
    waiting = endpoint.await_connection(waiter, until)
    try:
        await waiter
    finally:
        waiting.waiter = None
