"""The items of a stream, whatever a handler has given for it, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

END: Final = object()
"""In place of an item: there are no more."""


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
    """The same, in native threads. run: calls a function with arguments in one of them."""

    __slots__ = ("_items", "_run")
    in_thread = True

    def __init__(self, result: Any, run: Callable[..., Awaitable[Any]]) -> None:
        self._items = iter(result)
        self._run = run

    async def next(self) -> Any:
        return await self._run(next, self._items, END)

    async def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            await self._run(close)


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
