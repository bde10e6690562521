"""A program that has no file descriptors left for a while: `descriptors.py ENDPOINT`; prints `done`."""

from __future__ import annotations

import asyncio
import os
import resource
import sys

import mesh
import mesh.aio

ENDPOINT = sys.argv[1]


def allow(number):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, most))


async def another():
    async with mesh.aio.connect(ENDPOINT, timeout=20) as client:
        return await client.echo(2)


async def main():
    async with mesh.aio.connect(ENDPOINT, timeout=20) as client:
        assert await client.echo(1) == 1
        allow(len(os.listdir("/proc/self/fd")) + 1)
        files = []
        try:
            while True:
                files.append(os.dup(0))
        except OSError:
            pass
        assert await client.echo(1) == 1, "what is open goes on"
        try:
            await another()
        except mesh.MeshError as error:
            assert "no file descriptors left" in str(error)
        else:
            raise AssertionError("a connection without a descriptor")
        for file in files:
            os.close(file)
        allow(500)
        assert await another() == 2
    print("done")


asyncio.run(main())
