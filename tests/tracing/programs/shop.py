"""A client and two servers in one process, which do what the arguments say. Run with MESH_TRACE."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

import mesh
import mesh.aio
from mesh.transport import recording

# What is told as a program ends is tested by most, and not how soon: a busy machine takes its time.
recording.LEAVE = float(os.environ.get("LEAVE", "5"))  # type: ignore[misc]


class Stock:
    def take(self, item: str) -> str:
        if item == "bad":
            raise KeyError(item)
        return item

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class Orders:
    def __init__(self, stock: str) -> None:
        self.stock = mesh.connect(stock)

    def place(self, item: str) -> str:
        with mesh.span("pack", item=item):
            return self.stock.take(item)


def shop() -> Any:
    stock = mesh.Server(Stock(), name="stock")
    orders = mesh.Server(Orders(stock.bind("tcp://127.0.0.1:*")), name="orders")
    endpoint = orders.bind("tcp://127.0.0.1:*")
    stock.start()
    orders.start()
    return mesh.connect(endpoint)


def calls() -> None:
    client = shop()
    with mesh.trace(user=42) as span:
        client.place("tea")
    print(span.trace_id, flush=True)
    try:
        client.place("bad")
    except KeyError as exc:
        print(getattr(exc, "trace_id", None), flush=True)


def forks() -> None:
    client = shop()
    client.place("tea")
    pid = os.fork()
    if not pid:
        with mesh.trace() as span:
            shop().place("of the child")
        print("child", span.trace_id, flush=True)
        sys.exit()
    os.waitpid(pid, 0)
    with mesh.trace() as span:
        client.place("of the parent")
    print("parent", span.trace_id, flush=True)


def waits() -> None:
    """Until it is told to end, by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    client = shop()
    with mesh.trace() as span:
        client.place("tea")
    print(span.trace_id, flush=True)
    while True:
        time.sleep(0.05)


def goes_on() -> None:
    """Calls all the time, one after another."""
    client = shop()
    while True:
        client.place("tea")
        time.sleep(0.005)


def lonely() -> None:
    """A program that serves nothing, and calls what is not there."""
    print("calls", flush=True)
    mesh.connect(sys.argv[2], timeout=60).send("a letter")


def handlers() -> None:
    """With handlers of the log that raise, and print."""

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a handler of the log has raised")

    logging.getLogger("mesh.trace").addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger("mesh.trace").addHandler(Raises())
    calls()


def blocks() -> None:
    """With a handler of the log that does not come back before 200 traces have been made meanwhile."""
    blocked, made = threading.Event(), threading.Event()

    class Blocks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            blocked.set()
            made.wait()

    logging.getLogger("mesh.trace").addHandler(Blocks())
    client, count = shop(), 0
    while count < 200:
        with mesh.trace() as span:
            client.place("tea")
        count += blocked.is_set()
    made.set()
    print(span.trace_id, flush=True)


def large() -> None:
    """With tags that fill a batch by a few records."""
    shop()
    for _ in range(100):
        with mesh.trace(**{f"tag {tag}": "x" * 1_000 for tag in range(64)}) as span:
            pass
    print(span.trace_id, flush=True)


def events() -> None:
    pushed = []
    puller = mesh.Puller(None, {"job": pushed.append})
    endpoint = puller.bind("tcp://127.0.0.1:*")
    puller.start()
    pusher = mesh.Pusher(endpoint)
    with mesh.trace() as span:
        pusher.job(1)
    while not pushed:
        time.sleep(0.01)
    puller.stop()
    print(span.trace_id, flush=True)


def failing_events() -> None:
    """Jobs whose handlers raise: of a puller in a greenlet, and of one in asyncio."""

    def job(number: int) -> None:
        raise KeyError(f"job {number}")

    async def late_job(number: int) -> None:
        await asyncio.sleep(0)
        job(number)

    puller = mesh.Puller(None, {"job": job})
    plain = mesh.Pusher(puller.bind("tcp://127.0.0.1:*"))
    puller.start()

    async def main() -> None:
        late = mesh.aio.Puller(None, {"job": job, "late_job": late_job})
        pusher = mesh.Pusher(late.bind("tcp://127.0.0.1:*"))
        async with late:
            with mesh.trace() as span:
                plain.job(1)
                pusher.job(2)
                pusher.late_job(3)
            await asyncio.sleep(0.3)
        print(span.trace_id, flush=True)

    asyncio.run(main())


def registered() -> None:
    """A worker of the hub at the second argument."""
    server = mesh.Server(Stock(), name="stock")
    server.register("stock", sys.argv[2])
    server.start()
    print("registered", flush=True)
    while True:
        time.sleep(0.05)


def calls_of() -> None:
    """One call of what is at the second argument."""
    client = mesh.connect(sys.argv[2])
    with mesh.trace() as span:
        client.take("tea")
    print(span.trace_id, flush=True)


def _one_call() -> None:
    with mesh.trace() as span:
        shop().place("tea")
    print(span.trace_id, flush=True)


def children() -> None:
    for method in ("fork", "forkserver"):
        child = multiprocessing.get_context(method).Process(target=_one_call)
        child.start()
        child.join()


def odd_tags() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    shop()
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    try:
        with mesh.trace() as trace:
            with mesh.span("odd", raises=Odd(), large=10**5000, deep=deep, none=None):
                pass
            with mesh.span("many") as span:
                span.tags.update({f"tag {number}": number for number in range(100)})
            raise KeyError("the program's own")
    except KeyError:
        print(trace.trace_id, flush=True)


def calls_in_handler() -> None:
    client, puller = shop(), mesh.Puller(None, {"job": str})
    pusher = mesh.Pusher(puller.bind("tcp://127.0.0.1:*"))
    puller.start()

    class Calls(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            client.place("of the handler")
            pusher.job("of the handler")

    logging.getLogger("mesh.trace").addHandler(Calls())
    with mesh.trace() as span:
        client.place("tea")
    print(span.trace_id, flush=True)
    time.sleep(1.0)


def child_leaves() -> None:
    shop()
    with mesh.trace() as span:
        pid = os.fork()
        if not pid:
            sys.exit(3)
        os.waitpid(pid, 0)
    print(span.trace_id, flush=True)


def coroutines() -> None:
    class Items:
        async def take(self, item: str) -> str:
            await asyncio.sleep(0)
            return item

    async def main() -> None:
        async with mesh.aio.Server(Items(), name="items") as server:
            client = mesh.aio.connect(server.bind("tcp://127.0.0.1:*"))
            with mesh.trace() as span:
                await client.take("tea")
            print(span.trace_id, flush=True)
            client.close()

    asyncio.run(main())


def many() -> None:
    client = shop()
    for number in range(int(sys.argv[2])):
        with mesh.trace():
            client.place(str(number))
    print("done", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
