"""A plain program that sleeps without turning its event loop: `asleep.py WAY ENDPOINT [PID]`.

stream: after it has left a stream. locked: the same, where the stream's end has interrupted whoever holds
the lock. note: after it has made a call that waits for a connection. future: after it has asked for an
answer, until the server, which is PID, is gone; then it tells what came.
"""

from __future__ import annotations

import os
import sys
import time

import mesh
from tests.helpers.clients import endpoint_of

WAY, ENDPOINT = sys.argv[1:3]


def sleep() -> None:
    print("asleep", flush=True)
    time.sleep(100)


def leave(client: mesh.Client) -> None:
    for item in client.ticks(0.01):
        if item == 3:
            break
    sleep()


def leave_locked(client: mesh.Client) -> None:
    endpoint = endpoint_of(client)
    stream = client.ticks(0.01)
    next(stream)
    with endpoint.lock:
        del stream
    sleep()


def note(client: mesh.Client) -> None:
    client.note.future("asleep")
    sleep()


def ask(client: mesh.Client) -> None:
    endpoint = endpoint_of(client)
    client.echo(1)
    future = client.slow.future(0.3)
    while endpoint.session.calls:
        time.sleep(0.01)
    print("answered", flush=True)
    while alive(int(sys.argv[3])):
        time.sleep(0.01)
    try:
        print("got", future.result(), flush=True)
    except mesh.MeshError as exc:
        print("got", repr(exc), flush=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


WAYS = {"stream": leave, "locked": leave_locked, "note": note, "future": ask}
WAYS[WAY](mesh.connect(ENDPOINT, timeout=120, heartbeat=60))
