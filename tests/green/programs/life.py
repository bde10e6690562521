"""Servers that are started and stopped in many ways; `life.py WAY` prints what a client sees."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

WAY = sys.argv[1]
if WAY.startswith("patched"):
    from gevent import monkey

    monkey.patch_all()

import gevent  # noqa: E402

import mesh  # noqa: E402


class Service:
    def __init__(self) -> None:
        self.server: Any = None

    def slow(self, seconds: float) -> str:
        time.sleep(seconds) if WAY.startswith("patched") else gevent.sleep(seconds)
        return "done"

    def stop(self) -> str:
        self.server.stop()
        return "stopping"


def make() -> tuple[mesh.Server, str]:
    service = Service()
    server = service.server = mesh.Server(service)
    return server, server.bind("tcp://127.0.0.1:*")


def in_background() -> None:
    """start(), a call, stop() while a call runs: it is answered."""
    server, endpoint = make()
    server.start()
    with mesh.connect(endpoint, timeout=10) as client:
        print("call", client.slow(0.01))
        pending = client.slow.future(0.5)
        client.slow(0.01)
        server.stop()
        print("drained", pending.done() or pending.result(timeout=20))
    server.stop()
    print("ended", flush=True)


def in_foreground() -> None:
    """run() in this thread or greenlet until a handler stops it."""
    server, endpoint = make()

    def call() -> None:
        with mesh.connect(endpoint, timeout=10) as client:
            pending = client.slow.future(0.3)
            print("call", client.stop())
            print("drained", pending.result(timeout=20))

    caller: Any = threading.Thread(target=call)
    caller.start()
    server.run()
    caller.join()
    print("ended", flush=True)


def by_signal() -> None:
    """run() until SIGTERM, whose handler calls stop(), twice."""
    server, endpoint = make()

    def handler(number: int, frame: Any) -> None:
        server.stop()
        server.stop()
        print("handled", flush=True)

    signal.signal(signal.SIGTERM, handler)
    print("serving", endpoint, flush=True)
    server.run()
    print("ended", flush=True)


def by_signal_with_a_busy_main() -> None:
    """The signal interrupts a main program that calls all the time, also inside mesh."""
    server, endpoint = make()

    def handler(number: int, frame: Any) -> None:
        server.stop()

    signal.signal(signal.SIGTERM, handler)
    server.start()
    client = mesh.connect(endpoint, timeout=10)
    print("serving", endpoint, flush=True)
    try:
        while True:
            client.slow(0)
    except mesh.MeshError as exc:
        print("ended", type(exc).__name__, flush=True)


def in_a_native_thread() -> None:
    server, endpoint = make()
    thread = threading.Thread(target=server.run)
    thread.start()
    with mesh.connect(endpoint, timeout=10) as client:
        print("call", client.slow(0.01))
        pending = client.slow.future(0.3)
        client.slow(0.01)
        server.stop()
        thread.join(10)
        print("drained", pending.result(timeout=20))
    print("ended" if not thread.is_alive() else "still there", flush=True)


def in_a_greenlet(body: Any) -> Any:
    return lambda: gevent.spawn(body).get()


WAYS = {
    "plain-background": in_background,
    "plain-foreground": in_foreground,
    "plain-signal": by_signal,
    "plain-signal-busy": by_signal_with_a_busy_main,
    "plain-thread": in_a_native_thread,
    "gevent-background": in_a_greenlet(in_background),
    "gevent-foreground": in_a_greenlet(in_foreground),
    "patched-background": in_background,
    "patched-foreground": in_foreground,
    "patched-signal": by_signal,
    "patched-signal-busy": by_signal_with_a_busy_main,
    "patched-thread": in_a_native_thread,
}
WAYS[WAY]()
