"""Sends jobs or events in ways that a test can't in its own process: `sends.py WAY ENDPOINT`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

WAY, ENDPOINT = sys.argv[1:]
if WAY == "patched":
    from gevent import monkey

    monkey.patch_all()

import mesh  # noqa: E402

COUNT = 500
LARGE = 200


def ends() -> None:
    """The program ends without another word right after it has sent what no system's buffer holds."""
    many = mesh.Pusher(ENDPOINT, queue_size=LARGE)
    for number in range(LARGE):
        many.job(number, b"x" * 50_000)
    print("sent", flush=True)


def threads() -> None:
    def send(first: int) -> None:
        for number in range(first, first + COUNT):
            pusher.job(number)

    each = [threading.Thread(target=send, args=(n * COUNT,)) for n in range(8)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()


def forks() -> None:
    pusher.job("before")
    pid = os.fork()
    pusher.job("child" if pid == 0 else "parent")
    pusher.close()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print("fine", flush=True)


def forks_bound() -> None:
    bound = mesh.Publisher()
    bound.bind("tcp://127.0.0.1:*")
    subscriber = mesh.Subscriber(None, print)
    pid = os.fork()
    if pid == 0:
        wrong = 0
        for function in (bound.happened, subscriber.start):
            try:
                function()
            except mesh.MeshError as error:
                wrong += "before a fork" in str(error)
        os._exit(wrong)
    assert os.waitpid(pid, 0)[1] == 2 << 8
    bound.happened()
    subscriber.stop()
    print("fine", flush=True)


def interrupted() -> None:
    print("waiting", flush=True)
    try:
        mesh.Pusher("tcp://127.0.0.1:1", timeout=None).job()
    except KeyboardInterrupt:
        print("fine", flush=True)


WAYS: dict[str, Callable[[], None]] = {
    "ends": ends,
    "threads": threads,
    "patched": threads,
    "forks": forks,
    "forks_bound": forks_bound,
    "interrupted": interrupted,
}
pusher = mesh.Pusher(ENDPOINT, timeout=20.0)
WAYS[WAY]()
