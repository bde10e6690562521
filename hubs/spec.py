"""One hub of a hub.yml, as frozen data. How it is read is spec_reader.py's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.core.wire import MAX_MESSAGE
from mesh.transport.ipc import Access


@dataclass(frozen=True, slots=True)
class Side:
    """The endpoints of one side, in the file's order; at least one.

    access: who may connect to those of ipc that it binds; None for whom the umask leaves in. at: where each
    stands, for errors.
    """

    bind: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    access: Access | None = None
    at: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class Publish:
    """Where a hub publishes itself.

    server: host and port; None for the zone's primary. key_file: of the TSIG key that updates are signed
    with. ttl: seconds, of all records. as_: the host to publish for addresses that say nothing to others;
    None for none. source: where this was read.
    """

    zone: str
    key_file: str
    server: tuple[str, int] | None = None
    ttl: int = 5
    as_: str | None = None
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class HubSpec:
    """One hub. What its type has no key for keeps the default.

    type: a name of hub_types.py. anonymous: a queue for workers that only connect. service: what the workers
    of a queue or sharded hub register as; None takes any name. default: the service of a majordomo hub that
    gets events without one. heartbeat, timeout, drain: seconds. queue: calls that may wait, for each service;
    queue_bytes: what they may take. max_message: bytes. prometheus: a tcp:// endpoint; hubs that name the
    same share it. publish: None for not at all. source: where this was read, as "hub.yml:3", prometheus_at:
    and that; they count for nothing in a comparison.
    """

    name: str
    type: str
    in_: Side
    out: Side
    anonymous: bool = False
    service: str | None = None
    default: str | None = None
    heartbeat: float = 2.5
    queue: int = 10_000
    queue_bytes: int = 256 * 2**20
    timeout: float = 30.0
    max_message: int = MAX_MESSAGE
    prometheus: str | None = None
    drain: float = 30.0
    publish: Publish | None = None
    source: str = field(default="", compare=False)
    prometheus_at: str = field(default="", compare=False)

    @property
    def one_socket(self) -> bool:
        """Whether the clients and the workers of a majordomo hub share its endpoints."""
        return self.type == "majordomo" and self.in_ == self.out
