"""A stream as its caller sees it: an async iterator, with flow control, that may be left at any time."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from mesh.aio.waiter import Waiter
from mesh.core import misuse
from mesh.core.client_session import Call
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.native import get_ident


async def wait(endpoint: ClientEndpoint, call: Call, waiter: Waiter) -> None:
    """Until the call's waiter is woken, which this is. A task that is cancelled gives the call up."""
    try:
        await waiter
    except GeneratorExit:  # from wherever it is collected
        endpoint.drop(call)
        raise
    except BaseException:
        endpoint.give_up(call)
        raise


class Stream(AsyncIterator[Any]):
    """The items that a handler yields.

    The server sends as many ahead as the client has granted. Leaving the loop, closing the
    stream or dropping it ends the handler's generator. Raises what the handler raises,
    TimeoutExpired when the next item takes longer than the timeout, RuntimeError in another loop than the one
    that it was begun in, and LostRemote in the child of a fork.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_client",
        "_coming",
        "_drop",
        "_endpoint",
        "_is_closed",
        "_loop",
        "_other",
        "_timeout",
    )
    __mesh_unexposed__ = "a stream of another service"

    def __init__(self, client: object, endpoint: ClientEndpoint, call: Call, timeout: float | None) -> None:
        self._coming: tuple[Coroutine[Any, Any, Any], str] | None = None
        self._other: AsyncIterator[Any] | None = None
        """What a middleware has put in its place."""
        self._call: Call | None
        """None before it has begun, or where there is another."""
        self._begin(client, endpoint, call, timeout)

    @classmethod
    def of(cls, coming: Coroutine[Any, Any, Any], method: str) -> Stream:
        """The stream that this coroutine gives, which is awaited for the first item. method: in words."""
        stream = cls.__new__(cls)
        stream._coming = coming, method
        stream._call = stream._other = None
        return stream

    def _begin(self, client: object, endpoint: ClientEndpoint, call: Call, timeout: float | None) -> None:
        self._client = client  # which closes its connections when nobody has it any more
        self._endpoint = endpoint
        self._call = call
        self._timeout = timeout
        self._loop = get_running_loop()
        self._is_closed = self._loop.is_closed
        self._drop = finalize(self, endpoint.drop, call)
        self._drop.atexit = False

    async def __anext__(self) -> Any:
        call = self._call
        if call is None:
            call = await self.begun()
            if call is None:
                assert self._other is not None
                return await anext(self._other)
        endpoint = self._endpoint
        # Which loop runs is asked where nothing is left to take: Python 3.11 makes a system call of it.
        if get_ident() != endpoint.home or self._is_closed():
            endpoint.refuse_reader(call)
        items = call.items
        if not items:
            await self._wait(call)
            items = call.items
            if not items:
                self._drop.detach()
                raise call.take_error() or StopAsyncIteration
        value = items.popleft()
        if len(items) < call.low:
            endpoint.grant(call)
        return value

    async def _wait(self, call: Call) -> None:
        """Until there is an item, or the end."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._endpoint.refuse_reader(call)
        while True:
            waiter = Waiter(loop)
            if not self._endpoint.await_item(call, waiter, self._timeout):
                return
            await wait(self._endpoint, call, waiter)

    async def begun(self) -> Call | None:
        """Have it begin, unless it has; None where a middleware gives the items. Raises TypeError where the
        call gives one value.
        """
        if self._coming is None:
            return None
        coming, method = self._coming
        other = await coming
        if type(other) is Stream and other._call is not None:
            other._drop.detach()
            self._begin(other._client, other._endpoint, other._call, other._timeout)
        elif hasattr(other, "__aiter__"):
            self._other = aiter(other)
        else:
            raise TypeError(
                f"{method!r:.80} gives one value, and no stream: await it, without `async for` or "
                "`async with`"
            )
        self._coming = None
        return self._call

    async def aclose(self) -> None:
        """Leave the stream; what has not been taken is dropped."""
        if self._coming is not None:
            self._coming[0].close()
        elif self._call is None:
            close = getattr(self._other, "aclose", None)
            if close is not None:
                await close()
        else:
            self._drop.detach()
            self._endpoint.leave(self._call)

    def __bool__(self) -> bool:
        return True  # and not by its length, which it has not

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    if not TYPE_CHECKING:  # a checker knows by itself that it is no context of that kind
        __enter__ = __exit__ = misuse.advice("a stream of mesh.aio is left by `async with`, or aclose()")
        __iter__ = __len__ = __getitem__ = misuse.advice(
            "a stream of mesh.aio is gone through by `async for`; a list of its items is "
            "`[item async for item in stream]`"
        )
