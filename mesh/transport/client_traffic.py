"""What services.yml says of a client's calls: to which services they are split, what befalls them in tests.

Faults are put in only where the environment has MESH_FAULTS=1: a line that was forgotten harms nobody.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.core.traffic import Faults, Split
from mesh.errors import MeshError
from mesh.names.model import Service

if TYPE_CHECKING:
    from mesh.transport.client_connections import ClientConnections

SWITCH: Final = "MESH_FAULTS"

log = logging.getLogger("mesh.names")

MakePart = Callable[[str], "ClientConnections"]
"""Gives the connections to a service that calls are split to. Raises ServiceNotFound and ConfigError."""


class TrafficRules(NamedTuple):
    """split: None where calls go to the service's own endpoints. parts: the connections to those services
    that the split names. faults: None where none are put in.
    """

    split: Split | None
    parts: Mapping[str, ClientConnections] = MappingProxyType({})
    faults: Faults | None = None

    def part(self, key: bytes | None) -> ClientConnections | None:
        """Where a call goes, which has this key or none; None for the service's own endpoints."""
        return None if self.split is None else self.parts[self.split.choose(random.random(), key)]


def rules_of(
    service: Service, make_part: MakePart | None, before: TrafficRules | None
) -> TrafficRules | None:
    """The rules of a service as it is now; None where it has none. before: those until now, whose connections
    are kept. Raises the error of a service that it is split to and that can't be found.
    """
    faults = service.faults if _switched_on() else None
    if faults is not None and (before is None or before.faults != faults):
        _tell(service, faults)
    if service.split is None or make_part is None:
        return None if faults is None else TrafficRules(None, faults=faults)
    known = {} if before is None else before.parts
    parts = {name: known.get(name) or _made(name, service, make_part) for name in service.split.names}
    return TrafficRules(service.split, parts, faults)


def _made(name: str, service: Service, make_part: MakePart) -> ClientConnections:
    try:
        return make_part(name)
    except MeshError as exc:
        raise type(exc)(f"{service.name} is split to {name!r} ({service.source}): {exc}") from None


_told: Final[set[tuple[str, Faults] | str]] = set()
"""What the log has already: the faults of services, and values of SWITCH that mean nothing."""


def _switched_on() -> bool:
    value = os.environ.get(SWITCH, "")
    if value not in ("", "0", "1") and value not in _told:
        _told.add(value)
        log.warning("%s is %.80r and puts no faults in: it takes 1, as in %s=1", SWITCH, value, SWITCH)
    return value == "1"


def _tell(service: Service, faults: Faults) -> None:
    if (service.name, faults) not in _told:
        _told.add((service.name, faults))
        log.warning(
            "%s is 1: of the calls of %s %g %% wait for %g s, %g %% fail and %g %% are dropped, as %s says",
            SWITCH,
            service.name,
            faults.delayed,
            faults.delay,
            faults.failed,
            faults.dropped,
            service.source,
        )
