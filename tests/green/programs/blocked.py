"""A server without a heartbeat whose handler blocks its loop, so that nobody reads meanwhile."""

from __future__ import annotations

import sys
import time

import mesh


class Blocked:
    def block(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def echo(self, value: str) -> str:
        return value


server = mesh.Server(Blocked(), heartbeat=None)
print(server.bind(sys.argv[1]), flush=True)
server.run()
