"""The drivers that what is to hold of every one is run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Final

import gevent
import uvloop

from mesh.aio.loop import AsyncioLoop
from mesh.green.loop import GeventLoop
from mesh.transport.loop import Loop

Turns = Generator[float, None, None]
"""What runs in a loop: it yields the seconds for which the loop is to turn before it goes on."""


def on_gevent(body: Callable[[Loop], Turns]) -> None:
    for seconds in body(GeventLoop(gevent.get_hub())):
        gevent.sleep(seconds)


def _on(make_loop: Callable[[], Any]) -> Callable[[Callable[[Loop], Turns]], None]:
    def run(body: Callable[[Loop], Turns]) -> None:
        async def main() -> None:
            for seconds in body(AsyncioLoop()):
                await asyncio.sleep(seconds)

        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())

    return run


RUN: Final[dict[str, Callable[[Callable[[Loop], Turns]], None]]] = {
    "gevent": on_gevent,
    "asyncio": _on(asyncio.new_event_loop),
    "uvloop": _on(uvloop.new_event_loop),
}
"""Runs a body in a loop of each kind."""
