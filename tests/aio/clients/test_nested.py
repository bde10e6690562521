"""A loop that runs within a task's turn, as nest_asyncio and the dialogs of graphical programs have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import mesh.aio
from tests.helpers.processes import PATIENCE


def run_nested(done: Callable[[], bool]) -> None:
    """Turn this loop until then, within the task that runs: as nest_asyncio does it."""
    loop: Any = asyncio.get_running_loop()
    task, end = asyncio.current_task(), monotonic() + PATIENCE
    assert task is not None
    asyncio._leave_task(loop, task)
    try:
        while not done():
            assert monotonic() < end, "the nested loop came to no end"
            loop.call_later(0.01, bool)  # so that it never sleeps for long
            loop._run_once()
        # The turn around this has counted its callbacks before, as that of nest_asyncio does not: these take
        # the place of those that were run here.
        for _ in range(100):
            loop.call_soon(bool)
    finally:
        asyncio._enter_task(loop, task)


class Desk:
    """Asks itself, by a client in its own loop, before its handler has waited for anything."""

    def __init__(self) -> None:
        self.client: Any = None

    async def echo(self, value: Any) -> Any:
        return value

    async def asks(self, value: Any) -> Any:
        asked = asyncio.ensure_future(self.client.echo(value))
        run_nested(asked.done)
        return asked.result()


def test_calls_are_answered_in_it() -> None:
    async def main() -> None:
        setattr(asyncio.get_running_loop(), "_nest_patched", True)  # noqa: B010
        desk = Desk()
        server = mesh.aio.Server(desk)
        endpoint = server.bind("tcp://127.0.0.1:*")
        async with server, mesh.aio.connect(endpoint, timeout=PATIENCE) as client:
            desk.client = client
            for number in range(3):
                # In a task that an answer has woken, and in a handler that has just begun.
                assert await client.echo(number) == number
                asked = asyncio.create_task(client.echo("nested"))
                run_nested(asked.done)
                assert asked.result() == "nested"
                assert await client.asks(number) == number

    asyncio.run(main())
