"""Calls of a client for asyncio, on both loops."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
import warnings
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

import mesh
import mesh.aio
from mesh.aio.loop import AsyncioLoop
from tests.aio.clients.conftest import Desk, Run, Serve, until
from tests.helpers.peers import nobody

TIMEOUT = 20.0


def test_the_ways_to_call(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert await desk.echo(42) == 42
            assert await desk("echo", "by name") == "by name"
            assert await desk.keywords(1, two=2) == [1, 2]
            assert [item async for item in desk.count(5)] == [0, 1, 2, 3, 4]
            stream = await desk.count(3)
            assert [item async for item in stream] == [0, 1, 2]
            assert await desk.with_options(timeout=5, retries=2, idempotent=True).echo(1) == 1

    run(main())


def test_many_at_once(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert await asyncio.gather(*[desk.echo(n) for n in range(200)]) == list(range(200))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(desk.echo(n)) for n in range(200)]
            assert [task.result() for task in tasks] == list(range(200))
            assert await asyncio.wait_for(desk.echo(1), TIMEOUT) == 1
            slow = [asyncio.create_task(desk.slow(0.3, n)) for n in range(50)]
            done, _ = await asyncio.wait(slow)
            assert {task.result() for task in done} == set(range(50))

    run(main())


def test_ten_thousand_in_one_gather(run: Run, endpoint: str) -> None:
    async def main() -> int:
        async with mesh.aio.connect(endpoint, timeout=2 * TIMEOUT) as desk:
            return sum(await asyncio.gather(*[desk.echo(n) for n in range(10_000)]))

    assert run(main()) == sum(range(10_000))


def test_what_a_handler_raises(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            with pytest.raises(KeyError) as caught:
                await desk.fail("x")
            assert isinstance(caught.value, mesh.RemoteError)
            assert "The remote traceback" in caught.value.__notes__[0]
            with pytest.raises(mesh.MethodNotFound):
                await desk.nothing()
            with pytest.raises(TypeError, match=r"args\[0\]"):
                await desk.echo(object())

    run(main())


def test_one_that_is_not_awaited_is_told_by_its_name(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                desk.echo(1)
                gc.collect()
            assert [str(one.message) for one in caught] == ["coroutine 'echo' was never awaited"]

    run(main())


def test_a_call_is_awaited_once(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            call = desk.echo(1)
            assert inspect.isawaitable(call) and asyncio.iscoroutine(call)
            assert repr(call) == "<call of 'echo', to be awaited>"
            assert await call == 1
            with pytest.raises(RuntimeError, match="already awaited"):
                await call

    run(main())


def test_names_that_are_no_remote_methods(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert "echo" in await desk._zerorpc_list()
            with pytest.raises(AttributeError):
                _ = desk._private
            with pytest.raises(TypeError, match="must be str, not int"):
                desk(1)
            assert repr(desk) == f"<mesh.aio client of {endpoint}>"
            assert repr(desk.echo) == f"<remote method 'echo' of <mesh.aio client of {endpoint}>>"

    run(main())


def test_with_is_for_the_other_client(endpoint: str) -> None:
    client: Any = mesh.aio.connect(endpoint)
    with pytest.raises(TypeError, match="`async with`"), client:
        pass
    client.close()


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(mesh.ConfigError, match="timeout"):
        mesh.aio.connect("tcp://127.0.0.1:1", timeout=-1)
    with pytest.raises(mesh.ConfigError, match="heartbeat"):
        mesh.aio.connect("tcp://127.0.0.1:1", heartbeat=True)
    with pytest.raises(mesh.ServiceNotFound):
        mesh.aio.connect("nobody-knows-it")
    with pytest.raises(mesh.ConfigError, match="retries"):
        mesh.aio.connect("tcp://127.0.0.1:1").with_options(retries=-1)


def test_timeouts(run: Run, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=0.2) as desk:
            await desk.with_options(timeout=TIMEOUT).echo(1)
            with pytest.raises(mesh.TimeoutExpired, match=r"no answer from .* after 0\.2 s") as caught:
                await desk.slow(60)
            assert isinstance(caught.value, TimeoutError) and not caught.value.refused
        async with mesh.aio.connect(nobody(), timeout=0.2) as desk:
            with pytest.raises(mesh.TimeoutExpired, match=r"could not be sent after 0\.2 s") as caught:
                await desk.echo(1)
            assert caught.value.refused

    run(main())


def test_closing_ends_what_is_open(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        client = mesh.aio.connect(endpoint, timeout=TIMEOUT)
        call = asyncio.create_task(client.slow(60, "open"))
        stream = client.ticks(60)
        assert await anext(aiter(stream)) == 0
        waiting = asyncio.create_task(mesh.aio.connect(nobody(), timeout=TIMEOUT).echo(1))
        await until(lambda: desk.begun.count("open"))
        client.close()
        with pytest.raises(mesh.LostRemote, match="the client was closed while 'slow' was open"):
            await call
        with pytest.raises(mesh.MeshError, match="closed; connect again"):
            await client.echo(1)
        client.close()
        waiting.cancel()

    run(main())


def test_a_call_that_waits_for_a_connection_ends_with_its_client(run: Run) -> None:
    async def main() -> None:
        client = mesh.aio.connect(nobody(), timeout=TIMEOUT)
        call = asyncio.create_task(client.echo(1))
        await asyncio.sleep(0.05)
        client.close()
        with pytest.raises(mesh.LostRemote, match="the client was closed"):
            await call

    run(main())


def test_within_a_process(run: Run, desk: Desk) -> None:
    server = mesh.Server(desk)
    name = server.bind(f"inproc://desk-{id(desk)}")

    async def main() -> None:
        async with mesh.aio.connect(name, timeout=TIMEOUT) as client:
            assert await client.echo(1) == 1
            assert [item async for item in client.count(300)] == list(range(300))

    with server:
        run(main())


def test_values_that_can_not_travel_by_themselves(run: Run, endpoint: str) -> None:
    class Point:
        x = 1

    async def main() -> None:
        encode = lambda value: {"x": value.x} if isinstance(value, Point) else NotImplemented  # noqa: E731
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, encode=encode) as desk:
            assert await desk.echo(Point()) == {"x": 1}

    run(main())


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_context_variables_stay_those_of_each_task(run: Run, endpoint: str) -> None:
    async def one(desk: Any, number: int) -> str:
        variable.set(f"of {number}")
        await desk.slow(0.01 * (number % 5), number)
        assert await desk.keywords(number, two=number) == [number, number]
        async for _ in desk.count(3):
            pass
        return variable.get()

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            assert await asyncio.gather(*[one(desk, n) for n in range(50)]) == [f"of {n}" for n in range(50)]
        assert variable.get() == "unset"

    run(main())


def test_a_loop_that_computes_loses_nobody(run: Run, desk: Desk, serve: Serve) -> None:
    """The watchdog gives the heartbeats, which the server would miss."""
    endpoint = serve(desk, heartbeat=0.2)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, heartbeat=0.2) as client:
            call = asyncio.create_task(client.slow(1.5, "late"))
            stream = client.ticks(0.05)
            assert await anext(aiter(stream)) == 0
            await until(lambda: "late" in desk.begun)
            time.sleep(1.2)  # a coroutine that computes
            assert await call == "late"

    run(main())


def test_it_looks_for_no_longer_than_a_moment(
    run: Run, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone call that takes long leaves the processor alone."""
    turns = 0
    idle = AsyncioLoop.idle

    def counted(self: AsyncioLoop, function: Any) -> Any:
        def look() -> None:
            nonlocal turns
            turns += 1
            function()

        return idle(self, look)

    monkeypatch.setattr(AsyncioLoop, "idle", counted)

    async def main() -> None:
        nonlocal turns
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as desk:
            await desk.echo(1)
            call = asyncio.create_task(desk.slow(0.6))
            await asyncio.sleep(0.3)
            turns = 0
            await call
            assert turns < 200

    run(main())


def test_names_come_from_the_registry(
    run: Run, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services.yml").write_text(f"desk: {{address: {endpoint}, timeout: 0.1}}\n")
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with mesh.aio.connect("desk") as desk:
            assert await desk.with_options(timeout=TIMEOUT).echo(1) == 1
            with pytest.raises(mesh.TimeoutExpired, match=r"after 0\.1 s"):
                await desk.slow(60)

    run(main())
