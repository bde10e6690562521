"""A plain program that sleeps without turning its event loop: `asleep.py WAY ENDPOINT [SECONDS]`.

stream: after it has left a stream. locked: the same, where the stream's end has interrupted whoever holds
the lock. future: after it has asked for an answer, of which it tells what came when it wakes up.
"""

from __future__ import annotations

import sys
import time

import mesh

WAY, ENDPOINT = sys.argv[1:3]
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 100.0


def sleep() -> None:
    print("asleep", flush=True)
    time.sleep(SECONDS)


def leave(client: mesh.Client) -> None:
    for item in client.ticks(0.01):
        if item == 3:
            break
    sleep()


def leave_locked(client: mesh.Client) -> None:
    caller = client._connection.caller()
    assert caller is not None
    stream = client.ticks(0.01)
    next(stream)
    with caller.lock:
        del stream
    sleep()


def ask(client: mesh.Client) -> None:
    future = client.slow.future(0.3)
    sleep()
    try:
        print("got", future.result(), flush=True)
    except mesh.MeshError as exc:
        print("got", repr(exc), flush=True)


WAYS = {"stream": leave, "locked": leave_locked, "future": ask}
WAYS[WAY](mesh.connect(ENDPOINT, timeout=30))
