"""mesh for asyncio, through its public names and with its default settings, on either loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from time import perf_counter
from typing import Any, Final, TypeVar

import mesh.aio

Result = TypeVar("Result")
NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Service:
    async def echo(self, value: bytes) -> bytes:
        return value

    async def numbers(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


async def _serve(ready: Callable[[str], None]) -> None:
    server = mesh.aio.Server(Service())
    ready(server.bind("tcp://127.0.0.1:*"))
    await server.serve()


class Client:
    def __init__(self, endpoint: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._remote = mesh.aio.connect(endpoint)

    def sequential(self, payload: bytes, seconds: float) -> int:
        return self._run(self._repeat(payload, seconds))

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        return self._run(self._crowd(payload, callers, seconds))

    def paced(self, payload: bytes, callers: int, rate: float, seconds: float) -> list[float]:
        return self._run(self._pace(payload, callers, rate, seconds))

    def stream(self, items: int) -> int:
        return self._run(self._count(items))

    def close(self) -> None:
        self._remote.close()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(work)

    async def _repeat(self, payload: bytes, seconds: float) -> int:
        end, echo = perf_counter() + seconds, self._remote.echo
        count = 0
        while perf_counter() < end:
            await echo(payload)
            count += 1
        return count

    async def _crowd(self, payload: bytes, callers: int, seconds: float) -> int:
        return sum(await asyncio.gather(*(self._repeat(payload, seconds) for _ in range(callers))))

    async def _pace(self, payload: bytes, callers: int, rate: float, seconds: float) -> list[float]:
        echo, took, began = self._remote.echo, list[float](), perf_counter()

        async def pace(due: float) -> None:
            while due < began + seconds:
                await asyncio.sleep(max(due - perf_counter(), 0.0))
                start = perf_counter()
                await echo(payload)
                took.append(perf_counter() - start)
                due += callers / rate

        await asyncio.gather(*(pace(began + number / rate) for number in range(callers)))
        return took

    async def _count(self, items: int) -> int:
        count = 0
        async for _ in self._remote.numbers(items):
            count += 1
        return count


class OnLoop:
    """A peer by the loops that this function makes."""

    def __init__(self, new_loop: Callable[[], NewLoop]) -> None:
        self._new_loop = new_loop

    def serve(self, ready: Callable[[str], None]) -> None:
        with asyncio.Runner(loop_factory=self._new_loop()) as runner:
            runner.run(_serve(ready))

    def Client(self, endpoint: str) -> Client:
        return Client(endpoint, self._new_loop()())


def _uvloop() -> NewLoop:
    import uvloop

    return uvloop.new_event_loop


plain: Final = OnLoop(lambda: asyncio.new_event_loop)
on_uvloop: Final = OnLoop(_uvloop)
