"""The tasks in which coroutines are carried out: one for each, begun at once and in order, none left over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import mesh
import mesh.aio
from tests.aio.conftest import LOOPS
from tests.helpers.processes import PATIENCE, eventually

ClientOf = Callable[..., mesh.Client]


class Desk:
    def __init__(self) -> None:
        self.begun: list[int] = []

    async def note(self, number: int) -> int:
        self.begun.append(number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        return number

    async def task(self) -> int:
        """Of what needs the task that runs, before the handler's first wait."""
        async with asyncio.timeout(PATIENCE):
            return id(asyncio.current_task())

    async def cancels_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(PATIENCE)


def test_calls_begin_in_the_order_in_which_they_came(client_of: ClientOf) -> None:
    desk = Desk()
    client = client_of(desk)
    number = 0
    for burst in (1, 1, 4, 1, 30, 1, 1, 2, 100, 1, 3) * 3:
        later = [client.note.future(number + more) for more in range(burst)]
        number += burst
        if burst == 1:
            later[0].result()
        elif burst == 2:
            gevent.sleep(0.002)
    eventually(lambda: len(desk.begun) == number)
    assert desk.begun == list(range(number))


def test_each_call_has_a_task_of_its_own(client_of: ClientOf) -> None:
    client = client_of(Desk())
    assert len({client.task() for _ in range(20)}) > 1  # of some the memory is used again
    with pytest.raises(mesh.RemoteError, match="CancelledError"):
        client.cancels_itself()
    assert client.note(1) == 1


@pytest.mark.parametrize("loop_name", LOOPS)
def test_an_answer_leaves_in_the_turn_that_has_brought_the_call(loop_name: str) -> None:
    async def main() -> None:
        server = mesh.aio.Server(Desk())
        endpoint = server.bind("tcp://127.0.0.1:*")
        async with server, mesh.aio.connect(endpoint, timeout=PATIENCE) as client:
            await client.note(1)
            await asyncio.sleep(0)
            inside, left = server._endpoint, list[Any]()

            def turn() -> None:
                assert inside.router is not None
                eventually(inside.router.readable)
                inside._pump.run()
                left.append(inside.session.open_calls())

            call = asyncio.create_task(client.note(2))
            asyncio.get_running_loop().call_soon(turn)
            assert await call == 2 and left == [[]]

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop_name", LOOPS)
def test_none_is_left_after_the_end(loop_name: str) -> None:
    async def main() -> None:
        for _ in range(3):
            server = mesh.aio.Server(Desk())
            endpoint = server.bind("tcp://127.0.0.1:*")
            async with server, mesh.aio.connect(endpoint, timeout=PATIENCE) as client:
                assert await asyncio.gather(*(client.note(number) for number in range(10))) == [*range(10)]
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(main())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python begins tasks at once, so none is made ahead")
def test_one_that_is_cancelled_before_its_call_has_come_is_passed_over() -> None:
    """By a program that cancels all tasks but its own."""

    async def main() -> None:
        server = mesh.aio.Server(Desk())
        endpoint = server.bind("tcp://127.0.0.1:*")
        async with server, mesh.aio.connect(endpoint, timeout=PATIENCE) as client:
            await client.note(1)
            await asyncio.sleep(0)
            ahead: list[asyncio.Task[Any]] = [
                task for task in asyncio.all_tasks() if "_in_task_ahead" in repr(task.get_coro())
            ]
            assert len(ahead) == 1
            ahead[0].cancel()
            await asyncio.wait(ahead)
            assert [await client.note(number) for number in range(3)] == [0, 1, 2]

    asyncio.run(main())
