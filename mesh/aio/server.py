"""`mesh.aio.Server`: exposes a module, an object, a class or a dict of functions, coroutines among them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mesh.aio.loop import AsyncioLoop
from mesh.aio.runnable import Runnable
from mesh.aio.workers import Workers
from mesh.core.middleware import Middleware
from mesh.core.server_session import Limits
from mesh.core.settings import Classes
from mesh.core.unfinished import Running
from mesh.core.values import Encode
from mesh.transport.draining import Draining
from mesh.transport.serving import Serving

CANCELLED: Final = 1.0
"""Seconds that handlers have to end when they are cancelled at the server's end."""

log = logging.getLogger("mesh.server")


class Server(Runnable):
    """A service in an event loop of asyncio, or of uvloop.

    target: what is exposed; a class is instantiated. Methods may be coroutines (`async def`), asynchronous
    generators, plain functions and plain generators. name: what it calls itself, by default the
    target's name. pool_size: handlers that run at once, None for 10,000. heartbeat: seconds,
    None for none. threads: native threads in which plain functions and plain generators run, 0 for none:
    then they run in the loop, which stands still meanwhile. limits: what peers may fill. max_message,
    max_elements: those of `limits`, which are the ones to be changed most: bytes of one request or answer,
    and values in one request, each item, key and value counted; what holds more is refused before it is
    decoded. encode: gives what is to travel in place of a result, or a part of one, that can't. expected:
    exceptions that handlers raise in the ordinary course of things: the log has them at level INFO, and all
    others at ERROR. middleware: functions of (call, proceed) that run around each handler, the first
    outermost; `async def`, to await what `proceed` gives.

    Serve by `await server.serve()`, or `async with server:` for the background. A caller that goes, or
    cancels, cancels its handler's task.

    Raises ConfigError for a target without a public method.
    """

    __mesh_unexposed__ = "a server"

    def __init__(
        self,
        target: Any,
        name: str | None = None,
        pool_size: int | None = None,
        heartbeat: float | None = 5.0,
        *,
        threads: int = 0,
        limits: Limits | None = None,
        expected: Classes = (),
        max_message: int | None = None,
        max_elements: int | None = None,
        encode: Encode | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._serving = serving = Serving(
            target,
            name,
            pool_size,
            heartbeat,
            threads=threads,
            limits=limits,
            expected=expected,
            max_message=max_message,
            max_elements=max_elements,
            encode=encode,
            middleware=middleware,
            coroutines=True,
        )
        self.name = serving.name
        self._endpoint = serving.endpoint
        self._workers = Workers(serving.handlers, serving.slots, threads)
        Runnable.__init__(self, self.name)

    # Endpoints, from any thread

    def bind(
        self,
        endpoint: str,
        *,
        fd: int | None = None,
        mode: int | None = None,
        group: str | int | None = None,
    ) -> str:
        """Listen on an endpoint; gives the real one, with the port that `*` became.

        fd: a listening TCP socket of yours to accept connections from, in place of a new one. mode, such
        as 0o660, and group: of the file of an ipc:// path, which say who may connect; without a mode the
        umask does, or 0o660 where there is a group. Raises ConfigError.
        """
        return self._serving.bind(endpoint, fd, mode, group)

    def connect(self, endpoint: str) -> None:
        """Serve a plain device, or a client that has bound."""
        self._serving.connect(endpoint)

    def register(
        self,
        service: str,
        hub: str | Sequence[str],
        *,
        heartbeat: float = 2.5,
        address: str | None = None,
        mdp: str = "0.2",
    ) -> None:
        """Be a worker of a service at a hub, or at several: as `mesh.Server.register`. Raises ConfigError."""
        self._serving.register(service, hub, heartbeat, address, mdp)

    # Life

    def _begin(self, loop: AsyncioLoop) -> None:
        self._workers.start(loop, self._endpoint)

    def _abandon(self) -> None:
        self._endpoint.close(0)

    async def _drain(self, timeout: float | None) -> None:
        draining = Draining(self.name, self._endpoint, self._serving.slots, timeout)
        while (pause := draining.step()) is not None:
            await self._workers.wait_idle(pause)

    def _running(self) -> list[Running]:
        return self._endpoint.running()

    async def _end(self) -> None:
        self.cut_off = self._serving.end()
        left = await self._workers.close(CANCELLED)
        if left:
            log.warning("%s: these handlers were cancelled and go on: %s", self.name, ", ".join(left))

    def _in_handler(self) -> bool:
        return self._workers.in_handler()
