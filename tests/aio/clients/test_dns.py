"""Clients of asyncio that find their servers through DNS."""

from __future__ import annotations

import asyncio
import time

import pytest

import mesh
import mesh.aio
from tests.aio.clients.conftest import Run, Serve, until
from tests.helpers.dns_fixtures import NAME, dns
from tests.helpers.dns_users import Users, port_of
from tests.helpers.lying_dns import LyingServer

__all__ = ["dns"]
TIMEOUT = 20.0


def test_servers_come_and_go_without_a_call_lost(run: Run, serve: Serve, dns: LyingServer) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"a.mesh.test:{a}")

    async def main() -> None:
        async with mesh.aio.connect("users", timeout=TIMEOUT) as client:
            assert await client.who() == "a"
            held = asyncio.create_task(client.hold(1.5))
            await asyncio.sleep(0.1)
            dns.service(NAME, f"b.mesh.test:{b}")
            names: set[str] = set()
            while "b" not in names:
                names.add(await client.who())
            assert await held == "a"

    run(main())


def test_a_client_that_only_reads_a_stream_moves_too(run: Run, serve: Serve, dns: LyingServer) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"a.mesh.test:{a}")

    async def main() -> None:
        async with mesh.aio.connect("users", timeout=TIMEOUT) as client:
            items, moved = [], False
            async for item in client.ticks(1000):
                items.append(item)
                if item == 0:
                    dns.service(NAME, f"b.mesh.test:{b}")
                    endpoint = client._target.connections.of(asyncio.get_running_loop())
                    assert endpoint is not None
                    links = endpoint.links
                moved = moved or any(one.live and one.endpoint.endswith(b) for one in links.current)
                if moved:
                    break
            assert moved and items == list(range(len(items)))

    run(main())


def test_no_loop_waits_for_a_name_server(run: Run, serve: Serve, dns: LyingServer) -> None:
    dns.silent = True
    other_at = serve(Users("other"))

    async def main() -> None:
        async with mesh.aio.connect(other_at, timeout=TIMEOUT) as other:
            assert await other.who() == "other"
            began = time.monotonic()
            async with mesh.aio.connect("users", timeout=TIMEOUT) as client:
                call = asyncio.create_task(client.who())
                gaps = [time.monotonic() - began]
                for _ in range(50):
                    began = time.monotonic()
                    await asyncio.sleep(0.01)
                    gaps.append(time.monotonic() - began)
                    assert await other.who() == "other"
                assert max(gaps) < 0.5, "a name server that is silent holds its asker for seconds"
                with pytest.raises(mesh.ServiceNotFound, match=r"can't tell: .* does not answer"):
                    await call

    run(main())


def test_a_name_that_nobody_has(run: Run, dns: LyingServer) -> None:
    async def main() -> None:
        async with mesh.aio.connect("nobody", timeout=TIMEOUT) as client:
            with pytest.raises(mesh.ServiceNotFound, match="DNS \\(_nobody"):
                await client.who()
            with pytest.raises(mesh.ServiceNotFound):
                async for _ in client.ticks(1):
                    pass
            dns.put("_nobody._tcp.mesh.test", "SRV", "1 1 1 .")
            await until(lambda: dns.times_asked("_nobody._tcp.mesh.test") >= 2, "another look")

    run(main())
