"""From what a program gives `connect` to the connections of a client and the options of its calls."""

from __future__ import annotations

from typing import Final

from mesh.core import settings
from mesh.core.call import Options
from mesh.core.client_session import check_settings
from mesh.core.values import Encode
from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed
from mesh.names.model import Service
from mesh.names.resolver import Target, resolve
from mesh.transport.client_connections import ClientConnections

DEFAULT_TIMEOUT: Final = 30.0


def reach(
    target: Target,
    timeout: float | None,
    heartbeat: float | None,
    services: str | None,
    max_message: int,
    max_elements: int,
    encode: Encode | None,
    *,
    wakes_later: bool = False,
) -> tuple[Service, ClientConnections, Options]:
    """What `connect` makes of its arguments, in each driver. wakes_later: as ClientEndpoint's.

    Connects to nothing yet. Raises ServiceNotFound and ConfigError.
    """
    check_settings(heartbeat, max_message, max_elements)
    settings.function("encode", encode)
    service, source = _find(target, services)
    check_takes_calls(service)
    if timeout is DEFAULT_TIMEOUT and service.timeout is not None:
        timeout = service.timeout
    options = Options(timeout=timeout, retries=service.retries or 0)
    connections = ClientConnections(
        service,
        source,
        None,
        heartbeat,
        max_message,
        max_elements,
        encode,
        wakes_later=wakes_later,
    )
    return service, connections, options


def check_takes_calls(service: Service) -> None:
    """Raise ConfigError for a service that no client of this release can call."""
    for endpoint in service.endpoints:
        if endpoint.type != "router":
            raise ConfigError(
                f"{service.name} is of type {endpoint.type!r} ({endpoint.source}), which takes no calls"
            )
        if endpoint.key is not None:
            raise ConfigError(f"{service.name} has a key ({endpoint.source}); this release can't encrypt yet")


def _find(target: Target, services: str | None) -> tuple[Service, Followed | None]:
    if isinstance(target, str) and "://" not in target:
        source = Followed(target, Catalog(services))
        return source.service, source
    return resolve(target), None
