"""Calls of tasks that go to a hub in one frame. The hub is the test itself, which sees every frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

import mesh.aio
from mesh.core import wire
from tests.aio.clients.conftest import Run, until
from tests.green.test_bundles import Header, Hub
from tests.hubs.wires import Wires

TIMEOUT = 20.0


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Wires() as wires:
        yield Hub(wires)


async def calls(hub: Hub, number: int) -> list[Header]:
    """The headers of so many calls, however they come."""
    got: list[Header] = []
    while len(got) < number:
        await until(lambda: hub._socket.poll(0), "a call")
        got += [header for header, name, _ in hub.next() if name != wire.BEAT]
    assert len(got) == number
    return got


async def welcome(hub: Hub, client: Any) -> None:
    """Two calls; with the first that knows where it goes, client and hub agree."""
    for _ in range(2):
        task = asyncio.create_task(client.echo())
        (call,) = await calls(hub, 1)
        if call.get("batch"):
            hub.agree(call)
        hub.answer(call)
        await task


def test_who_is_answered_together_calls_together(run: Run, hub: Hub) -> None:
    async def many(client: Any) -> list[bytes]:
        return [await client.echo() for _ in range(3)]

    async def main() -> None:
        async with mesh.aio.connect(hub.endpoint, timeout=TIMEOUT) as client:
            await welcome(hub, client)
            callers = asyncio.gather(*[many(client) for _ in range(50)])
            first = await calls(hub, 50)
            assert hub.batches == 0, "none waits for others that nobody knows of"
            frames = hub.frames
            hub.answer(*first)
            second = await calls(hub, 50)
            assert hub.batches and hub.frames - frames < 25
            hub.answer(*second)
            third = await calls(hub, 50)
            hub.answer(*third)
            got = sorted(answer for answers in await callers for answer in answers)
            assert got == sorted(call["message_id"] for call in first + second + third)

    run(main())


def test_none_waits_for_long_behind_one_that_computes(run: Run, hub: Hub) -> None:
    """The first is answered, and calls again; the second keeps the loop: the watchdog sends that call."""

    async def quick(client: Any) -> None:
        await client.echo()
        await client.echo()

    async def slow(client: Any) -> None:
        await client.echo()
        end = time.monotonic() + TIMEOUT
        while not hub._socket.poll(10):
            assert time.monotonic() < end, "the call waits for its loop"

    async def main() -> None:
        async with mesh.aio.connect(hub.endpoint, timeout=TIMEOUT) as client:
            await welcome(hub, client)
            both = asyncio.gather(quick(client), slow(client))
            hub.answer(*await calls(hub, 2))
            hub.answer(*await calls(hub, 1))
            await both

    run(main())
