"""Programs that end with something of a client still open: `ends.py WAY LOOP ENDPOINT`; they print `done`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings

import uvloop

import mesh.aio

WAY, LOOP, ENDPOINT = sys.argv[1:4]
FACTORY = uvloop.new_event_loop if LOOP == "uvloop" else None
client = mesh.aio.connect(ENDPOINT, timeout=20)


def run(main):
    with asyncio.Runner(loop_factory=FACTORY) as runner:
        return runner.run(main)


async def unclosed():
    assert await client.echo(1) == 1
    stream = await client.ticks()
    assert await anext(stream) == 0
    print("done")


async def left_open():
    assert await client.echo(1) == 1
    tasks = [asyncio.create_task(client.slow(0.5, n)) for n in range(10)]
    tasks.append(asyncio.create_task(client.with_options(retries=3).keywords(1, two=2)))
    await asyncio.sleep(0.01)
    print("done", flush=True)
    assert tasks


async def leaves():
    task = asyncio.create_task(client.slow(0.5))
    await asyncio.sleep(0.01)
    print("done", flush=True)
    assert task
    sys.exit(0)


async def forks():
    assert await client.echo(1) == 1
    stream = client.ticks()
    assert await anext(aiter(stream)) == 0
    call = asyncio.create_task(client.slow(0.3, "of the parent"))
    await asyncio.sleep(0.05)
    with warnings.catch_warnings():  # Python warns of forks beside threads, as that of the watchdog is
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        code = 1
        try:
            code = in_the_child()
        finally:
            os._exit(code)
    status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 0
    assert await call == "of the parent"
    assert await client.echo(2) == 2
    print("done")


def in_the_child():
    async def main():
        assert await client.echo(3) == 3
        return [item async for item in client.count(3)]

    return 0 if run(main()) == [0, 1, 2] else 2


def stopped():
    """A loop that is closed with a task in it."""
    loop = FACTORY() if FACTORY else asyncio.new_event_loop()
    assert loop.run_until_complete(one_call()) == 1
    loop.close()
    client.close()
    print("done")


async def one_call():
    return await client.echo(1)


def in_a_thread():
    thread = threading.Thread(target=lambda: run(unclosed()))
    thread.start()
    thread.join()


WAYS = {
    "unclosed": lambda: run(unclosed()),
    "open": lambda: run(left_open()),
    "stopped": stopped,
    "fork": lambda: run(forks()),
    "exit": lambda: run(leaves()),
    "thread": in_a_thread,
}
WAYS[WAY]()
