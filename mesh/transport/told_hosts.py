"""The addresses of hosts that DNS has told beside the services there.

They go before what the system would find: `MESH_DNS` may name a server that it does not ask. For any thread.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 4_096
"""Hosts that are kept; of more the oldest are forgotten."""

_told: dict[str, tuple[str, ...]] = {}


def tell(host: str, addresses: tuple[str, ...]) -> None:
    """A host is there. One that was told before goes by this from now on."""
    if _told.get(host) != addresses:
        _told.pop(host, None)
        _told[host] = addresses
        while len(_told) > MOST:
            _told.pop(next(iter(_told)), None)


def addresses_of(host: str) -> tuple[str, ...]:
    """Where it is, as far as was told; none where nothing was."""
    return _told.get(host.lower().rstrip("."), ())
