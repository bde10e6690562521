"""A receiver of its own process: `events_received.py subscriber|puller bind|connect ENDPOINT [SECONDS]`.

Prints each event after it has slept for SECONDS. An event of the name "fork" is handled by a child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from mesh.aio.receivers import Puller, Subscriber

KIND, HOW, ENDPOINT = sys.argv[1:4]
PAUSE = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0


def handle(name: str, *args: Any) -> Any:
    if name == "fork" and os.fork() == 0:
        print("child", *args, flush=True)
        if args == ("raises",):
            raise SystemExit(5)
        return None
    if name == "fork":
        print("forked, and the child ended with", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        return None
    return say(name, *args)


async def say(name: str, *args: Any) -> None:
    if PAUSE:
        print("began", name, flush=True)
        await asyncio.sleep(PAUSE)
    print("heard", name, *args, flush=True)


async def main() -> None:
    receiver = {"subscriber": Subscriber, "puller": Puller}[KIND](None, handle)
    print("ready", getattr(receiver, HOW)(ENDPOINT) or ENDPOINT, flush=True)
    await receiver.serve(drain=10.0)
    print("stopped", flush=True)


logging.basicConfig(level=logging.WARNING)
asyncio.run(main())
