"""The endpoints of a named service, followed as its registry changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

from mesh.errors import MeshError
from mesh.names.catalog import Catalog
from mesh.names.model import Service
from mesh.names.resolver import resolve

log = logging.getLogger("mesh.names")


def endpoints_of(service: Service) -> list[tuple[str, int]]:
    """The (endpoint, weight) pairs of a service."""
    return [(endpoint, service.weight) for endpoint in service.endpoints]


class Followed:
    """One name in a catalog. A name that disappears keeps its last endpoints."""

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
                self.service = resolve(self.service.name, self._catalog)
            except MeshError as exc:
                log.warning("%s; its last endpoints are kept", exc)
        return endpoints_of(self.service)
