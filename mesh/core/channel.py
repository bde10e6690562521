"""What the two ends of one conversation have in common: its states and its heartbeat.

A conversation begins with a request, whose message id names the channel, and ends with OK, ERR
or STREAM_DONE, or when either side gives it up. Time comes in as an argument, in seconds of any
monotonic clock.
"""

from __future__ import annotations

from binascii import hexlify
from enum import Enum
from typing import Any, Final

from mesh.core import wire
from mesh.core.progress import Progress, second_look
from mesh.core.wire import Header

FIRST_CREDIT: Final = 1
"""Items that a server may send before the first `_zpc_more`."""
LOST_AFTER: Final = 2.0
"""Heartbeats without a sign of life after which a channel is lost."""
NEVER: Final = float("inf")
FASTEST: Final = 0.05
"""Seconds, the shortest interval between heartbeats: each beat of each channel costs a message."""
BEATS_LATE: Final = 0.02
"""The share of an interval by which beats may be late, so that many are given at one look."""
STOOD_STILL: Final = 0.1
"""The share of an interval by which a timer is late only where this process did not run."""


class State(Enum):
    """Where a conversation stands, as either end sees it."""

    QUEUED = "queued"
    """Accepted, not yet sent (client) or not yet begun (server)."""
    OPEN = "open"
    """Sent (client) or running (server), no answer yet."""
    STREAMING = "streaming"
    DONE = "done"
    """Ended; the outcome, if anybody waits for it, is in the call."""


# To look a member up in its enum costs as much as a function call: these are for the hot paths.
QUEUED: Final = State.QUEUED
OPEN: Final = State.OPEN
STREAMING: Final = State.STREAMING
DONE: Final = State.DONE

# What an answer does to a client's conversation; what is not here breaks the protocol.
ANSWERS: Final[dict[tuple[State, str], State]] = {
    (State.OPEN, wire.OK): State.DONE,
    (State.OPEN, wire.ERR): State.DONE,
    (State.OPEN, wire.STREAM): State.STREAMING,
    (State.OPEN, wire.STREAM_DONE): State.DONE,
    (State.STREAMING, wire.STREAM): State.STREAMING,
    (State.STREAMING, wire.STREAM_DONE): State.DONE,
    (State.STREAMING, wire.ERR): State.DONE,
}


class Sign(Enum):
    """What a conversation's heartbeat asks for at a moment."""

    QUIET = "not due"
    BEAT = "send a heartbeat"
    LOST = "the other end has been silent for too long"


class Channel:
    """The heartbeat of one conversation.

    opened: when it was sent or accepted. next_beat: when the next heartbeat is due.
    last_heard: when the other end was heard last, or 0.0 before the first heartbeat fell due:
    as in zerorpc, the patience begins with the first beat, not with the call.
    """

    __slots__ = ("id", "last_heard", "next_beat", "opened", "state", "waiter")

    def __init__(self, channel_id: Any, now: float, interval: float) -> None:
        self.id = channel_id
        self.opened = now
        self.next_beat = now + interval
        self.last_heard = 0.0
        self.state = State.QUEUED
        self.waiter: Any = None
        """Whom the driver has to wake; opaque here."""

    def beat(self, now: float, interval: float, patience: float) -> Sign:
        """Advance the heartbeat to `now`.

        interval: seconds between beats sent. patience: seconds between beats expected; the
        channel is lost after twice that.
        """
        if now < self.next_beat:
            return Sign.QUIET
        if not self.last_heard:
            self.last_heard = now
        else:
            # The other end may have stood still as well, and be about to speak.
            more = interval if now - self.next_beat > STOOD_STILL * interval else 0.0
            self.last_heard = fairly_heard(self.last_heard, self.next_beat, now, interval)
            if now - self.last_heard > LOST_AFTER * patience + more:
                return Sign.LOST
        self.next_beat = now + interval
        return Sign.BEAT

    def reconsider(self, progress: Progress | None, now: float, interval: float) -> Sign:
        """What becomes of a channel that `beat` calls lost, by what moves on its connection.

        progress: None where nobody can tell. interval: as for `beat`.
        """
        self.last_heard, self.next_beat = second_look(progress, now, self.last_heard, interval)
        return Sign.BEAT if self.next_beat > now else Sign.LOST


def fairly_heard(heard: float, due: float, now: float, interval: float) -> float:
    """When the other end counts as heard last, at a timer that was due at `due`.

    A process that stood still, as that of a machine that slept, has heard nobody meanwhile: that
    time is not the other end's silence. Whoever stood still with it speaks again a moment later.
    """
    late = now - due
    return min(now, heard + late) if late > STOOD_STILL * interval else heard


class Ids:
    """Message ids: 32 hex digits as zerorpc's, a counter before a base that no other has.

    After 2**32 of them they become longer: a stream may be open for all that time.
    """

    __slots__ = ("_base", "_count")

    def __init__(self, base: bytes) -> None:
        if len(base) != 24:
            raise ValueError("the base of the message ids must be 24 hex digits")
        self._base = base
        self._count = 0

    def next(self) -> bytes:
        self._count = count = self._count + 1
        try:
            return hexlify(count.to_bytes(4, "big")) + self._base
        except OverflowError:
            return hexlify(count.to_bytes(8, "big")) + self._base


def control(ids: Ids, channel_id: Any, name: str, number: int, **extra: Any) -> bytes:
    """A `_zpc_hb` or `_zpc_more` on a channel; `extra` is added to its header."""
    header: Header = {"message_id": ids.next(), "v": wire.VERSION, "response_to": channel_id, **extra}
    return wire.pack(header, name, [number])
