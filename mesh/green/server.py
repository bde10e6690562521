"""`mesh.Server`: exposes a module, an object, a class or a dict of functions, unmodified."""

from __future__ import annotations

from mesh.green.runnable import Runnable
from mesh.green.workers import Workers
from mesh.transport.handlers import Handlers
from mesh.transport.serving import Serving


class Server(Serving, Runnable):
    """A service, whose handlers run in greenlets, or in native threads.

    Serve by `server.run()`, or by `with server:` in the background.
    """

    _coroutines = False

    def _use(self, handlers: Handlers, threads: int) -> None:
        self._workers = Workers(handlers, self._slots, threads)

    def _begin(self) -> None:
        self._workers.start(self._hub, self._endpoint)

    def _drain(self, timeout: float | None) -> None:
        draining = self._drain_by_steps(timeout)
        while (pause := draining.step()) is not None:
            self._workers.wait_idle(pause)

    def _end(self) -> None:
        self.cut_off = self._cut_off()
        self._workers.close()
