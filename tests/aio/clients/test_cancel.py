"""Tasks that are cancelled while they wait for a call: its server is told, whatever it waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import mesh
import mesh.aio
from mesh.core import wire
from mesh.transport.client_endpoint import ClientEndpoint
from tests.aio.clients.conftest import Desk, Run, Serve, until
from tests.helpers.peers import nobody
from tests.helpers.processes import eventually
from tests.helpers.raw import RawServer

TIMEOUT = 20.0


def endpoint_of(client: mesh.aio.Client) -> ClientEndpoint:
    endpoint = client._target.connections.of(asyncio.get_running_loop())
    assert endpoint is not None
    return endpoint


def nothing_is_left(client: mesh.aio.Client) -> None:
    session = endpoint_of(client).session
    assert not session.calls and not session.unsent and not session.woken


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as one:
        yield one


async def came(server: RawServer) -> tuple[dict[str, Any], str]:
    """The next event at the server that is no mere heartbeat, as its header and name."""
    while True:
        await until(lambda: server.socket.poll(0), "an event")
        header, name, _ = server.receive()
        if name != wire.BEAT or "cancel" in header:
            return header, name


@pytest.mark.parametrize("how", ["cancel", "timeout", "group", "wait_for"])
def test_the_server_is_told(run: Run, server: RawServer, how: str) -> None:
    async def give_up(client: Any) -> None:
        if how == "timeout":
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.2):
                    await client.slow()
            assert not isinstance(caught.value, mesh.MeshError)
        elif how == "wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.slow(), 0.2)
        elif how == "group":
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(client.slow())
                    await until(lambda: server.socket.poll(0))
                    raise ZeroDivisionError
        else:
            task = asyncio.create_task(client.slow())
            await until(lambda: server.socket.poll(0))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            await asyncio.create_task(until(lambda: endpoint_of(client).session.connected(0.0)))
            await give_up(client)
            nothing_is_left(client)
            request, name = await came(server)
            assert name == "slow"
            told, name = await came(server)
            assert (name, told["cancel"], told["response_to"]) == (wire.BEAT, True, request["message_id"])

    run(main())


def test_one_that_waits_in_the_queue_is_never_carried_out(run: Run, desk: Desk, serve: Serve) -> None:
    endpoint = serve(desk, pool_size=1)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            first = asyncio.create_task(client.slow(0.5, "first"))
            await until(lambda: desk.begun)
            second = asyncio.create_task(client.slow(0, "second"))
            await asyncio.sleep(0.05)
            second.cancel()
            assert await first == "first"
            assert await client.slow(0, "last") == "last"
            assert desk.begun == ["first", "last"]

    run(main())


def test_one_that_has_not_begun_is_never_sent(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            await client.echo(1)
            task = asyncio.create_task(client.slow(0, "never"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            client.slow(0, "never").close()
            await client.slow(0, "last")
            assert desk.begun == ["last"]

    run(main())


def test_one_that_waits_for_a_connection(run: Run) -> None:
    async def main() -> None:
        async with mesh.aio.connect(nobody(), timeout=TIMEOUT) as client:
            calls = [client.echo(1), client.keywords(1, two=2), client.with_options(retries=5).echo(1)]
            tasks = [asyncio.create_task(call) for call in calls]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 3
            nothing_is_left(client)

    run(main())


def test_one_that_waits_for_the_next_attempt(run: Run, server: RawServer) -> None:
    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            task = asyncio.create_task(client.with_options(retries=50).slow())
            for _ in range(6):
                request, _ = await came(server)
                header = {"message_id": b"r", "v": 3, "response_to": request["message_id"], "refused": True}
                server.send(header, "ERR", ["Overloaded", "its queue is full", ""])
            await until(lambda: not endpoint_of(client).session.calls)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            nothing_is_left(client)

    run(main())


def test_an_answer_that_comes_with_the_cancelling_is_dropped(run: Run, server: RawServer) -> None:
    """The task is cancelled and has not gone on yet when its answer is taken in."""

    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            task: asyncio.Task[Any] = asyncio.create_task(client.slow())
            request, _ = await came(server)
            task.cancel()
            endpoint = endpoint_of(client)
            server.send({"message_id": b"r", "v": 3, "response_to": request["message_id"]}, "OK", [1])
            eventually(lambda: endpoint.links.current[0].dealer.readable())
            endpoint._pump.run()
            nothing_is_left(client)
            assert not task.done()
            with pytest.raises(asyncio.CancelledError):
                await task
            nothing_is_left(client)

    run(main())


def test_gather_that_fails_leaves_the_others(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            with pytest.raises(KeyError):
                await asyncio.gather(client.fail("x"), client.slow(0.2, "goes on"))
            await until(lambda: not endpoint_of(client).session.calls)

    run(main())


@pytest.mark.parametrize("how", ["break", "aclose", "drop", "with", "raise", "cancel", "timeout"])
def test_a_stream_that_is_left(run: Run, desk: Desk, endpoint: str, how: str) -> None:
    async def leave(client: Any) -> None:
        if how == "break":
            async for _ in client.ticks():
                break
        elif how == "raise":
            with pytest.raises(ZeroDivisionError):
                async for _ in client.ticks():
                    raise ZeroDivisionError
        elif how == "aclose":
            stream = await client.ticks()
            assert await anext(stream) == 0
            await stream.aclose()
            await stream.aclose()
        elif how == "with":
            async with await client.ticks() as stream:
                assert await anext(stream) == 0
        elif how == "drop":
            stream = await client.ticks()
            assert await anext(stream) == 0
            del stream
        else:
            await leave_while_it_waits(client)

    async def leave_while_it_waits(client: Any) -> None:
        stream = aiter(client.blocked())
        assert await anext(stream) == 1
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(stream)
        else:
            task: asyncio.Task[Any] = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            await leave(client)
            await until(lambda: desk.ended, "the end of the generator")
            await until(lambda: not endpoint_of(client).session.calls)
            assert await client.echo(1) == 1

    run(main())


def test_a_stream_that_is_left_before_it_began_is_not_asked_for(run: Run, desk: Desk, endpoint: str) -> None:
    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT) as client:
            stream = aiter(client.ticks())
            await stream.aclose()  # type: ignore[attr-defined]
            assert await client.echo(1) == 1
            assert desk.begun == []

    run(main())
