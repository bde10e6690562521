"""A worker with two heartbeats. Arguments: that of its calls, that to its hub, the hub's out side."""

from __future__ import annotations

import logging
import sys

import mesh
from tests.hubs.mesh_worker import Service


def main(heartbeat: str, to_hub: str, hub: str) -> None:
    logging.basicConfig(level=logging.INFO)
    server = mesh.Server(Service(), name="users", heartbeat=float(heartbeat))
    server.register("users", [hub], heartbeat=float(to_hub))
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
