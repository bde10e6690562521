"""Sends jobs or events in ways that a test can't in its own process: `events_sent.py WAY ENDPOINT`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable

import mesh
from mesh.aio.events import Publisher, Pusher
from mesh.aio.receivers import Subscriber

WAY, ENDPOINT = sys.argv[1:]
COUNT = 500
LARGE = 200


def ends() -> None:
    """The program ends without another word right after it has sent what no system's buffer holds."""

    async def main() -> None:
        many = Pusher(ENDPOINT, queue_size=LARGE)
        kept.append(many)
        for number in range(LARGE):
            await many.job(number, b"x" * 50_000)

    kept: list[Pusher] = []
    asyncio.run(main())
    print("sent", flush=True)


def threads() -> None:
    """A loop in each of several threads."""

    async def send(first: int) -> None:
        for number in range(first, first + COUNT):
            await pusher.job(number)

    each = [threading.Thread(target=lambda n=n: asyncio.run(send(n * COUNT))) for n in range(8)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()


def forks() -> None:
    async def job(what: str) -> None:
        await pusher.job(what)

    asyncio.run(job("before"))
    pid = os.fork()
    asyncio.run(job("child" if pid == 0 else "parent"))
    asyncio.run(pusher.close())
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("fine", flush=True)


def forks_within() -> None:
    """A child of a running loop, in which a loop of its own begins."""

    async def main() -> None:
        await pusher.job("before")
        pid = os.fork()
        if pid == 0:
            thread = threading.Thread(target=lambda: asyncio.run(in_child()))
            thread.start()
            thread.join()
            os._exit(0)
        await pusher.job("parent")
        await asyncio.sleep(0.2)
        assert os.waitpid(pid, 0)[1] == 0
        await pusher.job("after")
        await pusher.close()

    async def in_child() -> None:
        await pusher.job("child")
        await pusher.close()

    asyncio.run(main())
    print("fine", flush=True)


def forks_bound() -> None:
    bound = Publisher()
    bound.bind("tcp://127.0.0.1:*")
    subscriber = Subscriber(None, print)

    async def publish() -> None:
        await bound.happened()

    async def receive() -> None:
        await subscriber.serve()

    pid = os.fork()
    if pid == 0:
        wrong = 0
        for function in (publish, receive):
            try:
                asyncio.run(function())
            except mesh.MeshError as error:
                wrong += "before a fork" in str(error)
        os._exit(wrong)
    assert os.waitpid(pid, 0)[1] == 2 << 8
    asyncio.run(publish())
    subscriber.stop()
    print("fine", flush=True)


def interrupted() -> None:
    async def main() -> None:
        print("waiting", flush=True)
        await Pusher("tcp://127.0.0.1:1", timeout=None).job()

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("fine", flush=True)


WAYS: dict[str, Callable[[], None]] = {
    "ends": ends,
    "threads": threads,
    "forks": forks,
    "forks_within": forks_within,
    "forks_bound": forks_bound,
    "interrupted": interrupted,
}
pusher = Pusher(ENDPOINT, timeout=20.0)
WAYS[WAY]()
