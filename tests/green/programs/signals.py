"""A program of one's own that serves, for signals: `signals.py WAY`; says what came of it."""

from __future__ import annotations

import sys

WAY = sys.argv[1]
if WAY.startswith("patched"):
    from gevent import monkey

    monkey.patch_all()

import multiprocessing  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

import mesh  # noqa: E402
from tests.helpers.computing import compute_a_moment  # noqa: E402

BEFORE = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def put_back() -> bool:
    return all(signal.getsignal(number) == before for number, before in BEFORE.items())


def nap(seconds: float) -> str:
    """Also where a handler must not wait for the loop, as in a native thread."""
    print("napping", flush=True)
    gevent.sleep(seconds) if not WAY.endswith("threads") else time.sleep(seconds)
    return "rested"


def burn(seconds: float) -> str:
    print("napping", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compute_a_moment()
    return "rested"


def terminated() -> list[int | None]:
    """What children end with that are told to, at once and in the midst of something."""
    codes = []
    for pause in (0.0, 0.0, 0.0, 0.1):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(pause)
        child.terminate()
        child.join(20)
        codes.append(child.exitcode)
    return codes


def make() -> mesh.Server:
    handlers = {"nap": nap, "burn": burn, "terminated": terminated}
    server = mesh.Server(handlers, threads=2 if WAY.endswith("threads") else 0)
    print("serving", server.bind("tcp://127.0.0.1:*"), flush=True)
    return server


def run(**options: Any) -> None:
    make().run(**options)
    print("ended, put back", put_back(), flush=True)


def in_a_greenlet() -> None:
    """The program ends when what it has begun ends."""
    gevent.joinall([gevent.spawn(make().run), gevent.spawn(mesh.Puller(None, {"job": print}).run)])
    print("ended, put back", put_back(), flush=True)


def beside_a_main_that_goes_on() -> None:
    gevent.spawn(run)
    try:
        while True:
            gevent.sleep(0.1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


def in_a_thread() -> None:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


def with_a_handler_of_its_own() -> None:
    """SIGTERM is the program's, SIGINT is nobody's."""

    def on_term(number: int, frame: Any) -> None:
        print("its own", flush=True)
        server.stop()

    server = make()
    BEFORE[signal.SIGTERM] = on_term
    signal.signal(signal.SIGTERM, on_term)
    server.run()
    print("ended, put back", put_back(), flush=True)


def with_a_handler_of_gevent() -> None:
    """Of which Python knows nothing."""
    server = make()
    for number in BEFORE:
        gevent.signal_handler(number, lambda: (print("its own", flush=True), server.stop()))
    server.run()
    print("ended, put back", put_back(), flush=True)


def with_another_in_a_block() -> None:
    with mesh.Server({"one": lambda: 1}) as other:
        other.bind("tcp://127.0.0.1:*")
        run()
    print("left the block", flush=True)


def block() -> None:
    """In the background: Ctrl-C leaves the block, which drains."""
    try:
        with make():
            time.sleep(60)
    except KeyboardInterrupt:
        print("ended, put back", put_back(), flush=True)


def of_a_puller() -> None:
    puller = mesh.Puller(None, {"nap": lambda seconds: print(nap(seconds), flush=True)})
    print("serving", puller.bind("tcp://127.0.0.1:*"), flush=True)
    puller.run()
    print("ended, put back", put_back(), flush=True)


WAYS = {
    "run": run,
    "threads": run,
    "off": lambda: run(signals=False),
    "short": lambda: run(drain=0.2),
    "greenlet": in_a_greenlet,
    "beside": beside_a_main_that_goes_on,
    "thread": in_a_thread,
    "own": with_a_handler_of_its_own,
    "gevents": with_a_handler_of_gevent,
    "inside": with_another_in_a_block,
    "block": block,
    "puller": of_a_puller,
}
WAYS[WAY.partition("-")[2]]()
