"""mesh for asyncio: the same clients, servers and events as those of `mesh` itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.aio.client import Client, connect
    from mesh.aio.events import Publisher, Pusher
    from mesh.aio.receivers import Puller, Subscriber
    from mesh.aio.server import Server

__all__ = ["Client", "Publisher", "Puller", "Pusher", "Server", "Subscriber", "connect"]

# Loaded when first asked for, so that importing mesh.aio costs little.
_LAZY = {
    "Client": "mesh.aio.client",
    "connect": "mesh.aio.client",
    "Publisher": "mesh.aio.events",
    "Pusher": "mesh.aio.events",
    "Subscriber": "mesh.aio.receivers",
    "Puller": "mesh.aio.receivers",
    "Server": "mesh.aio.server",
}


if not TYPE_CHECKING:  # a checker would take any name for one of ours, also a misspelt one

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'mesh.aio' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
