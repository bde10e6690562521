"""How a task that waits for a socket goes on: in the turn that wakes it, else as if it awaited a future."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop

from mesh.aio.loop import AsyncioLoop
from mesh.aio.waiter import Waiter, wake

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_in_loop(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return run_in_loop


class One:
    """Somebody who waits; `told` has what came of it."""

    def __init__(self, told: list[Any], name: str = "one") -> None:
        self.waiter: Waiter | None = Waiter(asyncio.get_running_loop())
        self.name = name
        self.told = told
        self.task = asyncio.create_task(self.wait(self.waiter))

    async def wait(self, waiter: Waiter) -> None:
        try:
            await waiter
        except asyncio.CancelledError as error:
            self.told.append((self.name, "cancelled", *error.args))
            raise
        self.told.append(self.name)


async def in_callback(function: Callable[[], object]) -> None:
    """Have the loop call it, outside of every task, and wait for that."""
    called = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            function()
        finally:
            called.set_result(None)

    asyncio.get_running_loop().call_soon(call)
    await called


def test_they_have_gone_on_when_wake_returns(run: Run) -> None:
    async def main() -> None:
        told: list[Any] = []
        ones = [One(told, name) for name in "abc"]
        await asyncio.sleep(0)

        def check() -> None:
            assert wake(AsyncioLoop(), ones) is False
            assert told == ["a", "b", "c"] and all(one.task.done() and one.waiter is None for one in ones)

        await in_callback(check)

    run(main())


@pytest.mark.parametrize("where", ["in a task", "in debug mode"])
def test_they_go_on_in_a_turn_of_their_own(run: Run, where: str) -> None:
    async def main() -> None:
        told: list[Any] = []
        one = One(told)
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()

        def check() -> None:
            assert wake(AsyncioLoop(), [one]) is True
            assert told == [] and one.waiter is None

        if where == "in a task":
            check()
        else:
            loop.set_debug(True)
            await in_callback(check)
        await one.task
        assert told == ["one"]

    run(main())


def test_each_goes_on_in_its_own_context(run: Run) -> None:
    name: ContextVar[str] = ContextVar("name", default="the loop's")

    async def main() -> None:
        told: list[Any] = []

        async def wait(waiter: Waiter, value: str) -> None:
            name.set(value)
            await waiter
            told.append(name.get())

        loop = asyncio.get_running_loop()
        waiters = [Waiter(loop) for _ in range(2)]
        tasks = [asyncio.create_task(wait(waiter, str(number))) for number, waiter in enumerate(waiters)]
        await asyncio.sleep(0)
        await in_callback(lambda: [waiter.wake(later=False) for waiter in waiters])
        await asyncio.gather(*tasks)
        assert told == ["0", "1"]

    run(main())


def test_one_that_is_woken_before_it_waits(run: Run) -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        waiter.value = "here"
        waiter.wake(later=False)
        assert await waiter == "here"

    run(main())


def test_one_that_is_cancelled_is_not_woken(run: Run) -> None:
    async def main() -> None:
        told: list[Any] = []
        one = One(told)
        waiter = one.waiter
        await asyncio.sleep(0)
        one.task.cancel("why")
        await in_callback(lambda: wake(AsyncioLoop(), [one]))
        assert one.task.cancelled() and told == [("one", "cancelled", "why")]
        assert waiter is not None and not waiter.cancel()

    run(main())


def test_one_that_is_cancelled_when_it_was_woken_and_has_not_gone_on(run: Run) -> None:
    """As with a future that has its result: the task hears of it all the same."""

    async def main() -> None:
        told: list[Any] = []
        one = One(told)
        await asyncio.sleep(0)
        assert wake(AsyncioLoop(), [one]) is True
        one.task.cancel()
        await asyncio.wait([one.task])
        assert told == [("one", "cancelled")]

    run(main())


def test_a_timeout_around_it(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Waiter(asyncio.get_running_loop())

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_others_go_on_where_one_ends_the_program(error: type[BaseException]) -> None:
    told: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    class Ends(One):
        async def wait(self, waiter: Waiter) -> None:
            await waiter
            raise error

    async def main() -> None:
        ones = [One(told, "a"), Ends(told), One(told, "b")]
        tasks.extend(one.task for one in ones)
        await asyncio.sleep(0)
        await in_callback(lambda: wake(AsyncioLoop(), ones))

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(error):
            loop.run_until_complete(main())
        assert told == ["a"] and isinstance(tasks[1].exception(), error)
        loop.run_until_complete(tasks[2])
        assert told == ["a", "b"]
    finally:
        loop.close()
