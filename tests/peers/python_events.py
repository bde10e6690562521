"""An unchanged zerorpc-python at one end of PUB/SUB or of a pipeline.

Arguments: publisher | pusher | subscriber | puller, then bind | connect, then the endpoint. A sender sends
what it reads, one event a line as JSON, `[name, args]`; a receiver prints each the same way.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import zerorpc
from gevent.fileobject import FileObjectThread
from zerorpc import gevent_zmq


class Heard:
    def happened(self, *args: Any) -> None:
        print(json.dumps(["happened", args]), flush=True)

    def fail(self) -> None:
        raise RuntimeError("as it was told to")


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    role, how, endpoint = sys.argv[1:]
    if role in ("publisher", "pusher"):
        end = zerorpc.Publisher() if role == "publisher" else zerorpc.Pusher()
    else:
        end = zerorpc.Subscriber(Heard()) if role == "subscriber" else zerorpc.Puller(Heard())
    getattr(end, how)(endpoint)
    if how == "bind":
        endpoint = end._events._socket.getsockopt(gevent_zmq.LAST_ENDPOINT).decode().rstrip("\0")
    print(f"ready {endpoint}", flush=True)
    if role in ("subscriber", "puller"):
        end.run()
    for line in FileObjectThread(sys.stdin.buffer, "rb"):
        name, args = json.loads(line)
        end(name, *args)


main()
