"""Which collector a process tells of its calls.

MESH_TRACE names it, by an endpoint or a service of the registry, or is off. Without it a service `collector`
of the registry does: one in services.yml, and else, where MESH_DOMAIN says whose DNS to ask, one there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from mesh.core.trace_record import COLLECTOR
from mesh.errors import ServiceNotFound
from mesh.names.catalog import Catalog
from mesh.names.followed import Follower
from mesh.names.model import Answer, Endpoint, Failed, Found, Missing
from mesh.names.resolver import resolve
from mesh.transport import dns_entrance

ENV: Final = "MESH_TRACE"
ENV_DOMAIN: Final = "MESH_DOMAIN"
DELAY: Final = 1.0
"""Seconds that a program has run before DNS is asked for a collector that nothing else tells of: to load what
asks takes a tenth of one, which a command that is over at once is not to pay for.
"""
_OFF: Final = ("", "0", "off")


def named_collector() -> str | None:
    """What MESH_TRACE names; "" where it says that no calls are to be recorded, None where it is not set."""
    named = os.environ.get(ENV)
    return "" if named is not None and named.lower() in _OFF else named


def dns_may_name_it() -> bool:
    """Whether DNS is asked for a collector of which neither MESH_TRACE nor services.yml says anything. The
    search list of a machine alone, which nearly every machine has, is no reason to.
    """
    return bool(os.environ.get(ENV_DOMAIN))


def may_be_named() -> bool:
    """Whether there may be a collector. A file is not parsed here, which takes time."""
    named = named_collector()
    if named is not None:
        return bool(named)
    return dns_may_name_it() or _file_mentions_it()


def _file_mentions_it() -> bool:
    path = Catalog().path
    if path is None:
        return False
    with suppress(OSError), open(path, "rb") as file:
        return COLLECTOR.encode() in file.read()
    return False


class CollectorNames:
    """For one thread. delay: seconds to wait before the first look."""

    def __init__(self) -> None:
        self._named = named_collector()
        self._dns: Follower | None = None
        self.delay = 0.0 if self._named or _file_mentions_it() else DELAY

    @property
    def label(self) -> str:
        """What an error begins with that says that there is no collector."""
        return f"{ENV} is {self._named!r:.80}: " if self._named else ""

    @property
    def promised(self) -> bool:
        """Whether somebody said that there is a collector; else it is no trouble that none is found."""
        return not self.delay

    @property
    def awaited(self) -> bool:
        """Whether DNS has been asked for one that was promised, and has not answered yet."""
        return self.promised and self._dns is not None and self._dns.answer is None

    def look_up(self) -> Sequence[Endpoint]:
        """The collectors' endpoints as they are known now; none where there is no collector.

        Raises ServiceNotFound where nobody knows the name, or can tell yet; ConfigError for what is no name,
        and for wrong settings. May import what asks DNS.
        """
        catalog = Catalog()
        if self._named:
            return resolve(self._named, catalog, self).endpoints
        if any(service.name == COLLECTOR for service in catalog.services()):
            return resolve(COLLECTOR, catalog).endpoints
        if not dns_may_name_it():
            return ()
        match self.lookup(COLLECTOR):
            case Found(service):
                return service.endpoints
            case Failed(error):
                raise error
            case Missing():
                return ()

    def lookup(self, name: str) -> Answer:
        """What DNS says of the name now: this is a source of names as the catalog is."""
        if self._dns is None:
            self._dns = dns_entrance.follow(name, lambda: None)
            if self._dns is None:
                return Missing(())
        # To look at the version has DNS asked where that could not begin, for lack of descriptors.
        answer = self._dns.answer if self._dns.version else None
        trouble = self._dns.trouble or "it has not answered yet"
        return answer or Failed(ServiceNotFound(f"{self._dns.looked_in} can't tell: {trouble}"))
