"""The endpoints of a named service, followed as its registry changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

from mesh.errors import ConfigError, MeshError
from mesh.names.catalog import Catalog
from mesh.names.model import Service
from mesh.names.resolver import resolve

log = logging.getLogger("mesh.names")


def endpoints_of(service: Service) -> list[tuple[str, int]]:
    """The (endpoint, weight) pairs of a service."""
    return [(endpoint, service.weight) for endpoint in service.endpoints]


class Followed:
    """One name in a catalog. It keeps its last endpoints where it disappears, or becomes what those
    who use it can't talk to.
    """

    def __init__(self, name: str, catalog: Catalog) -> None:
        self._catalog = catalog
        self._catalog.refresh(monotonic())
        self.service = resolve(name, catalog)
        self._seen = catalog.version

    def refresh(self, now: float) -> int:
        """A number that changes with the endpoints; looks at the file at most once a second."""
        self._catalog.refresh(now)
        return self._catalog.version

    def endpoints(self) -> Sequence[tuple[str, int]]:
        version = self._catalog.version
        if version != self._seen:
            self._seen = version
            try:
                service = resolve(self.service.name, self._catalog)
                _check_change(self.service, service)
                self.service = service
            except MeshError as exc:
                log.warning("%s; its last endpoints are kept", exc)
        return endpoints_of(self.service)


def _check_change(before: Service, now: Service) -> None:
    """Raise ConfigError where a connection that was made for `before` is no good for `now`."""
    if now.key is not None:
        raise ConfigError(f"{now.name} has a key now ({now.source}); this release can't encrypt yet")
    if (before.type == "router") != (now.type == "router"):
        raise ConfigError(f"{now.name} was of type {before.type} and is of type {now.type} ({now.source})")
    if before.hub != now.hub:
        was, is_now = ("hubs", "servers") if before.hub else ("servers", "hubs")
        raise ConfigError(f"{now.name} led to {was} and leads to {is_now} ({now.source}): connect anew")
