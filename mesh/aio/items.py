"""The items of a stream, whatever a handler has given for it, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Any

from mesh.core.server_call import ServerCall
from mesh.transport import thread_items
from mesh.transport.thread_items import END
from mesh.transport.thread_pool import ThreadPool


class Items:
    """Those of anything that can be iterated over; to take one keeps the loop."""

    __slots__ = ("_items",)
    in_thread = False

    def __init__(self, result: Any) -> None:
        self._items = iter(result)

    async def next(self) -> Any:
        return next(self._items, END)

    async def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


class ThreadItems:
    """The same, in native threads of a pool and in this context. run: calls a function in one of them."""

    in_thread = True

    def __init__(
        self,
        result: Any,
        call: ServerCall,
        context: Context,
        pool: ThreadPool,
        run: Callable[..., Awaitable[Any]],
    ) -> None:
        self._run = run
        self._pool = pool
        self._taken = thread_items.PrefetchedItems(call, result, context, pool, self._wake)
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Any:
        self._require_open()
        while self._taken.must_wait():
            await self._wait()
            self._require_open()
        return self._taken.next()

    async def close(self) -> None:
        while self._taken.taking:
            self._require_open()
            await self._wait()
        close = self._taken.close
        if close is not None:
            await self._run(close)

    def _require_open(self) -> None:
        if self._pool.closed:
            raise asyncio.CancelledError

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class AsyncItems:
    """Those of an asynchronous generator, or iterator."""

    __slots__ = ("_items",)
    in_thread = False

    def __init__(self, result: Any) -> None:
        self._items: AsyncIterator[Any] = aiter(result)

    @property
    def source(self) -> AsyncIterator[Any]:
        """What they come from."""
        return self._items

    async def next(self) -> Any:
        try:
            return await self._items.__anext__()
        except StopAsyncIteration:
            return END

    async def close(self) -> None:
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()
