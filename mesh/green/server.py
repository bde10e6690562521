"""`mesh.Server`: exposes a module, an object, a class or a dict of functions, unmodified."""

from __future__ import annotations

import logging
import threading
from typing import Any

import gevent
import greenlet
import zmq
from gevent import get_hub, monkey
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from mesh.core.methods import MethodTable
from mesh.core.server_session import Limits
from mesh.errors import ConfigError, MeshError
from mesh.green import process, sockets
from mesh.green.port import Port
from mesh.green.threads import Box
from mesh.green.workers import Workers

log = logging.getLogger("mesh.server")

LINGER_MS = 1_000


class Server:
    """A service.

    target: what is exposed; a class is instantiated. name: what it calls itself, by default the
    target's name. pool_size: handlers that run at once, None for 10,000. heartbeat: seconds,
    None for none. threads: native threads in which the handlers run, 0 for greenlets of the
    server's own loop. limits: what peers may fill.

    Raises ConfigError for a target without a public method.
    """

    def __init__(
        self,
        target: Any,
        name: str | None = None,
        pool_size: int | None = None,
        heartbeat: float | None = 5.0,
        *,
        threads: int = 0,
        limits: Limits | None = None,
    ) -> None:
        if pool_size is not None and pool_size < 1:
            raise ConfigError(f"pool_size must be 1 or more, or None; not {pool_size!r}")
        if heartbeat is not None and not heartbeat > 0:
            raise ConfigError(f"heartbeat must be more than 0 seconds, or None; not {heartbeat!r}")
        try:
            self._methods = MethodTable(target, name)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        self.name = self._methods.name
        self._port = Port(self.name, heartbeat, limits or Limits())
        self._workers = Workers(self._methods, pool_size, threads)
        self._bound: list[str] = []
        self._hub: Any = None
        self._own_thread = False
        self._stopping = False
        self._stopped: Any = None
        self._ended = Box()

    # Endpoints

    def bind(self, endpoint: str, *, fd: int | None = None) -> str:
        """Listen on an endpoint; gives the real one, with the port that `*` became.

        fd: a listening TCP socket of yours to accept connections from, in place of a new one.
        """
        with self._port.lock:
            if fd is not None:
                self._port.socket.set(zmq.USE_FD, fd)
            try:
                real = sockets.attach(self._port.socket, endpoint, "bind")
            finally:
                if fd is not None:
                    self._port.socket.set(zmq.USE_FD, -1)
            self._bound.append(real)
            return real

    def connect(self, endpoint: str) -> None:
        """Serve a plain device, or a client that has bound."""
        with self._port.lock:
            sockets.attach(self._port.socket, endpoint, "connect")

    # Life

    def run(self) -> None:
        """Serve until `stop`, in this thread or greenlet."""
        fresh_hub = get_hub_if_exists() is None
        self._begin()
        try:
            self._stopped.wait()
        finally:
            if not self._port.closed:
                self._end()
            self._ended.fill(lambda: None, ())
            if fresh_hub and threading.current_thread() is not threading.main_thread():
                get_hub().destroy(destroy_loop=True)

    def start(self) -> None:
        """Serve in the background.

        In greenlets of this loop where the program lives in gevent (it has patched the standard
        library, or this is a greenlet), else in a native thread of its own.
        """
        if self._in_gevent():
            self._begin()
            return
        self._own_thread = True
        started = Box()
        process.start_new_thread(self._run_thread, (started,))
        started.outcome()

    @staticmethod
    def _in_gevent() -> bool:
        return bool(monkey.is_module_patched("socket")) or greenlet.getcurrent().parent is not None

    def _run_thread(self, started: Box) -> None:
        started.fill(self._begin, ())
        if started.error is None:
            self._stopped.wait()
            self._ended.fill(lambda: None, ())
        get_hub().destroy(destroy_loop=True)

    def _begin(self) -> None:
        if self._hub is not None or self._stopping:
            raise MeshError(f"{self.name} was started already; make a new server")
        self._hub = get_hub()
        self._stopped = Event()
        self._workers.start(self._hub, self._port)

    def stop(self, timeout: float | None = 30.0) -> None:
        """Drain: take no new calls, let the running ones finish for `timeout` seconds, close.

        From any thread or greenlet, also from a handler, which it does not wait for.
        """
        if self._stopping:
            return
        self._stopping = True
        if self._hub is None:
            self._port.close(0)
        elif get_hub_if_exists() is not self._hub:
            self._hub.loop.run_callback_threadsafe(gevent.spawn, self._drain, timeout)
            self._wait_from_outside()
        elif self._workers.is_worker(greenlet.getcurrent()):
            gevent.spawn(self._drain, timeout)
        else:
            self._drain(timeout)

    def _wait_from_outside(self) -> None:
        if get_hub_if_exists() is None:
            self._ended.wait()
            return
        while not self._ended.wait(0.0):
            gevent.sleep(0.01)

    def _drain(self, timeout: float | None) -> None:
        port = self._port
        with port.lock:
            port.session.draining = True
            for endpoint in self._bound:
                try:
                    port.socket.unbind(endpoint)
                except zmq.ZMQError as exc:
                    log.debug("could not unbind %s: %s", endpoint, exc)
        if not self._workers.wait_idle(timeout):
            log.warning(
                "%s: %d calls still ran after %s s and are given up",
                self.name,
                self._workers.running,
                timeout,
            )
        gevent.sleep(0.05)  # answers leave through libzmq's own thread
        self._end()

    def _end(self) -> None:
        self._stopping = True
        with self._port.lock:
            for call in list(self._port.session.calls.values()):
                self._port.session.give_up(call)
        self._port.close(LINGER_MS)
        self._workers.close()
        self._stopped.set()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
