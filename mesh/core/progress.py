"""Whether a silent peer's connection moves a large message: then what it says is late, and it is not dead.

Everything on a connection keeps its order. Behind 20 MB on a link of 1 MB/s a heartbeat waits for 20 s, in
either direction, and nothing that arrives meanwhile is a message yet. So silence is a suspicion: only when
a peer is about to be given up is it asked what the system has counted on its connection, twice. Bytes that
move take the place of the heartbeat that did not come, and the term begins anew.

Not every byte counts, for a peer that hangs moves some as well:

- The system of a peer that hangs acknowledges our own heartbeats, and small calls. Acknowledged bytes count
  only where more than BACKLOG of ours was on its way, which is so for a large message alone: the small ones
  are all acknowledged within a round trip.
- It goes on acknowledging a large message until its buffers are full, some 100 KB to 6 MB, and so does a
  proxy between. That moves for so long and no longer, for what has moved once counts once.
- On the same connection the answers of others may arrive, as through a device with many workers of which one
  hangs. What arrives counts where it is more than SMALL for each message that has come of it: part of a large
  one, then. A connection that carries such in that direction all the time hides one worker's silence until
  the call's own time is over.

Where the system tells nothing (no TCP, another system than Linux), silence is what it always was.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

BACKLOG: Final = 8_192
"""Bytes of ours that are under way only where some of them are part of a large message. The smallest buffer
of a sender on Linux holds more of one."""
SMALL: Final = 4_096
"""Bytes; messages that have no more are no large ones on the average."""
SETTLE: Final = 0.5
"""Seconds without a byte that moves, at least, after which a connection stands still: TCP itself may wait for
0.2 s and more before it asks whether a window has opened."""
_LONG: Final = float("inf")


class Counters(NamedTuple):
    """What the system has counted on one connection since it began.

    acked: bytes of ours that the peer's system has acknowledged. received: bytes of the peer's. pending:
    bytes of ours that the system has, and has no acknowledgement for. idle: seconds since the last bytes
    arrived.
    """

    acked: int
    received: int
    pending: int
    idle: float


class Verdict(Enum):
    """What the counters say of a peer that is silent."""

    MOVES = "a large message is on its way: the peer is to be waited for"
    UNSURE = "to be asked again in a moment"
    STANDS = "nothing is on its way: the silence is the peer's own"


MOVES: Final = Verdict.MOVES
UNSURE: Final = Verdict.UNSURE
STANDS: Final = Verdict.STANDS


def settled(interval: float) -> float:
    """Seconds without a byte after which a connection stands still, where heartbeats are `interval` apart.

    A whole one: a link that loses packets, or a busy machine, stops for a second or two.
    """
    return max(interval, SETTLE)


class Progress:
    """Of one connection. Costs nothing until it is asked.

    read: gives the counters, or None where they can't be told. came: messages taken from the connection;
    whoever takes them counts, and one that is not complete is none. moved_at: when a large message was seen
    to move last.
    """

    __slots__ = ("_base", "_moved_from", "_pending", "_read", "_since", "_still", "came", "moved_at")

    def __init__(self, read: Callable[[], Counters | None]) -> None:
        self.came = 0
        self.moved_at = -_LONG
        self._moved_from = -_LONG
        self._pending = 0
        self._read = read
        # What there was at `_since`, for the next look to compare with. Nothing has moved since `_still`.
        self._base: Counters | None = None
        self._since = self._still = 0.0

    @property
    def pending(self) -> bool:
        """Whether a large message of ours was on its way at the last look, be it that it moved or not."""
        return self._pending >= BACKLOG

    def note(self, now: float, interval: float) -> None:
        """Remember what there is, for what will have moved; once an interval is enough.

        A large message that has arrived a moment before its peer is given up left nothing else behind.
        """
        age = _LONG if self._base is None else now - self._since
        counters = self._read() if age >= interval else None
        if counters is not None:
            self._look(counters, now)
            # Notes that follow each other don't put off the verdict.
            self._begin(counters, now, self._still if age < 2 * interval else now)

    def judge(self, now: float, heard: float, interval: float) -> Verdict:
        """What to make of a peer that was heard last at `heard`, where its heartbeats are `interval` apart.

        After MOVES it counts as heard at `moved_at`. Many may ask about one connection, each at its time.
        """
        counters = self._read()
        if counters is None:
            return STANDS
        self._pending = counters.pending
        # What moved long before the peer was heard last says nothing about its silence.
        early = heard - interval
        self._look(counters, now)
        if self._since < early or self._base is None:
            self._begin(counters, now, now)
        if self.moved_at > heard and self._moved_from >= early:
            return MOVES
        if counters.pending < BACKLOG and counters.idle >= interval:
            return STANDS
        return STANDS if now - self._still >= settled(interval) else UNSURE

    def _look(self, counters: Counters, now: float) -> None:
        base = self._base
        if base is None:
            return
        if counters.acked > base.acked and max(base.pending, counters.pending) >= BACKLOG:
            moved_at = now
        elif counters.received - base.received > (self.came + 1) * SMALL:
            moved_at = max(now - counters.idle, self._since)
        else:
            return
        self.moved_at, self._moved_from = moved_at, self._since
        self._begin(counters, now, now)

    def _begin(self, counters: Counters, now: float, still: float) -> None:
        self._base = counters
        self._since = now
        self._still = still
        self.came = 0


def second_look(progress: Progress | None, now: float, heard: float, interval: float) -> tuple[float, float]:
    """When a peer counts as heard last that is about to be given up, and when to judge it again: `now` where
    it is lost.

    progress: None where nobody can tell. heard, interval: as for `judge`.
    """
    if progress is None:
        return heard, now
    verdict = progress.judge(now, heard, interval)
    if verdict is STANDS:
        return heard, now
    return progress.moved_at if verdict is MOVES else heard, now + interval
