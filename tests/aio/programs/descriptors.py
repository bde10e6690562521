"""A program of asyncio that has no file descriptors left for a while, and serves and sends; prints `done`."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mesh
import mesh.aio
from mesh.transport import descriptors

SENDERS = (mesh.aio.Publisher, mesh.aio.Pusher)
ANY_PORT = "tcp://127.0.0.1:*"


@contextmanager
def none_left(spare: int) -> Iterator[None]:
    """But for so many."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, most))
    files = []
    try:
        while True:
            files.append(os.dup(0))
    except OSError:
        pass
    try:
        for file in files[:spare]:
            os.close(file)
        yield
    finally:
        for file in files[spare:]:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


class Service:
    def __init__(self) -> None:
        self.heard: list[int] = []

    async def echo(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def job(self, value: int) -> None:
        self.heard.append(value)


async def heard(service: Service, values: list[int]) -> None:
    async with asyncio.timeout(20):
        while service.heard != values:
            await asyncio.sleep(0.01)


MAKE: list[Callable[[], Any]] = [
    lambda: mesh.aio.Server(Service()),
    lambda: mesh.aio.Subscriber(None, Service()),
    lambda: mesh.aio.Puller(None, Service()),
    mesh.aio.Publisher,
    mesh.aio.Pusher,
]


async def listen(make: Callable[[], Any]) -> None:
    one = make()
    try:
        one.bind(ANY_PORT)
        if not isinstance(one, SENDERS):
            one.start()
    finally:
        await (one.close() if isinstance(one, SENDERS) else one.stop())


async def refused(make: Callable[[], Any]) -> int:
    """How often it can't listen, with ever more descriptors left; it says why, and nothing else is wrong."""
    count = 0
    for spare in range(20):
        with none_left(spare):
            try:
                await listen(make)
            except mesh.MeshError as error:
                assert "file descriptor" in str(error) and "(`ulimit -n`)" in str(error), error
                count += 1
    return count


async def main() -> None:
    # The first of all, so that neither ZeroMQ nor the thread that looks after its socket has begun.
    assert 0 < await refused(mesh.aio.Publisher) < 20
    service = Service()
    async with mesh.aio.Server(service) as serving, mesh.aio.Puller(None, service) as puller:
        endpoint, jobs = serving.bind(ANY_PORT), puller.bind(ANY_PORT)
        async with mesh.aio.connect(endpoint, timeout=20) as client, mesh.aio.Pusher(jobs) as pusher:
            assert await client.echo(1) == 1
            await pusher.job(1)
            with none_left(0):
                assert await client.echo(2) == 2, "what is open goes on"
                await pusher.job(2)
                await heard(service, [1, 2])
            before = descriptors.free(1_000_000)
            for make in MAKE:
                assert 0 < await refused(make) < 20
            async with mesh.aio.connect(endpoint, timeout=20) as another:
                assert await another.echo(3) == 3
            async with asyncio.timeout(20):
                while descriptors.free(1_000_000) < before:
                    await asyncio.sleep(0.01)
    print("done")


asyncio.run(main())
