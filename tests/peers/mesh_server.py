"""A mesh server of the same service. Arguments: endpoint, heartbeat in seconds."""

from __future__ import annotations

import logging
import os
import sys

import mesh

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from service import Service


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    endpoint, heartbeat = sys.argv[1], float(sys.argv[2])
    server = mesh.Server(Service(), name="new", heartbeat=heartbeat)
    print(f"ready {server.bind(endpoint)}", flush=True)
    server.run()


main()
