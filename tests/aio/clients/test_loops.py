"""Clients in several loops, in loops that are closed, in forks; and uses that are wrong."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import mesh
import mesh.aio
from tests.aio.clients.conftest import Desk, Run, until
from tests.helpers.processes import PATIENCE, ROOT, Process, eventually

TIMEOUT = 20.0
PROGRAM = Path(__file__).parent / "programs" / "ends.py"


def test_one_loop_after_the_other(run: Run, endpoint: str) -> None:
    client = mesh.aio.connect(endpoint, timeout=TIMEOUT)

    async def main(number: int) -> list[int]:
        assert await client.echo(number) == number
        return [item async for item in client.count(3)]

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    assert run(main(0)) == [0, 1, 2]
    with_one = descriptors()
    for number in range(1, 6):
        assert run(main(number)) == [0, 1, 2]
    # Those of the loop before are closed when the next one begins, in a thread.
    eventually(lambda: descriptors() < with_one + 8, what="those of closed loops to be closed")
    client.close()


def test_loops_in_threads_at_once(endpoint: str) -> None:
    client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
    got: list[int] = []

    async def main(number: int) -> None:
        got.extend(await asyncio.gather(*[client.echo(number) for _ in range(20)]))
        await asyncio.sleep(0.05)
        got.extend(await asyncio.gather(*[client.echo(number) for _ in range(20)]))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert Counter(got) == dict.fromkeys(range(5), 40)
    client.close()


def test_close_from_another_thread(run: Run, desk: Desk, endpoint: str) -> None:
    client = mesh.aio.connect(endpoint, timeout=TIMEOUT)

    async def main() -> None:
        call = asyncio.create_task(client.slow(30))
        while not desk.begun:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(client.close)
        with pytest.raises(mesh.LostRemote, match="the client was closed"):
            await call

    run(main())


def test_a_closed_loop_with_a_stream_open(endpoint: str) -> None:
    """As a program does that stops its loop in the midst."""
    client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        stream = await client.blocked()
        assert await anext(stream) == 1
        return stream

    stream = loop.run_until_complete(begin())
    loop.close()

    async def go_on() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await anext(stream)
        await stream.aclose()
        assert await client.echo(1) == 1

    asyncio.run(go_on())
    client.close()


def test_a_stream_belongs_to_its_loop(endpoint: str) -> None:
    client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin() -> Any:
        stream = await client.blocked()
        assert await anext(stream) == 1
        return stream

    async def go_on(stream: Any) -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await anext(stream)

    stream = first.run_until_complete(begin())
    second.run_until_complete(go_on(stream))
    assert second.run_until_complete(client.echo(1)) == 1, "calls have connections in each"
    first.run_until_complete(stream.aclose())
    client.close()
    first.close()
    second.close()


def test_a_call_without_a_loop_says_what_to_do(endpoint: str) -> None:
    client = mesh.aio.connect(endpoint)
    with pytest.raises(RuntimeError, match=r"'echo' was called where no event loop .* or use mesh\.connect"):
        client.echo(1).send(None)
    client.close()


def test_a_client_that_is_dropped_closes_its_connections(run: Run, endpoint: str) -> None:
    async def main() -> None:
        client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
        await client.echo(1)
        session = client._target.connections.of(asyncio.get_running_loop())
        assert session is not None and not session.closed
        del client
        gc.collect()
        await until(lambda: session.closed, "the end of its connections")

    run(main())


def test_one_that_is_dropped_after_its_loop_closes_them_too(run: Run, endpoint: str) -> None:
    kept = []

    async def main() -> None:
        client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
        await client.echo(1)
        kept.append(client._target.connections.of(asyncio.get_running_loop()))

    run(main())
    gc.collect()
    eventually(lambda: kept[0].closed, what="the end of the connections")


def test_the_watchdog_may_come_at_any_moment(run: Run, endpoint: str) -> None:
    """It stands in all the time here, beside a loop that turns."""
    ended = threading.Event()

    def stand_in(near: Any) -> None:
        while not ended.is_set():
            with near.lock:
                near.stand_in(time.monotonic())
            near.overdue(time.monotonic())
            time.sleep(0.0001)

    async def use(client: Any, number: int) -> None:
        for turn in range(40):
            assert await client.keywords(number, two=turn) == [number, turn]
            assert [item async for item in client.count(30)] == list(range(30))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.0005):
                    await client.echo("perhaps given up")

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            near = client._target.connections.of(asyncio.get_running_loop())
            assert near is not None
            thread = threading.Thread(target=stand_in, args=(near,))
            thread.start()
            try:
                await asyncio.gather(*[use(client, number) for number in range(20)])
            finally:
                ended.set()
                await asyncio.to_thread(thread.join)
            assert not near.session.calls and not near.session.unsent

    run(main())


def test_a_call_from_another_thread(run: Run, endpoint: str) -> None:
    """By asyncio's own way."""

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            loop = asyncio.get_running_loop()

            def elsewhere() -> Any:
                return asyncio.run_coroutine_threadsafe(client.echo(1), loop).result(PATIENCE)

            assert await asyncio.to_thread(elsewhere) == 1

    run(main())


def test_calls_leave_nothing(run: Run, endpoint: str) -> None:
    def census() -> Counter[str]:
        gc.collect()
        kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
        ours = ("mesh.aio", "mesh.core.client", "mesh.transport.client", "_asyncio", "asyncio")
        return Counter({kind: number for kind, number in kinds.items() if kind.startswith(ours)})

    async def use(client: Any) -> None:
        await asyncio.gather(*[client.echo(n) for n in range(50)])
        assert [item async for item in client.count(20)] == list(range(20))
        async for _ in client.count(1_000):
            break
        with pytest.raises(NameError):
            await client.nothing()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.slow(0.3), 0.001)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            for _ in range(3):
                await use(client)
            await asyncio.sleep(0.1)
            before = census()
            for _ in range(20):
                await use(client)

            def left() -> dict[str, int]:
                return {kind: n for kind, n in (census() - before).items() if n > 3}

            await until(lambda: not left(), lambda: str(left()))

    run(main())


@pytest.mark.parametrize("way", ["unclosed", "open", "stopped", "fork", "exit", "thread"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_programs_end_without_a_word(endpoint: str, way: str, loop: str) -> None:
    """Whatever of their clients and calls is still open; in the mode that tells everything."""
    environment = {"PYTHONDEVMODE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, PROGRAM, way, loop, endpoint]
    with Process(command, env=environment, fresh=True) as program:
        assert program.wait() == 0, program.describe()
        assert program.stdout == "done\n"
        told = [line for line in program.stderr.splitlines() if not line.startswith("Executing ")]
        assert told == []


def test_without_descriptors_it_is_told_and_what_is_open_goes_on(endpoint: str) -> None:
    program = PROGRAM.with_name("descriptors.py")
    environment = {"PYTHONPATH": str(ROOT)}
    with Process([sys.executable, program, endpoint], env=environment, fresh=True) as process:
        assert process.wait() == 0, process.describe()
        assert process.stdout == "done\n"
