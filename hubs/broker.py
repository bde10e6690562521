"""Hubs with registered workers: one thread that carries out what a Switch decides.

Owns the thread, its sockets and its clock. What a message means is the switch's matter.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from functools import cache, partial
from importlib import metadata
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import zmq
from zmq import backend

from hubs.hub import Endpoints
from hubs.log_limiter import LogLimiter
from hubs.router_socket import RouterSocket
from hubs.sockets import Attached, attach, leave, look_up
from hubs.spec import HubSpec, Side
from hubs.switching.model import Address, Announced
from hubs.switching.scheduler import NewScheduler
from hubs.switching.settings import Settings
from hubs.switching.status import Values, announced, full, summary, unserved
from hubs.switching.switch import Switch
from hubs.thread_jobs import PATIENCE, run_in_thread
from mesh.core.channel import NEVER
from mesh.core.majordomo import MAX_BATCH
from mesh.core.progress import Progress
from mesh.errors import ConfigError
from mesh.transport.context import Context, new_context
from mesh.transport.monitors import Monitors
from mesh.transport.recording import recording

BATCH: Final = 128
"""Events that are taken in from one side before the other has its turn, and what came with the last."""
PROBES: Final = (0.0, 0.02, 0.1)
"""Seconds after which the peers are probed when a connection broke; libzmq tells of the break a
moment before its routing table knows."""
REBIND: Final = 1.0
"""Seconds that libzmq may take to let go of an endpoint."""
LOOK_EVERY: Final = 0.02
"""Seconds between two looks whether a hub that drains has done so."""
LINGER: Final = 1.0
"""Seconds for the last messages to leave, after the calls have ended."""
GRACE: Final = 0.25
"""Seconds for the peers to read the last messages: libzmq throws away what a client has received and
not read yet when the connection ends."""
MARGIN: Final = 1.0
LOG_EVERY: Final = 1.0
STUCK_AFTER: Final = 2.0
"""Seconds without a turn; those of a busy hub take milliseconds."""

T = TypeVar("T")
"""What a look at a hub finds."""

log = logging.getLogger("hubs")


@cache
def version() -> str:
    """Of the package; "" where it runs without being installed."""
    try:
        return metadata.version("zeromesh")
    except metadata.PackageNotFoundError:
        return ""


def settings_of(spec: HubSpec, new_scheduler: NewScheduler, one_service: bool) -> Settings:
    """Where a hub has one service that its file does not name, all names mean that one."""
    return Settings(
        hub=spec.name,
        only=(spec.service or spec.name) if one_service else None,
        any_name=one_service and spec.service is None,
        default=spec.default,
        heartbeat=spec.heartbeat,
        queue=spec.queue,
        queue_bytes=spec.queue_bytes,
        timeout=spec.timeout,
        # Who may call is not for that one who may serve.
        workers_at=None if spec.one_socket else 1,
        batch=min(MAX_BATCH, spec.max_message),
        new_scheduler=new_scheduler,
    )


class Broker:
    """A hub with registered workers; see hub.py.

    new_scheduler: makes what shares the calls of a service out. one_service: it has a single one.
    """

    def __init__(self, spec: HubSpec, new_scheduler: NewScheduler, *, one_service: bool) -> None:
        self.spec = spec
        self._settings_of = partial(settings_of, new_scheduler=new_scheduler, one_service=one_service)
        self._began = time.monotonic()
        base = secrets.token_hex(12).encode()
        self.switch = Switch(self._settings_of(spec), base, _Asked(self), self._began, recording.recorder())
        self._context: Context = new_context()
        self._monitors = Monitors(self._context, threading.Lock)
        self._in = self._router(0, "in")
        self._out = self._in if spec.one_socket else self._router(1, "out")
        self.routers = [self._in] if spec.one_socket else [self._in, self._out]
        self._orders: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        # The monitors by their descriptor: to look at a socket costs as much as to receive. It tells of
        # nothing before somebody has once found that there is nothing.
        self._monitors.read()
        self._wanted: list[tuple[Any, int]] = [(self._wake_in, zmq.POLLIN), (self._monitors.fd, zmq.POLLIN)]
        self._wanted += [(router.socket, zmq.POLLIN) for router in self.routers]
        self._probes: list[list[float]] = [[] for _ in self.routers]
        self._log_at = NEVER
        self._stop_at = NEVER
        self._prodded = NEVER  # when it was, while no turn has come since
        self._grace = 0.0
        self._logged = self.switch.dropped.copy()
        self._log_limiter = LogLimiter(spec.name)
        self._ending = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"hub {spec.name}", daemon=True)

    def _router(self, side: int, name: str) -> RouterSocket:
        gone, unread = self.switch.unreachable, self.switch.not_read
        return RouterSocket(
            self._context, self._monitors, self.spec, side, name, gone=gone, unread=unread, wake=self._wake
        )

    # For the thread that runs the hub

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self._in.attached.endpoints, self._out.attached.endpoints)

    def start(self) -> Endpoints:
        try:
            attach(self._sides(self.spec))
        except ConfigError:
            self._close(0.0)
            self._end()
            raise
        self._thread.start()
        return self.endpoints

    def status(self, patience: float) -> Values | None:
        """What it tells of itself, without the single workers; None where it is too busy for that."""
        return self._ask(lambda: {**self.describe(), **summary(self.switch, time.monotonic())}, patience)

    def unserved(self, services: Sequence[str], patience: float) -> Mapping[str, str] | None:
        return self._ask(partial(unserved, self.switch, services), patience)

    def announced(self, patience: float) -> Mapping[str, Announced] | None:
        return self._ask(partial(announced, self.switch), patience)

    def _ask(self, look: Callable[[], T], patience: float) -> T | None:
        """What a look at the switch finds, in the thread; None where that does not come to it in time."""
        told: Future[T] = Future()

        def tell() -> None:
            if told.set_running_or_notify_cancel():
                told.set_result(look())

        self._order(tell)
        try:
            return told.result(patience)
        except (TimeoutError, CancelledError):
            told.cancel()
            return None

    def prod(self, now: float) -> None:
        if self._prodded == NEVER:
            self._prodded = now
            self._wake()

    def tend(self, now: float) -> float:
        return NEVER  # its thread sees to all by itself

    def stuck(self, now: float) -> bool:
        return now - self._prodded >= STUCK_AFTER

    def reconfigure(self, spec: HubSpec) -> Endpoints | None:
        if _identity(spec) != _identity(self.spec):
            return None
        look_up(spec)
        self._run_in_thread(partial(self._change, spec))
        return self.endpoints

    def vacate(self, spec: HubSpec) -> None:
        self._run_in_thread(lambda: leave(self._sides(spec)))

    def _run_in_thread(self, work: Callable[[], None]) -> None:
        run_in_thread(
            self._order, work, f"hub {self.spec.name}: it is too busy to be changed: try again later"
        )

    def stop(self, drain: float) -> None:
        if self._thread.is_alive():
            self._order(partial(self._begin_end, time.monotonic() + drain, GRACE if drain else 0.0))
            self._thread.join(drain + PATIENCE)
        self._end()

    def _end(self) -> None:
        with self._ending:
            if not self._ended and not self._thread.is_alive():
                self._ended = True
                self._context.term()
                os.close(self._wake_in)
                os.close(self._wake_out)

    def _order(self, order: Callable[[], object]) -> None:
        self._orders.put(order)
        self._wake()

    def _wake(self) -> None:
        with self._ending:
            if self._ended:
                return  # the pipe's number may be another file's by now
            try:
                os.write(self._wake_out, b"\0")
            except BlockingIOError:
                pass  # it has enough to wake up for

    # In the thread

    def _run(self) -> None:
        linger = 0.0
        try:
            while not self._done(time.monotonic()):
                self._turn()
            cut_off = len(self.switch.calls)
            if cut_off:
                log.warning("hub %s: its drain time is over, calls cut off: %d", self.spec.name, cut_off)
            self.switch.farewell()
            self._send_all()
            close_at = time.monotonic() + self._grace
            while time.monotonic() < close_at:
                self._turn()
            linger = LINGER
        except zmq.ZMQError:
            log.exception("hub %s: libzmq has failed", self.spec.name)
        finally:
            self._close(linger)

    def _turn(self) -> None:
        """Wait for something to do, and do it: messages in batches, then what they lead to."""
        ready = self._wait()
        self._prodded = NEVER
        switch = self.switch
        now = time.monotonic()
        for router in self.routers:
            if router.socket in ready:
                router.receive(BATCH, switch.receive, switch.refuse_large, now)
        self._send_all()
        self._look_at_connections(ready, now)
        if now >= min(switch.wake_at, self._retry_at, self._log_at):
            self._on_timer(now)
        lines = switch.take_log_lines()
        if lines or self._log_limiter.owes:
            self._log_limiter.write(lines, now)
        if self._wake_in in ready:
            self._obey()

    def _obey(self) -> None:
        os.read(self._wake_in, 4096)
        self._prodded = NEVER  # also by one that has come since the turn began, whose byte is read now
        while True:
            try:
                self._orders.get_nowait()()
            except Empty:
                return

    def _wait(self) -> set[Any]:
        """The sockets that have something. libzmq looks at them itself before it waits, so that an
        edge that a send has swallowed is not missed."""
        seconds = self._wake_at() - time.monotonic()
        wait_ms = -1 if seconds == NEVER else max(0, math.ceil(seconds * 1000))
        return {one for one, _ in backend.zmq_poll(self._wanted, wait_ms)}

    def _wake_at(self) -> float:
        probes = [times[0] for times in self._probes if times]
        draining = time.monotonic() + LOOK_EVERY if self._stop_at != NEVER else NEVER
        redials = [0.0 if router.news else router.attached.redial_at for router in self.routers]
        return min(self.switch.wake_at, self._retry_at, self._log_at, draining, *probes, *redials)

    @property
    def _retry_at(self) -> float:
        return min(router.sender.retry_at for router in self.routers)

    def _send_all(self) -> None:
        switch, routers = self.switch, self.routers
        while out := switch.take_out():
            for (side, envelope), frames in out:
                routers[side].sender.send(envelope, frames)
        # A Counter compares with each kind that either knows.
        if self._log_at == NEVER and dict.__ne__(switch.dropped, self._logged):
            self._log_at = time.monotonic() + LOG_EVERY

    def _on_timer(self, now: float) -> None:
        if now >= self.switch.wake_at:
            self.switch.on_timer(now)
        if now >= self._retry_at:
            for router in self.routers:
                router.sender.flush(now)
            self.switch.grant_owed()
        if now >= self._log_at:
            self._log_dropped()
        self._send_all()

    def _log_dropped(self) -> None:
        """At most once a second a line on what was not understood."""
        self._log_at = NEVER
        news = self.switch.dropped - self._logged
        self._logged = self.switch.dropped.copy()
        news.pop("late", 0)  # what a client that has just gone leaves behind
        news.pop("registration refused", 0)  # has a line of its own
        if news:
            shown = ", ".join(f"{number} {what}" for what, number in news.items())
            log.warning("hub %s: dropped %s", self.spec.name, shown)

    # Lost connections

    def _look_at_connections(self, ready: set[Any], now: float) -> None:
        """After a break a message to everybody finds out who is gone."""
        told = self._monitors.fd in ready
        for router in self.routers:
            times = self._probes[router.side]
            if (told or router.news) and router.connection_broke(now):
                # In a storm of them one look in a while is enough.
                last = now + PROBES[-1]
                times[:] = [times[0], last] if times else [now + pause for pause in PROBES]
            router.attached.redial(now)
            if times and times[0] <= now:
                times.pop(0)
                self.switch.probe(router.side)
                self._send_all()

    # Orders

    def describe(self) -> Values:
        """What it tells of itself beside its services."""
        return {
            "name": self.spec.name,
            "type": self.spec.type,
            "version": version(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._began, 3),
            "in": list(self.endpoints.in_),
            "out": list(self.endpoints.out),
        }

    def _sides(self, spec: HubSpec) -> list[tuple[Attached, Side]]:
        sides = [(self._in.attached, spec.in_), (self._out.attached, spec.out)]
        return sides[: len(self.routers)]

    def _change(self, spec: HubSpec) -> None:
        attach(self._sides(spec), REBIND)
        for router in self.routers:
            router.configure(spec)
        self.switch.configure(self._settings_of(spec))
        self.spec = spec

    def _begin_end(self, stop_at: float, grace: float) -> None:
        """Take no more calls; what is open goes on until then. grace: seconds to stay after that.

        The endpoints stay: with them libzmq would give up the connections that came through them.
        """
        self.switch.drain()
        self._stop_at, self._grace = min(self._stop_at, stop_at), grace

    def _done(self, now: float) -> bool:
        if self._stop_at == NEVER:
            return False
        idle = not self.switch.calls and not any(router.sender.owes for router in self.routers)
        return idle or now >= self._stop_at

    def _close(self, linger: float) -> None:
        for router in self.routers:
            router.close(math.ceil(linger * 1000))
        self._monitors.close()


class _Asked:
    """What the switch may ask of its broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def crowded(self, client: Address) -> bool:
        return self._broker.routers[client[0]].sender.crowded(client[1])

    def progress_of(self, peer: Address) -> Progress | None:
        return self._broker.routers[peer[0]].peers.progress(peer[1][0])

    def worker_endpoint(self) -> str:
        return next(iter(self._broker.endpoints.out), "")

    def host_of(self, peer: Address) -> str:
        return self._broker.routers[peer[0]].peers.address(peer[1][0])

    def describe(self) -> Values:
        return self._broker.describe()

    def status(self) -> Values:
        return {**self._broker.describe(), **full(self._broker.switch, time.monotonic())}


def _identity(spec: HubSpec) -> tuple[object, ...]:
    """What can't change without new sockets or a new service."""
    return spec.name, spec.type, spec.anonymous, spec.service, spec.one_socket
