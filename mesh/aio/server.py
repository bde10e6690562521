"""`mesh.aio.Server`: exposes a module, an object, a class or a dict of functions, coroutines among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from mesh.aio.loop import AsyncioLoop
from mesh.aio.runnable import Runnable
from mesh.aio.workers import Workers
from mesh.core.unfinished import Running
from mesh.transport.handlers import Handlers
from mesh.transport.serving import Serving


class Server(Serving, Runnable):
    """A service in an event loop of asyncio, or of uvloop.

    Methods may be coroutines (`async def`), asynchronous generators, plain functions and plain generators;
    of the plain ones that run in no threads the loop stands still meanwhile. Middleware is `async def`, to
    await what `proceed` gives.

    Serve by `await server.serve()`, or `async with server:` for the background. A caller that goes, or
    cancels, cancels its handler's task.
    """

    _coroutines = True
    _log = logging.getLogger("mesh.server")

    def _use(self, handlers: Handlers, threads: int) -> None:
        self._workers = Workers(handlers, self._slots, threads)

    def _begin(self, loop: AsyncioLoop) -> None:
        self._workers.start(loop, self._endpoint)

    async def _drain(self, timeout: float | None) -> None:
        draining = self._drain_by_steps(timeout)
        while (pause := draining.step()) is not None:
            await self._workers.wait_idle(pause)

    async def _end(self) -> None:
        self.cut_off = self._cut_off()
        self._workers.close()

    def _handlers(self) -> Collection[asyncio.Task[None]]:
        return self._workers.tasks()

    def _going_on(self) -> list[Running]:
        return self._workers.going_on()
