"""An unchanged zerorpc-python server. Arguments: endpoint, heartbeat in seconds."""

from __future__ import annotations

import logging
import os
import sys

import zerorpc
from zerorpc import gevent_zmq

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import Service, mark_streams


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    endpoint, heartbeat = sys.argv[1], float(sys.argv[2])
    service = Service()
    mark_streams(service, zerorpc.stream)
    server = zerorpc.Server(service, name="old", heartbeat=heartbeat)
    server.bind(endpoint)
    real = server._events._socket.getsockopt(gevent_zmq.LAST_ENDPOINT).decode().rstrip("\0")
    print(f"ready {real}", flush=True)
    server.run()


main()
