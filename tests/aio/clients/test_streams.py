"""Streams as tasks of asyncio read them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

import mesh
import mesh.aio
from tests.aio.clients.conftest import Desk, Run, Serve, until

TIMEOUT = 20.0


def test_many_items_in_order(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert [item async for item in desk.count(5_000)] == list(range(5_000))
            assert [item async for item in desk.count(0)] == []

    run(main())


def test_the_server_is_no_further_ahead_than_the_window(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            stream = aiter(client.count(100_000))
            for number in range(10):
                assert await anext(stream) == number
            await until(lambda: desk.made > 10)
            await asyncio.sleep(0.3)
            assert desk.made <= 10 + 200
            await stream.aclose()  # type: ignore[attr-defined]

    run(main())


def test_several_at_once(run: Run, endpoint: str) -> None:
    async def read(desk: Any) -> list[int]:
        return [item async for item in desk.count(500)]

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert await asyncio.gather(*[read(desk) for _ in range(20)]) == [list(range(500))] * 20

    run(main())


def test_an_error_comes_behind_the_items_before_it(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            stream = aiter(desk.broken())
            assert await anext(stream) == 1
            with pytest.raises(KeyError, match="after the first"):
                await anext(stream)

    run(main())


def test_one_that_has_ended_stays_so(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            stream = await desk.count(1)
            assert await anext(stream) == 0
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)

    run(main())


def test_one_value_is_no_stream(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            with pytest.raises(TypeError, match="'echo' gives one value, and no stream: await it"):
                async for _ in desk.echo(1):
                    pass

    run(main())


def test_one_value_is_no_stream_to_enter_either(run: Run, endpoint: str) -> None:
    async def body() -> None:
        async with mesh.aio.connect(endpoint) as users:
            with pytest.raises(TypeError, match="'echo' gives one value, and no stream: await it"):
                async with users.echo(1):
                    raise AssertionError("entered")

    run(body())


def test_closing_leaves_it(run: Run, desk: Desk, endpoint: str) -> None:
    async def body() -> None:
        async with mesh.aio.connect(endpoint) as users:
            async with aclosing(users.ticks()) as rows:
                async for row in rows:
                    if row == 3:
                        break
            await until(lambda: desk.ended == ["ticks"])
            async with aclosing(users.count(5)):
                pass  # it is never asked for

    run(body())


def test_an_item_that_takes_too_long(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=0.3) as client:
            stream = aiter(client.blocked())
            assert await anext(stream) == 1
            with pytest.raises(mesh.TimeoutExpired):
                await anext(stream)
            await until(lambda: desk.ended == ["blocked"])

    run(main())


def test_two_tasks_that_wait_on_one_are_told(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            stream: Any = await desk.blocked()
            assert await anext(stream) == 1
            first = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another greenlet or task waits"):
                await anext(stream)
            first.cancel()

    run(main())


def test_the_end_of_the_block_leaves_it(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            async with aclosing(await client.ticks()) as stream:
                assert await anext(stream) == 0
            await until(lambda: desk.ended == ["ticks"])

    run(main())


def test_a_slow_reader_keeps_its_stream(run: Run, desk: Desk, serve: Serve) -> None:
    """Whoever works on an item is not hurried, and heartbeats go on."""
    endpoint = serve(desk, heartbeat=0.2)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=0.3, heartbeat=0.2) as client:
            got = []
            async for item in client.count(3):
                got.append(item)
                await asyncio.sleep(0.6)
            assert got == [0, 1, 2]

    run(main())
