"""Which endpoints the hubs of one process bind, so that one that is bound twice is found in the text.

Looks at the text alone, as endpoints.py of mesh.names does: two names of one host are seen only
when the second hub binds.
"""

from __future__ import annotations

import posixpath
from typing import NamedTuple

_EVERY_HOST = ("*", "0.0.0.0", "::")
_THIS_HOST = ("127.0.0.1", "::1")


class BoundEndpoint(NamedTuple):
    """owner: what binds the endpoint, in words. source: where that stands, as "hub.yml:3"."""

    endpoint: str
    owner: str
    source: str


class EndpointConflicts:
    """All that is bound so far, in all files of a process."""

    def __init__(self) -> None:
        self._bound: list[BoundEndpoint] = []

    def add(self, claim: BoundEndpoint, *, shared: bool = False) -> BoundEndpoint | None:
        """Enter it; or give the one that it clashes with.

        shared: endpoints of the same owner for the same endpoint are one.
        """
        for other in self._bound:
            if shared and (other.owner, other.endpoint) == (claim.owner, claim.endpoint):
                return None
            if clash(claim.endpoint, other.endpoint):
                return other
        self._bound.append(claim)
        return None


def clash(one: str, other: str) -> bool:
    """Whether a machine can't have both endpoints bound."""
    transport, host, port = _parts(one)
    other_transport, other_host, other_port = _parts(other)
    if transport != other_transport or port != other_port or port == "*":
        return False
    return host == other_host or "*" in (host, other_host)


def reaches(connected: str, bound: str) -> bool:
    """Whether what connects to the one surely comes to the other, on the same machine."""
    transport, host, port = _parts(connected)
    other_transport, other_host, other_port = _parts(bound)
    if transport != other_transport or port != other_port or port == "*":
        return False
    return host == other_host or (other_host == "*" and host in _THIS_HOST)


def _parts(endpoint: str) -> tuple[str, str, str]:
    """Transport, host ("*" for every one) and port. A path is a port without a host."""
    transport, _, address = endpoint.partition("://")
    if transport != "tcp":
        return transport, "", address if address[0] in "*@" else posixpath.normpath(address)
    host, _, port = address.rpartition(":")
    host = host.strip("[]").lower().rstrip(".")
    if host in _EVERY_HOST:
        host = "*"
    return transport, "127.0.0.1" if host == "localhost" else host, port.lstrip("0")
