"""An unchanged zerorpc-python server that connects. Arguments: endpoint, the folder of service.py."""

from __future__ import annotations

import sys

import zerorpc

sys.path.insert(0, sys.argv[2])
from service import Service, mark_streams


def main() -> None:
    service = Service()
    mark_streams(service, zerorpc.stream)
    server = zerorpc.Server(service, name="old", heartbeat=1)
    server.connect(sys.argv[1])
    print("ready", flush=True)
    server.run()


main()
