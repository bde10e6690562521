"""What programs are told that use a client, its calls and streams in ways that they do not have."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import mesh.aio
from tests.aio.clients.conftest import Desk, Run

TIMEOUT = 20.0

UNAWAITED = r"this is the call of 'echo', not yet its answer: write `\(await client\.echo\(…\)\)`"


def as_context(one: Any) -> None:
    with one:
        pass


async def wait_for(one: Any) -> None:
    await one


@pytest.mark.parametrize(
    "use",
    [
        bool,
        len,
        int,
        lambda call: call + 1,
        lambda call: 1 + call,
        lambda call: call < 3,
        lambda call: call[0],
        lambda call: 1 in call,
        as_context,
    ],
)
def test_a_call_that_is_taken_for_its_answer(run: Run, endpoint: str, use: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # that it was never awaited is not said besides
                with pytest.raises(TypeError, match=UNAWAITED):
                    use(desk.echo(1))
                gc.collect()

    run(main())


def test_an_attribute_of_an_answer(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            call: Any = desk.echo("text")
            with pytest.raises(AttributeError, match="not yet its answer, which has no 'upper': write `"):
                call.upper()
            assert await call == "text", "a look at what it has leaves it as it is"

    run(main())


def test_a_plain_loop(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            call: Any = desk.count(3)
            with pytest.raises(
                TypeError, match=r"'count' is for asyncio: go through a stream by `async for`"
            ):
                list(call)
            assert [item async for item in call] == [0, 1, 2], "as Django asks before it goes through it so"
            stream: Any = await desk.count(3)
            with pytest.raises(TypeError, match=r"left by `async with`, or aclose\(\)"):
                as_context(stream)
            assert [item async for item in stream] == [0, 1, 2]

    run(main())


def test_a_call_is_the_context_of_its_stream(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            async with client.ticks() as ticks:
                assert [await anext(ticks) for _ in range(3)] == [0, 1, 2]
            while not desk.ended:
                await asyncio.sleep(0.01)
            async with client.count(2) as items:
                assert [item async for item in items] == [0, 1]
            with pytest.raises(TypeError, match="'echo' gives one value, and no stream"):
                async with client.echo(1) as items:
                    await anext(items)
            async with client.count(2):
                pass  # not begun

    run(main())


def test_methods_and_clients(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            desk: Any = client
            with pytest.raises(
                AttributeError, match=r"asyncio\.create_task\(client\.echo\(…\)\) or asyncio\.ensure"
            ):
                desk.echo.future(1)
            with pytest.raises(AttributeError, match=r"as client\('echo\.all', …\)"):
                desk.echo.all(1)

    run(main())
    with pytest.raises(TypeError, match=r"mesh\.aio\.Server is used with `async with`"):
        as_context(mesh.aio.Server(Desk()))


def test_what_tools_ask_a_coroutine_for(run: Run, endpoint: str) -> None:
    """Debuggers, and asyncio in its debug mode."""

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            call: Any = client.slow(0.2)
            assert call.__qualname__ == "slow" and call.__name__ == "_request"
            assert inspect.getcoroutinestate(call) == "CORO_CREATED"
            # As Python 3.14 does where it shows a task.
            assert eval("bool(call)", {"__name__": "asyncio.base_tasks", "call": call})
            task = asyncio.create_task(call)
            await asyncio.sleep(0.05)
            assert "coro=<slow() running at " in repr(task)
            assert task.get_stack()
            await task

    run(main())


@pytest.mark.parametrize("use", [list, len, lambda stream: stream[0]])
def test_a_stream_that_is_taken_for_a_list(run: Run, endpoint: str, use: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint) as client:
            stream = await client.count(3)
            assert stream
            with pytest.raises(TypeError, match="is gone through by `async for`; a list of its items is "):
                use(stream)
            assert [item async for item in stream] == [0, 1, 2]

    run(main())
