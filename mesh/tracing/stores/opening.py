"""Which store a text means."""

from __future__ import annotations

from typing import Final

from mesh.errors import ConfigError
from mesh.tracing.store import Bounds, Store

DEFAULT: Final = "mesh-traces.db"
"""A file in the current folder."""


def open_store(text: str, bounds: Bounds) -> Store:
    """text: `memory`, redis://HOST:PORT/NUMBER, or the path of a file. Raises ConfigError."""
    if text == "memory":
        from mesh.tracing.stores.memory import MemoryStore

        return MemoryStore(bounds)
    if text.startswith(("redis://", "rediss://", "unix://")):
        from mesh.tracing.stores.redis import RedisStore

        return RedisStore(text, bounds)
    if "://" in text or text.partition(":")[0].lower() in ("memory", "redis", "rediss"):
        raise ConfigError(f"--store {text}: there are redis://HOST:PORT/NUMBER, memory, and files")
    from mesh.tracing.stores.sqlite import SqliteStore

    return SqliteStore(text.removeprefix("sqlite:"), bounds)
