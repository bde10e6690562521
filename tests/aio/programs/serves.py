"""A program that serves with asyncio, in one of several ways, and says how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from functools import partial
from typing import Any

import mesh.aio
from tests.helpers.computing import compute_a_moment


class Service:
    def __init__(self) -> None:
        self.server: Any = None
        self.begun = asyncio.Event()

    def pid(self) -> int:
        return os.getpid()

    async def nap(self, seconds: float) -> str:
        print("napping", flush=True)
        self.begun.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
        return "rested"

    async def burn(self, seconds: float) -> str:
        print("napping", flush=True)
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            compute_a_moment()
        return "rested"

    async def stubborn(self) -> None:
        print("napping", flush=True)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("swallowed", flush=True)

    def fork(self, code: int) -> int:
        """The child comes to the end of this handler, in a loop that is the parent's."""
        pid = os.fork()
        if pid == 0:
            if code:
                raise SystemExit(code)
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def fork_async(self, code: int) -> int:
        await asyncio.sleep(0)
        return self.fork(code)

    async def stop(self) -> str:
        await self.server.stop()
        return "stopping"


def put_back() -> bool:
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def main(way: str) -> None:
    service = Service()
    server = service.server = mesh.aio.Server(service)
    print("serving", server.bind("tcp://127.0.0.1:*"), flush=True)
    if way == "serve":
        await server.serve()
    elif way == "short":
        await server.serve(drain=0.2)
    elif way == "inside":
        async with server:
            await server.serve()
            print("left the block", flush=True)
    elif way == "own":
        say = partial(print, "handled by the program", flush=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, say)
        await server.serve()
    elif way == "background":
        server.start()
        await asyncio.wait_for(service.begun.wait(), 30)
        return
    elif way == "two":
        other = mesh.aio.Server(Service(), name="other")
        other.bind("tcp://127.0.0.1:*")
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve())
            group.create_task(other.serve())
    print(f"ended, cut off {server.cut_off}, put back {put_back()}", flush=True)


def closed_loop() -> None:
    """Closes the loop while the server serves."""
    loop = asyncio.new_event_loop()
    service = Service()
    server = mesh.aio.Server(service)
    print("serving", server.bind("tcp://127.0.0.1:*"), flush=True)

    async def begin() -> None:
        server.start()
        await asyncio.wait_for(service.begun.wait(), 30)

    loop.run_until_complete(begin())
    loop.close()
    print("closed", flush=True)
    time.sleep(8)


logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
if sys.argv[1] == "closed":
    closed_loop()
elif "uvloop" in sys.argv[2:]:
    import uvloop

    uvloop.run(main(sys.argv[1]))
else:
    asyncio.run(main(sys.argv[1]))
