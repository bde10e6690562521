"""One endpoint of a client, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mesh.core.channel import NEVER
from mesh.core.ejection import Conduct
from mesh.core.progress import Progress

NO_CONNECTION: Final = "no connection yet; is a server running there?"


class Peer:
    """One endpoint of a client, as the choice sees it.

    live: a connection stands. leaving: until when it is left alone, for it has refused a call because
    it stops, or has no worker. silent: a call was given up for its silence, and nothing came since.
    open: calls sent to it and not yet answered. weight: its share among the others, 1 or more. hub: it is
    one, which has to be told the service of a call. mesh: whether it understands what mesh adds to zerorpc,
    None until it was asked on this connection. batch: the same of several events in one frame. why: the last
    reason why it is not live.
    progress: what moves on the connection, where that can be told.

    priority: those of the lowest get the calls as long as there are any. labels: name and value of what is
    told of it, such as its version and its zone.

    The rest is the balancer's. unanswered: when each call was sent that has no answer yet, the oldest first,
    by the id of its channel; where there is but one peer nobody keeps it. cost: seconds that a call takes, as
    they were at `measured`; 0.0 where nothing is known. room: by how much fewer calls count for it than for
    the average, for its weight. full_share_at: until then it is new. paused: until when it has asked for no
    calls. ping_every: seconds between two pings while it is silent. turn: its place in the round.
    """

    __slots__ = (
        "batch",
        "conduct",
        "cost",
        "endpoint",
        "full_share_at",
        "hub",
        "labels",
        "leaving",
        "live",
        "measured",
        "mesh",
        "open",
        "paused",
        "ping_every",
        "priority",
        "progress",
        "reads_all_keys",
        "room",
        "silent",
        "turn",
        "unanswered",
        "weight",
        "why",
    )

    def __init__(self, endpoint: str, weight: int = 1) -> None:
        self.endpoint = endpoint
        self.weight = weight
        self.hub = False
        self.live = False
        self.leaving = 0.0
        self.silent = False
        self.open = 0
        self.mesh: bool | None = None
        self.reads_all_keys = False
        """Whether it is known to read dicts whose keys are numbers, as all but zerorpc-python do."""
        self.batch: bool | None = None
        self.why = NO_CONNECTION
        self.progress: Progress | None = None
        self.priority = 0
        self.labels: Mapping[str, str] = {}
        self.unanswered: dict[bytes, float] = {}
        self.cost = 0.0
        self.measured = 0.0
        self.room = 1.0
        self.full_share_at = 0.0
        self.paused = 0.0
        self.ping_every = NEVER
        self.turn = 0.0
        self.conduct = Conduct()

    def transmit(self, payload: bytes, call: Any = None) -> None:
        """Send it, or keep it until the connection takes it. call: the one that it opens, if it does.

        A driver's peers do.
        """
        raise NotImplementedError
