"""The socket of a publisher, subscriber, pusher or puller, and the endpoints at its far ends.

Owns who binds and who connects where a name of the registry is given, and follows that name. Who
touches the socket holds the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import zmq

from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed
from mesh.names.model import Service
from mesh.names.resolver import Target, resolve
from mesh.transport import dns_entrance, native, process, sockets
from mesh.transport.listener import Listener
from mesh.transport.lookup import Obstacles, getaddrinfo
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.redialling import Redialling
from mesh.transport.sockets import Socket

log = logging.getLogger("mesh.events")


@dataclass(frozen=True, slots=True)
class Role:
    """One end of PUB/SUB or of a pipeline.

    kind: its ZeroMQ socket. own: the registry's type of an address that is its own, which it binds.
    meets: the types of far ends that it connects to.
    """

    name: str
    kind: int
    own: str
    meets: tuple[str, ...]


# XPUB is a PUB that tells who subscribes.
PUBLISHER: Final = Role("publisher", zmq.XPUB, "pub", ("sub", "xsub"))
SUBSCRIBER: Final = Role("subscriber", zmq.SUB, "sub", ("pub", "xpub"))
PUSHER: Final = Role("pusher", zmq.PUSH, "push", ("pull",))
PULLER: Final = Role("puller", zmq.PULL, "pull", ("push",))
ROLES: Final = (PUBLISHER, SUBSCRIBER, PUSHER, PULLER)


class EventSocket:
    """A socket of a role; `attach` it to its target.

    options: sets what else the socket needs. max_message: bytes of a message that may come in. wake: called
    in any thread when there is something to `settle`. awaited: somebody waits for the far end, and will be
    told of what is wrong.
    """

    def __init__(
        self, role: Role, options: Callable[[Socket], None], max_message: int, wake: Callable[[], object]
    ) -> None:
        self.role = role
        self._wake = wake
        self.lock = native.allocate_lock()
        self.bound: list[str] = []
        self.connected: list[str] = []
        self.obstacles = Obstacles(self._in_the_way)
        self._begin_redialling()
        self.awaited = False
        self.service: Service | None = None
        self._source: Followed | None = None
        self._version = 0
        self._options = options
        self._max_message = max_message
        self.socket = self._open()

    @property
    def name(self) -> str:
        """What it is called in errors and in the log."""
        if self.service is not None:
            return f"the {self.role.name} of {self.service.name}"
        return f"the {self.role.name} at {', '.join([*self.bound, *self.connected]) or 'no endpoint'}"

    def _open(self) -> Listener:
        socket = sockets.open_socket(self.role.kind, self._max_message)
        # Both would break the connection to a receiver that is slower than its sender, with all that
        # is under way: ZMTP's heartbeat can't pass a full queue, and TCP's limit for what is not
        # taken counts for a window that stays shut, too.
        socket.set(zmq.HEARTBEAT_IVL, 0)
        socket.set(zmq.TCP_MAXRT, 0)
        self._options(socket)
        return socket

    def forked(self) -> None:
        """In the child of a fork: the parent may have held the lock."""
        self.lock = native.allocate_lock()
        self.obstacles = Obstacles(self._in_the_way)
        self._begin_redialling()

    def _begin_redialling(self) -> None:
        def in_thread(function: Callable[[], None]) -> None:
            process.start_thread(function, (), "mesh lookup")

        self._redialling = Redialling(self.role.kind, in_thread, self._refused, self._wake, getaddrinfo)

    def _refused(self, endpoint: str, why: str) -> None:
        if not self.awaited:
            log.warning("%s: %s: %s; it goes on trying", self.name, endpoint, why)

    def problem(self, endpoint: str) -> str:
        """Why there is no connection to it, as far as is known; "" where nothing is."""
        return self._redialling.problem(endpoint) or self.obstacles.problem(endpoint)

    def _in_the_way(self, problem: str) -> None:
        if not self.awaited:
            log.warning("%s: %s; it goes on trying", self.name, problem)

    def reopen(self) -> None:
        """A new socket, in place of that of the parent of a fork; then `reconnect`."""
        self.socket = self._open()

    def reconnect(self) -> None:
        for endpoint in self.connected:
            sockets.attach(self.socket, endpoint, "connect")

    # Endpoints; under the lock

    def bind(self, endpoint: str) -> str:
        real = sockets.attach(self.socket, endpoint, "bind")
        self.bound.append(real)
        return real

    def connect(self, endpoint: str) -> None:
        sockets.attach(self.socket, endpoint, "connect")
        self.connected.append(endpoint)

    def follow(self, now: float) -> list[str] | None:
        """Move to where the name leads now. The endpoints that were left; None where nothing changed.

        To be called once a second, also where there is no name: what stands in the way is told.
        """
        self.obstacles.look(self.connected)
        self.settle(now)
        source = self._source
        if source is None or (version := source.refresh(now)) == self._version:
            return None
        self._version = version
        if source.absence is not None:
            log.warning("%s: %s; it goes on trying", self.name, source.absence)
            return None
        wanted = [endpoint.address for endpoint in source.endpoints()]
        if not self._fits(source.service, self.role.meets):
            log.warning("%s; its last endpoints are kept", self._wrong_type(source.service))
            return None
        left = [endpoint for endpoint in self.connected if endpoint not in wanted]
        for endpoint in left:
            self.connected.remove(endpoint)
            if not self._redialling.has_left(endpoint):
                self.socket.disconnect(endpoint)
        for endpoint in wanted:
            if endpoint not in self.connected:
                self.connect(endpoint)
        return left

    def happened(self, event: ConnectionEvent, now: float) -> None:
        """The socket's monitor has told this."""
        self._leave(self._redialling.happened(event, self.connected, now))
        self.settle(now)

    def settle(self, now: float) -> None:
        """Take in what was found out of who refused, and try those again where it is time to.

        For that, once a second is enough.
        """
        self._leave(self._redialling.settle(self.connected, now))
        for endpoint in self._redialling.due(self.connected, now):
            self.socket.connect(endpoint)

    def _leave(self, endpoints: list[str]) -> None:
        for endpoint in endpoints:
            self.socket.disconnect(endpoint)

    # The target

    def attach(self, target: Target | None, services: str | None) -> None:
        """Bind or connect to what `target` means. Raises ConfigError and ServiceNotFound."""
        if target is None:
            return
        if isinstance(target, str) and "://" not in target:
            self._attach_by_name(target, services)
            return
        self.service = resolve(target)
        for endpoint in self.service.addresses:
            self.connect(endpoint)

    def _attach_by_name(self, name: str, services: str | None) -> None:
        source = Followed(name, Catalog(services), dns=dns_entrance.follow)
        self.service = service = source.service
        if not service.endpoints:
            # DNS is being asked; `follow` sees what it says.
            self._source = source
            return
        if any(endpoint.key is not None for endpoint in service.endpoints):
            raise ConfigError(f"{name} has a key ({service.source}); this release can't encrypt yet")
        if self._fits(service, (self.role.own,)):
            self._bind_any(service)
            return
        if not self._fits(service, self.role.meets):
            raise self._wrong_type(service)
        self._source, self._version = source, source.refresh(float("-inf"))
        for endpoint in service.addresses:
            self.connect(endpoint)

    @staticmethod
    def _fits(service: Service, types: Sequence[str]) -> bool:
        return all(endpoint.type in types and not endpoint.hub for endpoint in service.endpoints)

    def _bind_any(self, service: Service) -> None:
        """This is what the others connect to: bind the first address that is this host's."""
        problems = []
        for endpoint in service.addresses:
            try:
                self.bind(endpoint)
            except ConfigError as exc:
                problems.append(str(exc))
            else:
                return
        raise ConfigError(
            f"{service.name} is of type {self.role.own} ({service.source}), so that its {self.role.name} "
            f"binds: {'; '.join(problems)}. To go through a hub, name its side of type {self.role.meets[-1]}"
        )

    def _wrong_type(self, service: Service) -> ConfigError:
        wrong = next(
            endpoint for endpoint in service.endpoints if endpoint.hub or endpoint.type not in self.role.meets
        )
        is_of = "leads to a hub for calls" if wrong.hub else f"is of type {wrong.type}"
        return ConfigError(
            f"{service.name} {is_of} ({service.source}): a {self.role.name} connects to "
            f"{' or '.join(self.role.meets)}, or binds where the type is {self.role.own}"
        )
