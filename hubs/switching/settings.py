"""What one switch goes by: the settings of its hub, as far as they are its business. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from hubs.switching.queue import QueueScheduler
from hubs.switching.scheduler import NewScheduler
from mesh.core.majordomo import MAX_BATCH


@dataclass(frozen=True, slots=True)
class Settings:
    """What a hub's file says, and what follows from the type of the hub."""

    hub: str = "hub"
    """Its name, for errors and the log."""
    only: str | None = None
    """The one service of a hub that has one, for calls that name none too; None where workers say."""
    any_name: bool = False
    """Workers and clients may call that one service as they like."""
    default: str | None = None
    """The service of calls that name none."""
    heartbeat: float = 2.5
    """Seconds between heartbeats to workers."""
    queue: int = 10_000
    """Calls of one service that may wait."""
    queue_bytes: int = 256 * 1024 * 1024
    """Bytes that those may take."""
    timeout: float = 30.0
    """Seconds, for calls that bring no deadline."""
    workers_at: int | None = None
    """The one side where workers may register; None for any."""
    batch: int = MAX_BATCH
    """Bytes of a batch that the hub takes."""
    new_scheduler: NewScheduler = QueueScheduler
    """Makes what shares the calls of one service out."""
