"""Where `mesh serve` listens: the endpoints to bind, and listening sockets that processes share.

Owns the default where the user gives no endpoint. It must not know servers.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.transport.ipc import path_of

DEFAULT_BIND = "tcp://127.0.0.1:4242"
BACKLOG = 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Binds:
    """The endpoints to listen on. any_of: the first that this host can take, not all of them.

    note: what the user may not have expected of them.
    """

    endpoints: tuple[str, ...]
    any_of: str = ""
    note: str = ""

    def each(self, bind: Callable[[str], T]) -> list[T]:
        """Bind what is to be bound; the results of `bind`. Raises its ConfigError."""
        if not self.any_of:
            return [bind(endpoint) for endpoint in self.endpoints]
        problems = []
        for endpoint in self.endpoints:
            try:
                return [bind(endpoint)]
            except ConfigError as error:
                problems.append(str(error))
        raise ConfigError(f"none of the addresses of {self.any_of} can be served here: {'; '.join(problems)}")


def choose_binds(
    bind: Sequence[str], connect: Sequence[str], service: str | None, services_file: str | None
) -> Binds:
    """What to bind: what the user gives, else the service's own addresses, else the default."""
    for endpoint in bind:
        check_endpoint(endpoint, bind=True)
    for endpoint in connect:
        check_endpoint(endpoint)
    if bind or connect:
        return Binds(tuple(bind))
    return (service and _from_registry(service, services_file)) or Binds((DEFAULT_BIND,))


def choose_access(binds: Binds, mode: int | None, group: str | None) -> dict[str, Any]:
    """What `Server.bind` is told of who may connect. Raises ConfigError where that means nothing."""
    given = {key: value for key, value in (("mode", mode), ("group", group)) if value is not None}
    if given and not any(map(path_of, binds.endpoints)):
        raise ConfigError(f"--{next(iter(given))} is for the path of a --bind ipc://PATH, and there is none")
    return given


def _from_registry(name: str, services_file: str | None) -> Binds | None:
    from mesh.names.catalog import Catalog
    from mesh.names.model import Failed, Found, Missing, nearest

    catalog = Catalog(services_file)
    match catalog.lookup(name):
        case Failed(error):
            raise error
        case Missing(_, known):
            if services_file:
                raise ConfigError(f"{services_file} has no service {name!r}: add it, or give --bind")
            if catalog.path is None:
                return None
            hint = nearest(name, known)
            lacks = f"{catalog.path} has no service {name!r}{f'{hint} It' if hint else '; it'}"
            return Binds((DEFAULT_BIND,), note=f"{lacks} listens on {DEFAULT_BIND}")
        case Found(found):
            if found.split is not None:
                names = " and ".join(found.split.names)
                raise ConfigError(f"{name} is split between {names} ({found.source}): serve one of those")
            for endpoint in found.endpoints:
                if endpoint.type != "router" or endpoint.hub:
                    kind = "behind a hub" if endpoint.hub else f"of type {endpoint.type!r}"
                    raise ConfigError(f"{name} is {kind} ({found.source}), not a server to bind: give --bind")
            return Binds(found.addresses, any_of=f"{name} ({found.source})")


def listen(endpoint: str) -> tuple[str, socket.socket]:
    """A listening socket for a tcp endpoint, and the real endpoint, with the port that `*` became."""
    transport, _, address = endpoint.partition("://")
    if transport != "tcp":
        raise ConfigError(f"{endpoint!r} can't be shared by processes: --processes needs tcp://HOST:PORT")
    host, _, port = address.rpartition(":")
    try:
        listening = _listen("0.0.0.0" if host == "*" else host, 0 if port == "*" else int(port))
    except OSError as error:
        raise ConfigError(f"can't bind to {endpoint!r}: {_reason(error)}") from None
    return _real(listening), listening


def _listen(host: str, port: int) -> socket.socket:
    # As libzmq does: a name means IPv4, also where it has an IPv6 address that comes first.
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    found = socket.getaddrinfo(host.strip("[]"), port, family, socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        # Each process wakes up for a connection, and all but one find it taken: none may block.
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _real(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host or network interface"
    if error.errno == errno.EADDRINUSE:
        return "the address is in use already; stop the other program or take another port"
    return os.strerror(error.errno) if error.errno else str(error)
