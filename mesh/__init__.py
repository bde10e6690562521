"""Python programs on many machines call each other by service name, over ZeroMQ.

See docs/ for more; `connect` and `Server` are where to begin.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mesh.errors import (
    ConfigError,
    LostRemote,
    MeshError,
    MethodNotFound,
    Overloaded,
    RemoteError,
    ServiceNotFound,
    TimeoutExpired,
    Unauthorized,
    WireError,
)

if TYPE_CHECKING:
    from mesh.core.balance_rule import Balance
    from mesh.core.methods import expected, idempotent, stream
    from mesh.core.middleware import current_call
    from mesh.core.span import fork
    from mesh.green.client import Client, connect
    from mesh.green.events import Publisher, Pusher
    from mesh.green.receivers import Puller, Subscriber
    from mesh.green.server import Server
    from mesh.transport.tracing import log_trace_ids, span, trace

__all__ = [
    "Balance",
    "Client",
    "ConfigError",
    "LostRemote",
    "MeshError",
    "MethodNotFound",
    "Overloaded",
    "Publisher",
    "Puller",
    "Pusher",
    "RemoteError",
    "Server",
    "ServiceNotFound",
    "Subscriber",
    "TimeoutExpired",
    "Unauthorized",
    "WireError",
    "connect",
    "current_call",
    "expected",
    "fork",
    "idempotent",
    "log_trace_ids",
    "span",
    "stream",
    "trace",
]

# Loaded when first asked for, so that importing mesh, and a command's help, cost little.
_LAZY = {
    "Client": "mesh.green.client",
    "connect": "mesh.green.client",
    "Server": "mesh.green.server",
    "Publisher": "mesh.green.events",
    "Pusher": "mesh.green.events",
    "Subscriber": "mesh.green.receivers",
    "Puller": "mesh.green.receivers",
    "Balance": "mesh.core.balance_rule",
    "current_call": "mesh.core.middleware",
    "expected": "mesh.core.methods",
    "fork": "mesh.core.span",
    "idempotent": "mesh.core.methods",
    "log_trace_ids": "mesh.transport.tracing",
    "span": "mesh.transport.tracing",
    "stream": "mesh.core.methods",
    "trace": "mesh.transport.tracing",
}


if not TYPE_CHECKING:  # a checker would take any name for one of ours, also a misspelt one

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'mesh' has no attribute {name!r}")
        try:
            value = getattr(import_module(_LAZY[name]), name)
            if name in ("trace", "span") and "gevent" in sys.modules:
                # A greenlet begins without a context: from now on it is given the trace of who spawns it.
                import_module("mesh.green.spawned")
        except OSError as exc:  # no file descriptor was left to read the module's file
            raise MeshError(f"mesh.{name} can't be loaded: {exc}; see `ulimit -n`") from exc
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
