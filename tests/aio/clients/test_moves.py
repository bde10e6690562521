"""Services that move, stop, or have several servers, as a client of asyncio meets them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
import mesh.aio
from tests.aio.clients.conftest import Run, Serve, until
from tests.helpers.peers import nobody
from tests.helpers.raw import RawServer

TIMEOUT = 20.0


class Named:
    def __init__(self, name: str) -> None:
        self._name = name
        self.held = 0

    def who(self, amount: int = 0) -> str:
        return self._name

    def hold(self, seconds: float) -> str:
        self.held += 1
        gevent.sleep(seconds)
        return self._name


def write(registry: Path, text: str) -> None:
    """Replace the file in one step."""
    new = registry.with_suffix(".new")
    new.write_text(text)
    new.replace(registry)


def links_of(client: mesh.aio.Client) -> Any:
    endpoint = client._target.connections.of(asyncio.get_running_loop())
    assert endpoint is not None
    return endpoint.links


async def ready(client: mesh.aio.Client, number: int) -> None:
    await until(lambda: sum(link.live for link in links_of(client).current) == number, "the connections")


def test_calls_are_spread_over_several_servers(run: Run, serve: Serve) -> None:
    endpoints = [serve(Named("a")), serve(Named("b")), nobody()]

    async def main() -> None:
        async with mesh.aio.connect(endpoints, timeout=TIMEOUT) as client:
            await ready(client, 2)
            shares = Counter(await asyncio.gather(*[client.who() for _ in range(100)]))
            assert set(shares) == {"a", "b"} and min(shares.values()) >= 40

    run(main())


def test_a_client_moves_as_the_registry_changes(run: Run, serve: Serve, tmp_path: Path) -> None:
    registry, first = tmp_path / "services.yml", Named("first")
    first_at, second_at = serve(first), serve(Named("second"))
    write(registry, f"users: {first_at}\n")

    async def main() -> None:
        async with mesh.aio.connect("users", services=str(registry), timeout=TIMEOUT) as client:
            assert await client.who() == "first"
            held = asyncio.create_task(client.hold(1.5))
            await until(lambda: first.held)
            write(registry, f"users: {second_at}\n")
            names = []
            while "second" not in names:
                names.append(await client.who())
                await asyncio.sleep(0.02)
            assert await held == "first", "a call that was open ends where it began"
            await until(lambda: len(links_of(client).open) == 1, "the end of the old connection")

    run(main())


def test_a_call_that_waits_follows_its_service(run: Run, serve: Serve, tmp_path: Path) -> None:
    registry, there = tmp_path / "services.yml", serve(Named("new"))
    write(registry, f"users: {nobody()}\n")

    async def main() -> None:
        async with mesh.aio.connect("users", services=str(registry), timeout=TIMEOUT) as client:
            waiting = asyncio.create_task(client.who())
            await asyncio.sleep(0.3)
            write(registry, f"users: {there}\n")
            assert await waiting == "new"

    run(main())


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as one:
        yield one


async def request(server: RawServer) -> tuple[dict[str, Any], str]:
    await until(lambda: server.socket.poll(0), "a request")
    header, name, _ = server.receive()
    return header, name


def answer(server: RawServer, header: dict[str, Any], name: str, args: list[Any], **extra: Any) -> None:
    server.send({"message_id": b"r", "v": 3, "response_to": header["message_id"], **extra}, name, args)


def test_one_that_stops_is_connected_to_anew(run: Run, server: RawServer) -> None:
    """Behind its address may be another by now; here it is the same socket, by another connection."""

    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            call = asyncio.create_task(client.who())
            header, _ = await request(server)
            before = server.peer
            answer(server, header, "ERR", ["LostRemote", "the server is stopping", ""], refused=True)
            header, _ = await request(server)
            assert server.peer != before
            answer(server, header, "OK", ["well"])
            assert await call == "well"

    run(main())


def test_where_nobody_else_comes_the_refusal_is_told(run: Run, server: RawServer) -> None:
    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            call = asyncio.create_task(client.who())
            for _ in range(2):
                header, _ = await request(server)
                answer(server, header, "ERR", ["LostRemote", "the server is stopping", ""], refused=True)
            with pytest.raises(mesh.LostRemote, match="the server is stopping") as caught:
                await call
            assert caught.value.refused

    run(main())


def test_an_old_server_is_not_given_keyword_arguments(run: Run, server: RawServer) -> None:
    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            call = asyncio.create_task(client.who(amount=1))
            header, name = await request(server)
            assert (name, header["mesh"]) == ("_zerorpc_ping", 1)
            answer(server, header, "OK", ["pong"])
            with pytest.raises(TypeError, match="is an old zerorpc"):
                await call

    run(main())


def test_a_lost_call_is_tried_again_where_it_may_be(run: Run, server: RawServer) -> None:
    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            sure = client.with_options(retries=3, idempotent=True, key="k")
            call = asyncio.create_task(sure.who())
            for _ in range(2):
                header, _ = await request(server)
                assert header["idempotent"] is True and header["key"] == "k"
                answer(server, header, "ERR", ["LostRemote", "its worker is gone", ""], refused=False)
            header, _ = await request(server)
            answer(server, header, "OK", ["well"])
            assert await call == "well"

    run(main())


def test_calls_that_are_dealt_to_a_client_are_refused(
    run: Run, server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with mesh.aio.connect(server.endpoint, timeout=TIMEOUT) as client:
            call = asyncio.create_task(client.who())
            header, _ = await request(server)
            server.send({"message_id": b"mine", "v": 3}, "of_a_caller", [])
            refusal, name = await request(server)
            assert name == "ERR" and refusal["response_to"] == b"mine" and refusal["refused"] is True
            answer(server, header, "OK", [1])
            assert await call == 1

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "sends calls, not answers" in caplog.text
