"""Hubs that pass messages on without a look into them: anonymous queues, forwarders and streamers.

libzmq's own proxy carries the messages in a native thread, without Python. Python does so while the far
side has no room, for which the proxy would burn a processor core, and while the hub drains. Owns
the threads and the sockets of one hub.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import zmq

from hubs.hub import Endpoints
from hubs.proxy_control import ProxyControl, Traffic
from hubs.python_proxy import PythonProxy
from hubs.sockets import Attached, attach, leave, look_up, open_socket, set_options
from hubs.spec import HubSpec, Side
from hubs.switching.model import Announced
from hubs.switching.status import Values
from hubs.thread_jobs import PATIENCE, run_in_thread
from mesh.core.channel import NEVER, Ids
from mesh.core.refusal import Refusal
from mesh.errors import ConfigError
from mesh.transport import dialer
from mesh.transport.context import Context, new_context
from mesh.transport.monitors import ConnectionEvent, Monitors

log = logging.getLogger("hubs")

LOOK_EVERY = 1.0
"""Seconds between two looks at how the proxy is doing."""
FREE_AFTER = 1.0
"""Seconds for which there has to be room at the far side before the proxy carries again."""
REBIND = 1.0
"""Seconds that libzmq may take to let go of an endpoint."""
MARGIN = 1.0
"""Seconds that a thread has to end, after the messages."""
LINGER = 1.0
"""Seconds for the last answers of a queue to leave, when nothing comes any more."""
WAITING = 10_000
"""Messages that may wait for a client or a subscriber that does not read: what is over is dropped."""

Order = Callable[[], bool]
"""What the thread does when the proxy has returned; False ends the thread."""


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """front, back: socket types. quiet: seconds without a message after which it has drained, where
    that does not depend on the heartbeat. most: seconds that draining may take at the most.
    """

    front: int
    back: int
    both_ways: bool
    may_block: bool
    quiet: float | None
    most: float


ANONYMOUS_QUEUE = DeviceKind(
    zmq.ROUTER, zmq.DEALER, both_ways=True, may_block=True, quiet=None, most=math.inf
)
FORWARDER = DeviceKind(zmq.XSUB, zmq.XPUB, both_ways=True, may_block=False, quiet=0.1, most=1.0)
STREAMER = DeviceKind(zmq.PULL, zmq.PUSH, both_ways=False, may_block=True, quiet=0.2, most=math.inf)
QUIET_HEARTBEATS = 2.5
"""Every open call of a queue has a message in that time, if only a heartbeat."""


def spins(cpu: float, frames: float, seconds: float) -> bool:
    """Whether a proxy looks again and again for room that is not there.

    cpu: seconds that its thread has used, of `seconds`, to carry that many frames; a frame that
    comes alone costs it about 20 µs.
    """
    return cpu > 0.05 * seconds and cpu > frames * 100e-6


class Device:
    """A hub of that kind; see hub.py."""

    def __init__(self, spec: HubSpec, kind: DeviceKind) -> None:
        self.spec = spec
        self._kind = kind
        self._context: Context = new_context()
        self._control = ProxyControl(self._context)
        self._front = open_socket(self._context, self._kind.front, spec)
        self._back = open_socket(self._context, self._kind.back, spec)
        self._front.set(zmq.SNDHWM, WAITING)
        # Nothing is given to an endpoint before its handshake: where it refuses, what waits there is lost.
        self._back.set(zmq.IMMEDIATE, 1)
        if not self._kind.may_block:
            self._back.set(zmq.SNDHWM, WAITING)
        self._in = Attached(self._front, "in", spec.name, self._wake)
        self._out = Attached(self._back, "out", spec.name, self._wake)
        monitors = self._monitors = Monitors(self._context, threading.Lock)
        self._connections = [
            (one, monitors.monitor(one.socket, dialer.NAMED)) for one in (self._in, self._out)
        ]
        self._redial_at = NEVER
        self._python_proxy = PythonProxy(
            self._front, self._back, self._control.inner, both_ways=self._kind.both_ways
        )
        self._orders: SimpleQueue[Order] = SimpleQueue()
        self._in_python = False
        self._began = self._moved = self._deadline = time.monotonic()
        self._clock: Callable[[], float] = time.process_time
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"hub {spec.name}", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"watch {spec.name}", daemon=True)

    # For the thread that runs the hub

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> Endpoints:
        try:
            attach(self._sides(self.spec))
        except ConfigError:
            self._close(0)
            self._end()
            raise
        self._note_redial()
        self._thread.start()
        if not self._control.ask(PATIENCE):
            self.stop(0)
            raise ConfigError(
                f"hub {self.spec.name}: libzmq {zmq.zmq_version()} can't steer its proxy: install pyzmq's own"
            )
        if self._kind.may_block:
            self._watcher.start()
        return self.endpoints

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self._in.endpoints, self._out.endpoints)

    def _sides(self, spec: HubSpec) -> list[tuple[Attached, Side]]:
        return [(self._in, spec.in_), (self._out, spec.out)]

    def reconfigure(self, spec: HubSpec) -> Endpoints | None:
        if (spec.type, spec.anonymous) != (self.spec.type, self.spec.anonymous):
            return None
        look_up(spec)
        self._run_in_thread(partial(self._change, spec))
        self.spec = spec
        return self.endpoints

    def vacate(self, spec: HubSpec) -> None:
        self._run_in_thread(lambda: leave(self._sides(spec)))

    def _run_in_thread(self, work: Callable[[], None]) -> None:
        run_in_thread(
            self._order, work, f"hub {self.spec.name}: its out side takes no messages: try again later"
        )

    def traffic(self) -> Traffic:
        """What it has carried so far; a moment old while the far side has no room."""
        if not self._in_python:
            self._control.ask(0.1)
        return self._control.carried.plus(self._python_proxy.carried)

    def status(self, patience: float) -> Values | None:
        """The proxy tells no more than how much it has carried."""
        try:
            carried = self.traffic()
        except zmq.ZMQError:
            return None  # it has just been closed
        return {
            "uptime": round(time.monotonic() - self._began, 3),
            "frames": {"in": carried.front, "out": carried.back},
            "bytes": {"in": carried.front_size, "out": carried.back_size},
        }

    def unserved(self, services: Sequence[str], patience: float) -> Mapping[str, str]:
        """It looks into no message, and so knows no service."""
        kind = "queue of anonymous workers" if self.spec.anonymous else self.spec.type
        return dict.fromkeys(services, f"hub {self.spec.name}, a {kind}, knows no services")

    def announced(self, patience: float) -> Mapping[str, Announced]:
        """A queue of anonymous workers is one service, of the hub's name."""
        return {self.spec.name: Announced(indirect=1)} if self.spec.anonymous else {}

    def prod(self, now: float) -> None:
        pass

    def tend(self, now: float) -> float:
        """See to the connections that it makes; only the thread that carries changes them."""
        told = [(one, monitor.take()) for one, monitor in self._connections]
        happened = [(one, event) for one, events in told if one.connects for event in events]
        if happened or now >= self._redial_at:
            self._redial_at = NEVER
            self._order(partial(self._redial, happened, now))
        return self._redial_at

    def stuck(self, now: float) -> bool:
        """Never: where it takes no turn its far side has no room, which is no fault of its own."""
        return False

    def stop(self, drain: float) -> None:
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        drain = min(drain, self._kind.most)
        deadline = time.monotonic() + drain
        self._order(partial(self._drain, deadline))
        self._thread.join(drain + MARGIN)
        self._end()

    def _end(self) -> None:
        """Close the rest; a thread that is still at work is told by libzmq that this is the end."""
        self._control.close()
        self._context.term()

    def _wake(self) -> None:
        with suppress(zmq.ZMQError):  # it has just been closed
            self._order(lambda: self._redial([], time.monotonic()))

    def _order(self, order: Order) -> None:
        self._orders.put(order)
        self._control.end()

    # In the thread that carries

    def _run(self) -> None:
        self._clock = _thread_clock()
        linger = 0.0
        try:
            while self._turn():
                pass
            linger = max(0.0, self._deadline - time.monotonic())
        except zmq.ContextTerminated:
            log.warning(
                "hub %s: its out side did not take all messages in time, some are lost", self.spec.name
            )
        except zmq.ZMQError:
            log.exception("hub %s: libzmq has failed", self.spec.name)
        finally:
            self._close(linger)

    def _turn(self) -> bool:
        if self._in_python:
            if not self._carry():
                self._in_python = False
                return True
        else:
            zmq.proxy_steerable(self._front, self._back, None, self._control.inner)
            self._control.ended()
        return self._orders.get()()

    def _carry(self) -> bool:
        """Carry in Python; True when there is an order, False when the proxy may carry again."""
        python_proxy = self._python_proxy
        python_proxy.blocked = time.monotonic()
        while not self._control.told_to_end():
            python_proxy.step(FREE_AFTER)
            if not python_proxy.held and time.monotonic() - python_proxy.blocked >= FREE_AFTER:
                return False
        return True

    def _redial(self, happened: list[tuple[Attached, ConnectionEvent]], now: float) -> bool:
        for one, event in happened:
            one.happened(event, now)
        for one in (self._in, self._out):
            one.redial(now)
        self._note_redial()
        return True

    def _note_redial(self) -> None:
        self._redial_at = min(one.redial_at for one in (self._in, self._out))

    def _ease(self) -> bool:
        self._in_python = True
        return True

    def _change(self, spec: HubSpec) -> None:
        attach(self._sides(spec), REBIND)
        self._note_redial()
        set_options(self._front, spec)
        set_options(self._back, spec)

    def _drain(self, deadline: float) -> bool:
        """Carry what is under way, and no new calls, until nothing comes any more.

        The endpoints stay bound meanwhile: to leave one breaks the connections that came to it.
        """
        self._deadline = deadline
        begun = moved = time.monotonic()
        refuse, quiet, python_proxy = None, self._kind.quiet, self._python_proxy
        if quiet is None:
            refuse = Refusal(Ids(secrets.token_hex(12).encode()), f"hub {self.spec.name!r} is stopping")
            python_proxy.refuse_held(refuse)
            quiet, moved = QUIET_HEARTBEATS * self.spec.heartbeat, max(self._moved, python_proxy.blocked)
        while (now := time.monotonic()) < deadline:
            self._control.told_to_end()
            if python_proxy.step(min(0.05, deadline - now), refuse):
                moved = time.monotonic()
            elif now - moved >= quiet and (refuse or not python_proxy.held):
                # What a queue holds then is of calls that have ended: an open one has said so meanwhile.
                self._deadline = min(deadline, now + LINGER) if refuse else deadline
                return False
        if begun < deadline:
            log.warning("hub %s: its drain time is over, what was still under way is lost", self.spec.name)
        return False

    def _close(self, linger: float) -> None:
        for socket in (self._front, self._back):
            socket.close(math.ceil(linger * 1000))
        for one, monitor in self._connections:
            monitor.close()
            one.end()
        self._monitors.close()
        self._control.inner.close(0)

    # In the thread that looks after the one that carries

    def _watch(self) -> None:
        try:
            self._look_after()
        except OSError:
            pass  # the other thread has ended, and its clock with it

    def _look_after(self) -> None:
        last = (time.monotonic(), self._clock(), self.traffic().frames)
        while not self._stopping.wait(LOOK_EVERY):
            now = (time.monotonic(), self._clock(), self.traffic().frames)
            seconds, cpu, frames = (after - before for before, after in zip(last, now, strict=True))
            last = now
            if frames:
                self._moved = now[0]
            if not self._in_python and spins(cpu, frames, seconds):
                self._order(self._ease)


def _thread_clock() -> Callable[[], float]:
    """The processor time of this thread; of the process, where the system can't tell."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return time.process_time
    return partial(time.clock_gettime, clock_of(threading.get_ident()))
