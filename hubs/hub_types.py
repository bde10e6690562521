"""The types of hubs: one row of one table for each.

A row says which keys a hub of the type may have in its file, who is at its two sides, and how it is made. How
a key is read is said in spec_reader.py, once for all types that have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from hubs.broker import Broker
from hubs.devices import ANONYMOUS_QUEUE, FORWARDER, STREAMER, Device
from hubs.hub import Hub
from hubs.spec import HubSpec
from hubs.switching.queue import QueueScheduler
from hubs.switching.sharded import ShardedScheduler

_EVERY: Final = ("in", "out", "type", "heartbeat", "max_message", "prometheus", "drain", "mode", "group")
PUBLISHED: Final = ("publish",)
"""What a hub has that clients call."""
WAITING_KEYS: Final = ("queue", "queue_bytes", "timeout")
"""What a hub says where calls wait in it."""


@dataclass(frozen=True, slots=True)
class HubType:
    """One type of hub."""

    in_: str
    """Who comes to the in side, for errors."""
    out: str
    """Who comes to the out side."""
    keys: tuple[str, ...]
    """Those that its file may have."""
    make: Callable[[HubSpec], Hub]
    """Makes a hub of it, which is not started."""


def _make_queue(spec: HubSpec) -> Hub:
    if spec.anonymous:
        return Device(spec, ANONYMOUS_QUEUE)
    return Broker(spec, QueueScheduler, one_service=True)


HUB_TYPES: Final[dict[str, HubType]] = {
    "queue": HubType(
        in_="clients",
        out="workers",
        keys=(*_EVERY, "workers", "service", *WAITING_KEYS, *PUBLISHED),
        make=_make_queue,
    ),
    "sharded": HubType(
        in_="clients",
        out="workers",
        keys=(*_EVERY, "service", *WAITING_KEYS, *PUBLISHED),
        make=partial(Broker, new_scheduler=ShardedScheduler, one_service=True),
    ),
    "majordomo": HubType(
        in_="clients",
        out="workers",
        keys=(*_EVERY, "default", *WAITING_KEYS, *PUBLISHED),
        make=partial(Broker, new_scheduler=QueueScheduler, one_service=False),
    ),
    "forwarder": HubType(
        in_="publishers",
        out="subscribers",
        keys=_EVERY,
        make=partial(Device, kind=FORWARDER),
    ),
    "streamer": HubType(
        in_="pushers",
        out="pullers",
        keys=_EVERY,
        make=partial(Device, kind=STREAMER),
    ),
}


def make_hub(spec: HubSpec) -> Hub:
    """The hub of a spec, not started."""
    return HUB_TYPES[spec.type].make(spec)
