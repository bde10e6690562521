"""Where the handlers of an asyncio server stand, for whoever asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mesh.aio
from mesh.core.wire import OPEN_CALLS


class Waits:
    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.over = threading.Event()
        self.in_thread = threading.Event()

    async def plain(self) -> None:
        self.begun.release()
        await asyncio.gather(asyncio.sleep(60))

    async def items(self) -> AsyncIterator[int]:
        yield 1
        self.begun.release()
        await asyncio.sleep(60)

    def threaded(self) -> None:
        self.in_thread.set()
        self.over.wait(60)

    def threaded_items(self) -> Iterator[int]:
        yield 1
        self.over.wait(60)
        yield 2


def test_coroutines_generators_and_native_threads() -> None:
    asyncio.run(_all_stand_somewhere())


async def _all_stand_somewhere() -> None:
    target = Waits()
    server = mesh.aio.Server(target, name="waits", threads=4)
    async with server, mesh.aio.connect(server.bind("tcp://127.0.0.1:*"), timeout=30) as client:
        tasks = [asyncio.ensure_future(client(name)) for name in ("plain", "threaded")]
        streams = [aiter(client(name)) for name in ("items", "threaded_items")]
        for stream in streams:
            assert await anext(stream) == 1
        tasks += [asyncio.ensure_future(anext(stream)) for stream in streams]
        await target.begun.acquire()
        await target.begun.acquire()
        await asyncio.to_thread(target.in_thread.wait, 30)
        lines: dict[str, str] = {}
        async with asyncio.timeout(30):
            while sum(line != "" for line in lines.values()) < 4:
                told: dict[str, Any] = await client(OPEN_CALLS)
                lines = {row["method"]: row["at"] for row in told["calls"]}
                await asyncio.sleep(0.05)
        for name, line in lines.items():
            assert line.startswith("test_open_calls.py:") and line.endswith(f" in {name}")
        target.over.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
