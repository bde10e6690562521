"""`mesh.Server`: exposes a module, an object, a class or a dict of functions, unmodified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mesh.core.middleware import Middleware
from mesh.core.server_session import Limits
from mesh.core.settings import Classes
from mesh.core.unfinished import Running
from mesh.core.values import Encode
from mesh.errors import ConfigError
from mesh.green.runnable import Runnable
from mesh.green.workers import Workers
from mesh.transport.draining import Draining
from mesh.transport.serving import Serving


class Server(Runnable):
    """A service.

    target: what is exposed; a class is instantiated. name: what it calls itself, by default the
    target's name. pool_size: handlers that run at once, None for 10,000. heartbeat: seconds,
    None for none. threads: native threads in which the handlers run, 0 for greenlets of the
    server's own loop. limits: what peers may fill. max_message, max_elements: those of `limits`, which are
    the ones to be changed most: bytes of one request or answer, and values in one request, each item, key
    and value counted; what holds more is refused before it is decoded. encode: gives what is to
    travel in place of a result, or a part of one, that can't. expected: exceptions that handlers
    raise in the ordinary course of things: the log has them at level INFO, and all others at ERROR.
    middleware: functions of (call, proceed) that run around each handler, the first outermost; see
    docs/middleware.md.

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
            coroutines=False,
        )
        self.name = serving.name
        if (method := serving.methods.first_async()) is not None:
            raise ConfigError(
                f"{self.name}.{method} is a coroutine method (async def), which mesh.Server can't carry out: "
                "expose it by mesh.aio.Server, or by `mesh serve --loop asyncio`"
            )
        self._endpoint = serving.endpoint
        self._workers = Workers(serving.handlers, serving.slots, threads)
        Runnable.__init__(self, self.name)

    # Endpoints

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
        """Be a worker of a service at a hub, or at several.

        service: the name that callers use. hub: the endpoint of the hub's out side, or a list of
        them. heartbeat: seconds between signs of life to the hub, or less where it wants more; it
        takes a worker that was silent for three of them out. address: an endpoint where this
        server can be called without the hub, for the hub to tell. mdp: "0.1" for brokers that speak no
        newer Majordomo: they give one call at a time, and take no streams.

        A worker is given `pool_size` calls at once, 1,000 where there is no limit. It registers
        as soon as a hub is there, and again whenever the hub has forgotten it. Raises ConfigError.
        """
        self._serving.register(service, hub, heartbeat, address, mdp)

    # Life

    def _begin(self) -> None:
        self._workers.start(self._hub, self._endpoint)

    def _abandon(self) -> None:
        self._endpoint.close(0)

    def _drain(self, timeout: float | None) -> None:
        draining = Draining(self.name, self._endpoint, self._serving.slots, timeout)
        while (pause := draining.step()) is not None:
            self._workers.wait_idle(pause)

    def _running(self) -> list[Running]:
        return self._endpoint.running()

    def _end(self) -> None:
        self.cut_off = self._serving.end()
        self._workers.close()
