"""Children that handlers start, and what they end with: `child_codes.py WAY`; prints the exit codes."""

from __future__ import annotations

import sys

WAY = sys.argv[1]
if WAY.startswith("patched"):
    import gevent
    from gevent import monkey

    monkey.patch_all()
    # gevent (26) does so with the first child, after the fork: one that ends sooner is never heard of.
    gevent.get_hub().loop.install_sigchld()

import multiprocessing  # noqa: E402
import os  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import mesh  # noqa: E402

ENDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: sys.exit(3),
    "text": lambda: sys.exit("why it has ended"),
    "raise": lambda: {}["missing"],
    "return": lambda: "to nobody",
    "cut off": lambda: os._exit(4),
}


def forked(how: str) -> Any:
    """The exit code of a child that ends so, in the handler that has forked it."""
    threading.current_thread()  # makes a dummy of it where `threading` does not know the thread
    pid = os.fork()
    if pid == 0:
        return ENDS[how]()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, 9)
    return "hangs"


def by_multiprocessing(code: int) -> int | None:
    threading.current_thread()
    child = multiprocessing.get_context("fork").Process(target=sys.exit, args=(code,))
    child.start()
    end = time.monotonic() + 20
    while child.is_alive() and time.monotonic() < end:
        time.sleep(0.005)
    return child.exitcode


def ask(endpoint: str) -> None:
    with mesh.connect(endpoint, timeout=60) as client:
        print("multiprocessing", [client.by_multiprocessing(code) for code in (0, 3)])
        print("forked", [client.forked(how) for how in ENDS], flush=True)


def of_a_server(threads: int, background: bool) -> None:
    server = mesh.Server({"forked": forked, "by_multiprocessing": by_multiprocessing}, threads=threads)
    endpoint = server.bind("tcp://127.0.0.1:*")
    if background:
        server.start()
        ask(endpoint)
        server.stop()
        return
    asker = threading.Thread(target=lambda: (ask(endpoint), server.stop()))
    asker.start()
    server.run()
    asker.join()


def of_a_puller(background: bool) -> None:
    def one(how: str) -> None:
        codes.append(forked(how))
        done.release()

    codes: list[Any] = []
    done = threading.Semaphore(0)
    puller = mesh.Puller(None, {"one": one})
    with mesh.Pusher(puller.bind("tcp://127.0.0.1:*")) as pusher:

        def push() -> None:
            for how in ENDS:
                pusher.one(how)
                assert done.acquire(timeout=60)
            puller.stop()

        if background:
            puller.start()
            push()
        else:
            asker = threading.Thread(target=push)
            asker.start()
            puller.run()
            asker.join()
    print("forked", codes, flush=True)


_, KIND, HOW = WAY.split("-")
if KIND == "puller":
    of_a_puller(HOW == "start")
else:
    of_a_server(int(KIND), HOW == "start")
