"""An unchanged zerorpc-python client that does what it reads, one order a line.

Arguments: endpoint, heartbeat in seconds, timeout in seconds. Orders and answers are MessagePack maps, as
hexadecimal text: {"do": "call" | "stream" | "many", "method": …, "args": […]} and further keys, see the
functions; the answer has "value" or "items", and "error" as [class, name, message, traceback].
"""

from __future__ import annotations

import sys
import time
from typing import Any

import gevent
import msgpack
import zerorpc
from gevent.fileobject import FileObjectThread


def call(client: Any, order: dict[str, Any]) -> dict[str, Any]:
    return {"value": client(order["method"], *order["args"])}


def stream(client: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Keys: take (items to read, then leave; all without), pause (seconds before each item is read)."""
    items: list[Any] = []
    answer: dict[str, Any] = {"items": items}
    started = client(order["method"], *order["args"])
    try:
        for item in started:
            items.append(item)
            if len(items) == order.get("take"):
                started.close()
                break
            if "pause" in order:
                gevent.sleep(order["pause"])
    except Exception as exc:  # noqa: BLE001 - the test looks at it
        answer["error"] = describe(exc)
    return answer


def many(client: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Keys: each (a list of argument lists): all called at once."""
    waiting = [gevent.spawn(client, order["method"], *args) for args in order["each"]]
    gevent.joinall(waiting, raise_error=True)
    return {"value": [one.value for one in waiting]}


def describe(exc: Exception) -> list[Any]:
    if isinstance(exc, zerorpc.RemoteError):
        return ["RemoteError", exc.name, exc.msg, exc.traceback]
    return [type(exc).__name__, None, str(exc), None]


def main() -> None:
    endpoint, heartbeat, timeout = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    client = zerorpc.Client(heartbeat=heartbeat, timeout=timeout)
    client.connect(endpoint)
    print("ready", flush=True)
    for line in FileObjectThread(sys.stdin.buffer, "rb"):
        order = msgpack.unpackb(bytes.fromhex(line.decode()), strict_map_key=False)
        begun = time.monotonic()
        try:
            answer = {"call": call, "stream": stream, "many": many}[order["do"]](client, order)
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            answer = {"error": describe(exc)}
        answer["seconds"] = time.monotonic() - begun
        print(f"answer {msgpack.packb(answer).hex()}", flush=True)


main()
