"""What the scenarios expose: the same methods as plain functions and as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import gevent

import mesh
from tests.helpers.computing import compute_a_moment

SEEN: ContextVar[str] = ContextVar("seen", default="fresh")


class Refused(Exception):
    """An exception that no caller has."""


ERRORS = {"KeyError": KeyError, "ValueError": ValueError, "Refused": Refused, "OSError": OSError}


class BadlyClosed:
    """Two items, and a close that raises, for whichever loop."""

    def __init__(self) -> None:
        self._items = iter([1, 2])

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return next(self._items)

    def close(self) -> None:
        raise OSError("it can't be closed")


class Shop:
    """For servers that carry out plain functions in a loop of gevent."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def echo(self, value: Any) -> Any:
        return value

    def add(self, first: int, second: int = 10) -> int:
        """The sum."""
        return first + second

    def note(self, value: Any) -> None:
        self.notes.append(value)

    def noted(self) -> list[Any]:
        return list(self.notes)

    def nap(self, seconds: float) -> float:
        gevent.sleep(seconds)
        return seconds

    def compute(self, seconds: float) -> float:
        """Keeps the loop from turning."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return seconds

    def fail(self, kind: str, text: str) -> None:
        raise ERRORS[kind](text)

    def context(self, value: str) -> str:
        """What the call before this one has left in a context variable."""
        before = SEEN.get()
        SEEN.set(value)
        return before

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    def ticks(self, pause: float) -> Iterator[int]:
        """Without end; notes how far it came when it is closed."""
        number = 0
        try:
            while True:
                yield number
                number += 1
                gevent.sleep(pause)
        finally:
            self.notes.append(["closed", number])

    def breaks(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise KeyError("broken")

    def rows(self) -> Any:
        """A stream without a generator function."""
        return iter([{"id": 1}, {"id": 2}])

    def badly_closed(self) -> BadlyClosed:
        return BadlyClosed()

    @mesh.stream
    def listed(self) -> list[int]:
        return [1, 2, 3]


class AsyncShop:
    """The same for servers that carry out coroutines."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    async def echo(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    async def add(self, first: int, second: int = 10) -> int:
        """The sum."""
        return first + second

    def note(self, value: Any) -> None:
        self.notes.append(value)

    async def noted(self) -> list[Any]:
        return list(self.notes)

    async def nap(self, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        return seconds

    async def compute(self, seconds: float) -> float:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return seconds

    async def fail(self, kind: str, text: str) -> None:
        raise ERRORS[kind](text)

    async def context(self, value: str) -> str:
        before = SEEN.get()
        SEEN.set(value)
        return before

    async def count(self, number: int) -> AsyncIterator[int]:
        for one in range(number):
            yield one

    async def ticks(self, pause: float) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(pause)
        finally:
            self.notes.append(["closed", number])

    async def breaks(self, after: int) -> AsyncIterator[int]:
        for one in range(after):
            yield one
        raise KeyError("broken")

    async def rows(self) -> Any:
        return iter([{"id": 1}, {"id": 2}])

    async def badly_closed(self) -> BadlyClosed:
        return BadlyClosed()

    @mesh.stream
    async def listed(self) -> list[int]:
        return [1, 2, 3]


class Audience:
    """What carries out events. calls: each with its arguments, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def hello(self, *args: Any) -> None:
        self.calls.append(args)


class AsyncAudience(Audience):
    async def hello(self, *args: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.calls.append(args)
