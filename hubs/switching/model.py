"""What a switch keeps: its settings, workers, services and open calls. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hubs.switching.call_stats import CallStats
from hubs.switching.pool import Pool
from hubs.switching.waiting import Waiting
from mesh.core.batch import Batch
from mesh.core.channel import NEVER
from mesh.core.majordomo import MAX_BATCH, Style

Address = tuple[int, tuple[bytes, ...]]
"""A side of the hub, and the routing envelope of a peer there."""


@dataclass(frozen=True, slots=True)
class Settings:
    """hub: its name, for the errors. only: the one service of a queue hub, for events
    without a name too; None where workers say.

    any_name: workers and clients may call that one as they like.
    default: the service of events without a name. heartbeat: seconds between heartbeats to
    workers. queue, queue_bytes: what may wait, for each service. timeout: seconds, for calls that
    bring no deadline. workers_at: the one side where workers may register; None for any. batch: bytes
    of a batch that the hub takes.
    """

    hub: str = "hub"
    only: str | None = None
    any_name: bool = False
    default: str | None = None
    heartbeat: float = 2.5
    queue: int = 10_000
    queue_bytes: int = 256 * 1024 * 1024
    timeout: float = 30.0
    workers_at: int | None = None
    batch: int = MAX_BATCH


@dataclass(slots=True, eq=False)
class Worker:
    """One registered worker. about: what it says of itself, where it is mesh's.

    interval: seconds between heartbeats to it; patience: seconds that it may be silent. calls: what it
    has to answer, by token; left: those of them that nobody wants and that it can't be told of. pings:
    those that it was given while it had no room, which take none of it. ended: calls that it has
    answered; errors: those of them with an error. batch: what goes to it in one frame at the end of this
    turn, where it takes such. asked: what it calls the service. blamed: until when its wrong answers are
    not worth another line in the log. laden: when the last large message went to it that may still be on
    its way, or was seen to move; 0.0 where there is none. fed: that it is on its way has been seen.
    """

    address: Address
    service: str
    style: Style
    about: dict[str, Any] | None
    since: float
    last_heard: float
    next_beat: float = NEVER
    interval: float = NEVER
    patience: float = NEVER
    calls: dict[bytes, Call] = field(default_factory=dict)
    left: dict[bytes, Call] = field(default_factory=dict)
    pings: set[bytes] = field(default_factory=set)
    ended: int = 0
    errors: int = 0
    batch: Batch | None = None
    asked: str = ""
    blamed: float = 0.0
    laden: float = 0.0
    fed: bool = False

    @property
    def who(self) -> str:
        """As " (box:123)", or its address; "" where it tells neither."""
        about = self.about or {}
        host, pid, address = about.get("host"), about.get("pid"), about.get("address")
        if type(host) is str and type(pid) is int:
            return f" ({_printable(host)}:{pid % 2**32})"
        return f" ({_printable(address)})" if type(address) is str and address else ""


class Call:
    """One call. style: where its client speaks Majordomo. channel: the message id of its event; None where
    a Majordomo client has sent something else.

    deadline: until when it waits for a worker; due: what it brought, for the deadline is earlier while
    its service is unknown. answered: some of the answer has gone to the client. gone: the client
    has, and gets no more.
    asked: the service as a Majordomo client names it. early: events that came before it had an
    answer, for its worker or the next. batched: it came with others in one frame, and so may its answer go.
    items: those of a stream to a Majordomo client so far. tries: workers that had it. given: when the last
    one got it. heard: when its client was heard last, or spoken for. next_beat: when the client is owed a
    sign of life from here, where its worker gives none.
    """

    __slots__ = (
        "answered",
        "asked",
        "batched",
        "body",
        "channel",
        "client",
        "deadline",
        "due",
        "early",
        "given",
        "gone",
        "heard",
        "idempotent",
        "items",
        "next_beat",
        "opened",
        "service",
        "size",
        "style",
        "token",
        "tries",
        "worker",
    )

    def __init__(
        self,
        token: bytes,
        client: Address,
        service: str,
        body: tuple[bytes, ...],
        size: int,
        opened: float,
        due: float,
        channel: Any = None,
    ) -> None:
        self.token = token
        self.client = client
        self.service = service
        self.body = body
        self.size = size
        self.opened = self.heard = opened
        self.deadline = self.due = due
        self.channel = channel
        self.style: Style | None = None
        self.asked = ""
        self.idempotent = self.answered = self.gone = self.batched = False
        self.tries = self.items = 0
        self.given = self.next_beat = NEVER
        self.worker: Worker | None = None
        self.early: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Service:
    """One service: its workers and what waits for them.

    called: what whoever looks at it reads: its name, or at a queue hub of any name that of the first worker.
    seen: it had a worker, not too long ago. alone: since when it has none.
    """

    name: str
    waiting: Waiting[Call]
    pool: Pool[Worker] = field(default_factory=Pool)
    stats: CallStats = field(default_factory=CallStats)
    seen: bool = False
    alone: float = NEVER
    called: str = ""


def _printable(text: str) -> str:
    return "".join(char for char in text[:80] if char.isprintable())
