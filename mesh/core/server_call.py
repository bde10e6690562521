"""One request as its server sees it, and the limits of what peers may fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mesh.core import settings, wire
from mesh.core.channel import FASTEST, FIRST_CREDIT, NEVER, QUEUED, Channel
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.wire import Header


class HubCall(NamedTuple):
    """Whom the answer to a call through a hub goes to. token: what the hub knows the call by."""

    hub: int
    token: bytes


Peer = bytes | tuple[bytes, ...] | HubCall
"""The routing envelope of a peer: one frame, or several where devices stand between; or a call of
a hub that this server is registered with, which keeps its peers to itself."""
Out = tuple[Peer, bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """What peers may fill. queue: calls that wait for a handler. queue_bytes: their requests, and
    from the first MiB on what they take in memory.

    max_message: bytes of one event. max_elements: values in one event, at the most; see elements.py.
    max_heartbeat: seconds, the slowest beat that a peer may ask
    for; one that gives no beats is treated like that too. channels: calls that one peer may have
    open. Raises ConfigError.
    """

    queue: int = 1_000
    queue_bytes: int = 256 * 1024 * 1024
    max_message: int = wire.MAX_MESSAGE
    max_elements: int = MAX_ELEMENTS
    max_heartbeat: float = 300.0
    channels: int = 5_000

    def __post_init__(self) -> None:
        settings.count("queue", self.queue)
        settings.size("queue_bytes", self.queue_bytes)
        settings.size("max_message", self.max_message)
        settings.size("max_elements", self.max_elements)
        settings.seconds("max_heartbeat", self.max_heartbeat, FASTEST)
        settings.count("channels", self.channels)


DEFAULT_LIMITS: Final = Limits()


class ServerCall(Channel):
    """One request: who sent it, what it asks for, and how far its answer has come.

    version: the protocol version of its sender. credit: stream items that may be sent now. batched: it came
    with others in one frame, and so may its answer go. group: items of its stream, packed, that are to go in
    one event; None where its caller takes one in each. group_size: their bytes. item_at: when the last came.
    given_up: the sender is gone or has cancelled. nested: the calls that its handler makes, as nested.py
    keeps them. patience: seconds between the beats expected. begun: when its handler began, 0.0 before. late:
    its answer tells the ids of its trace, which it was given after it came. unrecorded: its error is not
    recorded, and says so. granted: credit that it had in all; starved: seconds that it waited for some.
    """

    __slots__ = (
        "args",
        "batched",
        "begun",
        "credit",
        "deadline",
        "given_up",
        "granted",
        "group",
        "group_size",
        "header",
        "interval",
        "item_at",
        "late",
        "method",
        "nested",
        "patience",
        "peer",
        "size",
        "starved",
        "unrecorded",
        "version",
    )

    def __init__(
        self, peer: Peer, header: Header, method: str, args: list[Any], size: int, now: float, interval: float
    ) -> None:
        # As Channel's, without the call of it.
        self.id = header["message_id"]
        self.opened = now
        self.next_beat = now + interval
        self.last_heard = 0.0
        self.state = QUEUED
        self.waiter = None
        self.peer = peer
        self.header = header
        self.method = method
        self.args = args
        self.size = size
        self.interval = self.patience = interval
        self.deadline = NEVER
        self.credit = FIRST_CREDIT
        self.batched = False
        self.group: list[bytes] | None = None
        self.group_size = 0
        self.item_at = 0.0
        self.given_up = False
        self.begun = 0.0
        self.late = False
        self.unrecorded = False
        self.granted = FIRST_CREDIT
        self.starved = 0.0
        self.nested: dict[Any, Any] | None = None
        version = header.get("v", 1)
        self.version = version if type(version) is int else 1

    @property
    def items(self) -> int:
        """How many items of its stream have gone out."""
        return self.granted - self.credit
