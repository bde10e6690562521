"""The socket of a publisher, subscriber, pusher or puller, and the endpoints at its far ends.

Owns who binds and who connects where a name of the registry is given, and follows that name. Who
touches the socket holds the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

import zmq

from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed
from mesh.names.model import Service
from mesh.names.resolver import Target, resolve
from mesh.transport import dns_entrance, native, sockets
from mesh.transport.dialers import Dialers
from mesh.transport.listener import Listener
from mesh.transport.lookup import Obstacles
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import Socket
from mesh.transport.weak_call import weak_call

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
        """A method, of the owner."""
        self.lock = native.allocate_lock()
        self.bound: list[str] = []
        self.obstacles = Obstacles(self._in_the_way)
        self.awaited = False
        self.service: Service | None = None
        self.misfit: ConfigError | None = None
        """Why its name leads to nothing for it, where it has no other endpoint either."""
        self._source: Followed | None = None
        self._version = 0
        self._held = role is PULLER
        """Whether it connects to nothing yet: jobs would come to where nobody carries them out."""
        self._options = options
        self._max_message = max_message
        self.socket = self._open()
        self._dialers = self._new_dialers()

    @property
    def connected(self) -> list[str]:
        """The endpoints that it connects to."""
        return self._dialers.endpoints

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

    def _new_dialers(self) -> Dialers:
        dialers = Dialers(self.socket, self._unreachable, self._wake)
        dialers.held = self._held
        return dialers

    def _unreachable(self, endpoint: str, why: str) -> None:
        if not self.awaited:
            log.warning("%s: %s: %s; it goes on trying", self.name, endpoint, why)

    def problem(self, endpoint: str) -> str:
        """Why there is no connection to it, as far as is known; "" where nothing is."""
        return self._dialers.problem(endpoint) or self.obstacles.problem(endpoint)

    def _in_the_way(self, problem: str) -> None:
        if not self.awaited:
            log.warning("%s: %s; it goes on trying", self.name, problem)

    def reopen(self) -> None:
        """A new socket, in place of that of the parent of a fork; then `reconnect`."""
        self.socket = self._open()

    def reconnect(self) -> None:
        endpoints, self._dialers = self._dialers.endpoints, self._new_dialers()
        known = self._source.endpoints() if self._source is not None else ()
        hosts = {endpoint.address: endpoint.hosts for endpoint in known}
        for endpoint in endpoints:
            self.connect(endpoint, hosts.get(endpoint, ()))

    def release(self) -> None:
        """Connect, as soon as `settle` is called."""
        self._held = self._dialers.held = False

    def close(self) -> None:
        """Its owner closes the socket, when what was sent has left."""
        self._dialers.close()

    # Endpoints; under the lock

    def bind(self, endpoint: str) -> str:
        real = sockets.bind(self.socket, endpoint)
        self.bound.append(real)
        return real

    def connect(self, endpoint: str, hosts: tuple[str, ...] = ()) -> None:
        """hosts: the addresses of its host, where they are known."""
        with sockets.explained("connect", endpoint):
            self._dialers.add(endpoint, monotonic(), hosts)

    def follow(self, now: float) -> list[str] | None:
        """Move to where the name leads now. The addresses that were left; None where nothing changed.

        To be called once a second, also where there is no name: what stands in the way is told.
        """
        self.obstacles.look(self.connected)
        self.settle(now)
        source = self._source
        if source is None or (version := source.refresh(now)) == self._version:
            return None
        self._version, self.misfit = version, None
        if source.absence is not None:
            log.warning("%s: %s; it goes on trying", self.name, source.absence)
            return None
        wanted = {endpoint.address: endpoint.hosts for endpoint in source.endpoints()}
        misfit = self._misfit_of(source.service)
        if misfit is not None:
            self._keep(misfit)
            return None
        left = [endpoint for endpoint in self.connected if endpoint not in wanted]
        addresses = [self._dialers.remove(endpoint) for endpoint in left]
        for endpoint, hosts in wanted.items():
            self.connect(endpoint, hosts)
        self.settle(now)
        return addresses

    def _keep(self, misfit: ConfigError) -> None:
        """Go on with what there is: the name leads to what is of no use."""
        if self.connected:
            log.warning("%s; its last endpoints are kept", misfit)
            return
        if not self.bound:
            self.misfit = misfit
        if not self.awaited:
            log.warning("%s; it goes on trying", misfit)

    @property
    def awaited_source(self) -> str:
        """Why its name has led nowhere so far, "" where it has, or it has none."""
        source = self._source
        if source is None or self.connected:
            return ""
        if source.absence is not None:
            return str(source.absence)
        return source.awaited

    def happened(self, event: ConnectionEvent, now: float) -> None:
        """The socket's monitor has told this."""
        self._dialers.happened(event, now)
        self._dialers.settle(now)

    def settle(self, now: float) -> None:
        """Take in what was found out of hosts and of who refused, and dial where it is time to."""
        self._dialers.settle(now)

    @property
    def wake_at(self) -> float:
        """When `settle` is to be called."""
        return self._dialers.wake_at

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
        if service.split is not None:
            raise ConfigError(
                f"{name} is split ({service.source}): only calls are, so write type and address"
            )
        if not service.endpoints:
            # DNS is being asked; `follow` sees what it says.
            self._source, source.on_change = source, weak_call(self._wake)
            return
        if self._fits(service, (self.role.own,)) and not _has_key(service):
            self._bind_any(service)
            return
        misfit = self._misfit_of(service)
        if misfit is not None:
            raise misfit
        self._source, self._version = source, source.refresh(float("-inf"))
        for endpoint in service.endpoints:
            self.connect(endpoint.address, endpoint.hosts)

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

    def _misfit_of(self, service: Service) -> ConfigError | None:
        """Why this can't be connected to, and what to do; None where it can."""
        name, source = service.name, service.source
        if _has_key(service):
            return ConfigError(f"{name} has a key ({source}); this release can't encrypt yet")
        role, meets = self.role, " or ".join(self.role.meets)
        for endpoint in service.endpoints:
            if endpoint.hub or endpoint.type == "router":
                is_of = "leads to a hub for calls" if endpoint.hub else "is of type router"
                hint = ". To call it, use mesh.connect or `mesh call`"
            elif endpoint.type == role.own:
                return ConfigError(
                    f"{name} is of type {role.own} ({source}), so that its {role.name} is to bind, which it "
                    "does by itself where services.yml has the name: add it there, or bind an endpoint"
                )
            elif endpoint.type not in role.meets:
                is_of, hint = f"is of type {endpoint.type}", ""
            else:
                continue
            right = f"a {role.name} connects to {meets}, or binds where the type is {role.own}"
            return ConfigError(f"{name} {is_of} ({source}): {right}{hint}")
        return None


def _has_key(service: Service) -> bool:
    return any(endpoint.key is not None for endpoint in service.endpoints)
