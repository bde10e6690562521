"""A worker, a client and a call, as a hub knows them. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mesh.core.batch import Batch, Bundle
from mesh.core.channel import NEVER
from mesh.core.labels import Labels
from mesh.core.majordomo import Style

Address = tuple[int, tuple[bytes, ...]]
"""A side of the hub, and the routing envelope of a peer there."""


@dataclass(slots=True, eq=False)
class Worker:
    """One registered worker."""

    address: Address
    service: str
    """The name of its service at this hub."""
    style: Style
    about: dict[str, Any] | None
    """What it says of itself, where it is mesh's."""
    since: float
    last_heard: float
    next_beat: float = NEVER
    interval: float = NEVER
    """Seconds between heartbeats to it."""
    patience: float = NEVER
    """Seconds that it may be silent."""
    calls: dict[bytes, RoutedCall] = field(default_factory=dict)
    """What it has to answer, by token."""
    abandoned: dict[bytes, RoutedCall] = field(default_factory=dict)
    """Those of `calls` that nobody wants any more, and that it can't be told of."""
    beyond_room: set[bytes] = field(default_factory=set)
    """Tokens of the calls that it was given while it had no room; they take none of it."""
    methods: frozenset[str] | None = None
    """The names of all that it has, where it tells them."""
    ended: int = 0
    """Calls that it has answered."""
    errors: int = 0
    """Those of them that came to an error."""
    batch: Batch | None = None
    """What goes to it in one frame at the end of this turn, where it takes such."""
    number: int = 0
    """Which one of this hub's it is, for whoever asks about it."""
    registered_as: str = ""
    """What it calls its service."""
    blamed_until: float = 0.0
    """Until when its wrong answers are not worth another line in the log."""
    large_since: float = 0.0
    """When a large message that may still be on its way was sent, or last seen to move; 0.0 for none."""
    large_moves: bool = False
    """That such a message is on its way has been seen."""

    @property
    def stable_name(self) -> str:
        """What it is called at every hub where it registers: the address that it announces, else its host and
        process; "" where it tells neither."""
        about = self.about or {}
        host, pid, address = about.get("host"), about.get("pid"), about.get("address")
        if type(address) is str and address:
            return address
        return f"{host}:{pid}" if type(host) is str and type(pid) is int else ""

    @property
    def origin(self) -> str:
        """As " (box:123)", or " (ADDRESS)", to stand behind a word; "" where it tells neither."""
        about = self.about or {}
        host, pid, address = about.get("host"), about.get("pid"), about.get("address")
        if type(host) is str and type(pid) is int:
            return f" ({_printable(host)}:{pid % 2**32})"
        return f" ({_printable(address)})" if type(address) is str and address else ""


class Direct(NamedTuple):
    """A worker that may be called without the hub. host: that on which it says it runs, or ""."""

    address: str
    host: str
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Announced:
    """What a hub knows of the workers of one service.

    direct: those that announce an address. indirect: how many announce none.
    """

    direct: tuple[Direct, ...] = ()
    indirect: int = 0


class HubClient:
    """Whoever has calls open.

    calls: these, by the message id, or by our token where the client speaks Majordomo, and may use an id
    again. bundle: what goes to it in one frame at the end of this turn.
    """

    __slots__ = ("address", "bundle", "calls")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.calls: dict[Any, RoutedCall] = {}
        self.bundle: Bundle | None = None


class RoutedCall:
    """One call, from its request to its last answer."""

    __slots__ = (
        "abandoned",
        "answered",
        "batched",
        "body",
        "channel",
        "client",
        "client_heard",
        "deadline",
        "due",
        "early",
        "given",
        "head",
        "idempotent",
        "items",
        "key",
        "next_beat",
        "opened",
        "requested_as",
        "service",
        "size",
        "style",
        "token",
        "trace",
        "tries",
        "worker",
    )

    def __init__(
        self,
        token: bytes,
        client: HubClient,
        service: str,
        body: tuple[bytes, ...],
        size: int,
        opened: float,
        due: float,
        channel: Any = None,
    ) -> None:
        self.token = token
        """What its worker knows it by."""
        self.client = client
        self.service = service
        self.body = body
        self.size = size
        self.opened = opened
        self.client_heard = opened
        """When its client was heard last, or spoken for."""
        self.due = due
        """Until when its client wants it."""
        self.deadline = due
        """Until when it waits for a worker: earlier than `due` while its service is unknown."""
        self.channel = channel
        """The message id of its event; None where a Majordomo client has sent something else."""
        self.style: Style | None = None
        """How its client speaks Majordomo, where it does."""
        self.requested_as = ""
        """The service, as a Majordomo client names it."""
        self.key: Any = None
        """What its client has set as its key, not looked at so far; None for none."""
        self.idempotent = False
        self.answered = False
        """Some of the answer has gone to the client."""
        self.abandoned = False
        """Nobody wants it any more: its client gets nothing more of it."""
        self.batched = False
        """It came with others in one frame, and so may its answer go."""
        self.tries = 0
        """Workers that had it."""
        self.items = 0
        """Those of a stream to a Majordomo client so far."""
        self.trace: tuple[Any, Any] | None = None
        """The ids of its trace and span, not looked at so far; None where it belongs to none."""
        self.head = b""
        """How its event began, once a worker has it and the body is kept no more."""
        self.given = NEVER
        """When the last worker got it."""
        self.next_beat = NEVER
        """When its client is owed a sign of life from the hub, where its worker gives none."""
        self.worker: Worker | None = None
        self.early: tuple[bytes, ...] = ()
        """Events that came before it had an answer, for its worker or the next."""


def _printable(text: str) -> str:
    return "".join(char for char in text[:80] if char.isprintable())
