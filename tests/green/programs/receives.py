"""A receiver of its own process: `receives.py subscriber|puller bind|connect ENDPOINT [SECONDS]`; prints each
event after it has slept for SECONDS.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import gevent

import mesh

KIND, HOW, ENDPOINT = sys.argv[1:4]
PAUSE = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0


def handle(name: str, *args: Any) -> None:
    if PAUSE:
        print("began", name, flush=True)
        gevent.sleep(PAUSE)
    print("heard", name, *args, flush=True)


logging.basicConfig(level=logging.WARNING)
receiver = {"subscriber": mesh.Subscriber, "puller": mesh.Puller}[KIND](None, handle)
signal.signal(signal.SIGTERM, lambda number, frame: receiver.stop(10.0))
print("ready", getattr(receiver, HOW)(ENDPOINT) or ENDPOINT, flush=True)
receiver.run()
print("stopped", flush=True)
