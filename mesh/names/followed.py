"""The endpoints of a named service, followed as its registry changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

from mesh.errors import ConfigError, MeshError
from mesh.names.catalog import Catalog
from mesh.names.model import Endpoint, Service
from mesh.names.resolver import resolve

log = logging.getLogger("mesh.names")


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

    def endpoints(self) -> Sequence[Endpoint]:
        version = self._catalog.version
        if version != self._seen:
            self._seen = version
            try:
                service = resolve(self.service.name, self._catalog)
                _check_change(self.service, service)
                self.service = service
            except MeshError as exc:
                log.warning("%s; its last endpoints are kept", exc)
        return self.service.endpoints


def _check_change(before: Service, now: Service) -> None:
    """Raise ConfigError where a connection that was made for `before` is no good for `now`."""
    was = before.endpoints[0].type
    for endpoint in now.endpoints:
        if endpoint.key is not None:
            raise ConfigError(f"{now.name} has a key now ({endpoint.source}); this release can't encrypt yet")
        if (was == "router") != (endpoint.type == "router"):
            raise ConfigError(
                f"{now.name} was of type {was} and is of type {endpoint.type} ({endpoint.source})"
            )
