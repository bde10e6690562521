"""Calls that a coroutine makes for its caller: the time that they have, and that they end with the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import mesh
import mesh.aio
from tests.aio.conftest import Connect, Serve
from tests.helpers.processes import eventually

FOR_EVER = 60.0


class Back:
    """The service behind."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.open = 0

    async def left(self) -> None:
        call = mesh.current_call()
        assert call is not None
        self.timeouts.append(call.timeout)

    async def ticks(self) -> AsyncIterator[int]:
        self.open += 1
        try:
            while True:
                yield self.open
                await asyncio.sleep(FOR_EVER)
        finally:
            self.open -= 1


class Front:
    """The service in front, whose handlers call the one behind."""

    def __init__(self, endpoint: str) -> None:
        self.back = mesh.aio.connect(endpoint)

    async def left(self) -> None:
        await self.back.left()
        await asyncio.gather(self.back.left(), self.back.with_options(retries=1).left())

    async def wait(self) -> None:
        async for _ in self.back.ticks():
            pass


def test_a_chain_has_one_deadline_and_one_end(serve: Serve, connect: Connect) -> None:
    back = Back()
    target = Front(serve(back).endpoint)
    client = connect(serve(target).endpoint)
    client.with_options(timeout=5.0).left()
    assert len(back.timeouts) == 3
    assert all(timeout is not None and 3.0 < timeout <= 5.0 for timeout in back.timeouts)
    waiting = client.with_options(timeout=FOR_EVER).wait.future()
    eventually(lambda: back.open == 1, what="the call behind")
    waiting.cancel()
    eventually(lambda: back.open == 0, what="the end of the call behind")
    target.back.close()
