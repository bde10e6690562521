"""How the sockets of a hub are set up, and how they get and leave their endpoints.

Every hub has a ZeroMQ context of its own, and so an I/O thread of its own. What all sockets of mesh have in
common is mesh/transport/sockets.py's.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket as unix
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import zmq

from hubs.endpoint_conflicts import clash
from hubs.spec import HubSpec, Side
from mesh.core.registration import LOST_AFTER
from mesh.errors import ConfigError
from mesh.transport import host_lookup, ipc
from mesh.transport.context import Context
from mesh.transport.dialers import Dialers
from mesh.transport.ipc import Access
from mesh.transport.listener import Listener
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import Socket, prepare

LEFT_WITHIN = 1.0
"""Seconds that libzmq may take to remove the path of an endpoint."""
NOTICE = 3.0
"""Seconds that a path of ipc may lack whoever binds it, before the log says so."""
_POLL = 0.01

log = logging.getLogger("hubs")

_HINTS = {
    errno.EADDRNOTAVAIL: "no network interface has that address",
    errno.ENODEV: "no such host or network interface",
    errno.EACCES: "permission denied",
    errno.ENOENT: "no such directory",
}


class AddressInUse(ConfigError):
    """An endpoint that can't be bound, as somebody has it. where: the place in the file, or the side."""

    def __init__(self, where: str, endpoint: str) -> None:
        self.endpoint = endpoint
        self._where = f"{where}: can't bind to {endpoint!r}: the address is in use"
        super().__init__(f"{self._where} already; stop the other program or take another port")

    def by(self, holder: str) -> ConfigError:
        """The error where the one who has it is known. holder: in words."""
        return ConfigError(f"{self._where} by {holder}; take another port")


def open_socket(context: Context, kind: int, spec: HubSpec) -> Listener:
    socket = context.socket(kind)
    prepare(socket)
    set_options(socket, spec)
    return socket


def set_options(socket: Socket, spec: HubSpec) -> None:
    """What may change while the socket is in use; it counts for connections that come after."""
    socket.set(zmq.MAXMSGSIZE, spec.max_message)
    keep_alive(socket, spec.heartbeat)


def keep_alive(socket: Socket, heartbeat: float) -> None:
    """Have the system look after the connections, in place of ZMTP's heartbeats.

    Those are not read while there is no room, which in a pipeline is no fault. And libzmq aborts the
    process (4.3.5: `Assertion failed: !_io_error`) when one falls due on a connection that ended
    while there was no room for what it had sent, as that of a flood has.
    """
    seconds = math.ceil(heartbeat)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, seconds)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, seconds)
    socket.set(zmq.TCP_KEEPALIVE_CNT, int(LOST_AFTER))


class Attached:
    """One side's socket and its endpoints. side: "in" or "out", hub: its name, both for the errors.

    wake: has the socket's thread call `redial`, from any thread.
    """

    def __init__(self, socket: Listener, side: str, hub: str, wake: Callable[[], object]) -> None:
        self.socket = socket
        self._side = side
        self._hub = hub
        self._bound: dict[str, str] = {}
        self._at: Mapping[str, str] = {}
        self._access: Access | None = None
        self._ended = threading.Event()
        self._dialers = Dialers(socket, self._unreachable, self._found_out)
        self._wake = wake

    def end(self) -> None:
        """The socket has been closed."""
        self._ended.set()
        self._dialers.close()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The real ones that are bound, then those that are connected to."""
        return (*self._bound.values(), *self._dialers.endpoints)

    def _side_of_now(self) -> Side:
        return Side(tuple(self._bound), tuple(self._dialers.endpoints), self._access)

    def _leaving(self, side: Side) -> list[str]:
        return [real for text, real in self._bound.items() if text not in side.bind]

    def _add(self, side: Side, leaving: Iterable[str] = ()) -> None:
        """Bind and connect what is new, but for what an endpoint that is left stands in the way of."""
        self._at = side.at
        if side.access != self._access:
            self._access = side.access
            self._permit()
        for text in side.bind:
            if not any(clash(text, real) for real in leaving):
                self._bind(text, text, 0)
        for endpoint in side.connect:
            self._connect(endpoint)

    def _leave(self, side: Side) -> None:
        for text in [one for one in self._bound if one not in side.bind]:
            real = self._bound.pop(text)
            self.socket.unbind(real)
            _until_left(real)
        for endpoint in [one for one in self._dialers.endpoints if one not in side.connect]:
            self._dialers.remove(endpoint)

    # Endpoints that it connects to; in the thread of the socket

    def happened(self, event: ConnectionEvent, now: float) -> None:
        """The socket's monitor has told this."""
        self._dialers.happened(event, now)

    @property
    def connects(self) -> bool:
        """Whether it has endpoints that it is connected to."""
        return bool(self._dialers)

    @property
    def redial_at(self) -> float:
        """When `redial` is to be called."""
        return self._dialers.wake_at

    def redial(self, now: float) -> None:
        """Take in what was found out of hosts and of who refused, and dial where it is time to."""
        self._dialers.settle(now)

    def _unreachable(self, endpoint: str, why: str) -> None:
        log.warning("%s: %r: %s; the hub goes on trying", self._where(endpoint), endpoint, why)

    def _found_out(self) -> None:
        """In a native thread."""
        if not self._ended.is_set():
            self._wake()

    def _bind(self, text: str, endpoint: str, patience: float) -> None:
        if text in self._bound:
            return
        if problem := ipc.bind_problem(endpoint):
            raise ConfigError(f"{self._where(endpoint)}: {problem}")
        give_up = time.monotonic() + patience
        while True:
            try:
                if ipc.is_used(endpoint):
                    raise OSError(errno.EADDRINUSE, "in use")
                self._bound[text] = self.socket.listen(host_lookup.to_bind(endpoint), self._access)
                return
            except ConfigError as exc:
                raise self._wrong("bind to", endpoint, exc) from None
            except (OSError, zmq.ZMQError) as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise self._wrong("bind to", endpoint, exc) from None
                if time.monotonic() >= give_up:
                    raise AddressInUse(self._where(endpoint), endpoint) from None
                time.sleep(_POLL)

    def _connect(self, endpoint: str) -> None:
        if endpoint in self._dialers.endpoints:
            return
        try:
            self._dialers.add(endpoint, time.monotonic())
        except (zmq.ZMQError, ConfigError) as exc:
            raise self._wrong("connect to", endpoint, exc) from None
        if endpoint.startswith(ipc.SCHEME):
            threading.Thread(target=self._look_up, args=(endpoint,), daemon=True).start()

    def _look_up(self, endpoint: str) -> None:
        """In a thread of its own, which waits: what binds a path may be about to."""
        problem = "" if self._ended.wait(NOTICE) else ipc.connect_problem(endpoint)
        if problem and endpoint in self._dialers.endpoints:
            self._unreachable(endpoint, problem)

    def _permit(self) -> None:
        """Give the files that are there the mode and group of now."""
        if self._access is None:
            return  # they stay as they are
        for text in filter(ipc.path_of, self._bound):
            try:
                ipc.permit(ipc.path_of(text), self._access)
            except (OSError, ConfigError) as exc:
                raise self._wrong("set the mode of", text, exc) from None

    def _wrong(self, how: str, endpoint: str, exc: Exception) -> ConfigError:
        reason = _HINTS.get(getattr(exc, "errno", 0) or 0, str(exc))
        return ConfigError(f"{self._where(endpoint)}: can't {how} {endpoint!r}: {reason}")

    def _where(self, endpoint: str) -> str:
        """The line of the file, where it came from one."""
        return self._at.get(endpoint) or f"hub {self._hub}: {self._side}"


def look_up(spec: HubSpec) -> None:
    """Have the names that are to be bound looked up here, so that the hub's thread need not wait for it."""
    for endpoint in (*spec.in_.bind, *spec.out.bind):
        host_lookup.look_up_first(endpoint)


def attach(sides: Iterable[tuple[Attached, Side]], patience: float = 0.0) -> None:
    """Give each socket the endpoints of its side; those that it has already are not touched.

    Beware: libzmq breaks the connections that came to an endpoint when it is left.
    patience: seconds that an endpoint may still be in use, where it was left a moment ago. Raises
    ConfigError, and all have the endpoints of before then.
    """
    sides = list(sides)
    before = [(one, dict(one._bound), one._side_of_now()) for one, _ in sides]
    leaving = [real for one, side in sides for real in one._leaving(side)]
    try:
        for one, side in sides:
            one._add(side, leaving)
        leave(sides)
        for one, side in sides:
            for text in side.bind:
                one._bind(text, text, patience)
    except ConfigError:
        leave((one, side) for one, _, side in before)
        for one, bound, side in before:
            for text, real in bound.items():
                one._bind(text, real, patience)
            one._add(side)
        raise


def leave(sides: Iterable[tuple[Attached, Side]]) -> None:
    """Have each socket give up the endpoints that its side does not have."""
    for one, side in sides:
        one._leave(side)


def _until_left(endpoint: str) -> None:
    """libzmq closes a port, or removes a path, a moment later, also where another socket is there by then."""
    transport, _, address = endpoint.partition("://")
    held = {"tcp": _listens, "ipc": os.path.exists}[transport]
    give_up = time.monotonic() + LEFT_WITHIN
    while held(address) and time.monotonic() < give_up:
        time.sleep(_POLL)


def _listens(address: str) -> bool:
    """Whether somebody listens at a real address of TCP."""
    host, _, port = address.rpartition(":")
    with unix.socket(unix.AF_INET6 if "[" in host else unix.AF_INET) as probe:
        probe.setsockopt(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False
