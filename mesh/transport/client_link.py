"""One connection of a client to one endpoint: a dealer, and what goes and comes on it.

Every method runs under the lock of the client's endpoint in its loop, also in the watchdog's thread; none
waits.
"""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from typing import Final

from mesh.core import outcomes
from mesh.core.batch import Bundle, holds_events, read_events
from mesh.core.channel import NEVER
from mesh.core.client_session import Call, ClientSession
from mesh.core.majordomo import LONE
from mesh.core.peer import NO_CONNECTION, Peer
from mesh.errors import WireError
from mesh.names.model import Endpoint
from mesh.transport.dealer import Dealer
from mesh.transport.dialer import Change
from mesh.transport.spin import Spin

BATCH: Final = 64
"""Messages that are received before the callers among them go on."""
MAX_FRAMES: Final = 16
"""Frames of a message that are looked at."""

log = logging.getLogger("mesh.client")

Kept = tuple[Call | None, bytes]
"""An event that waits, and the call that it opens, if it does."""


class Link(Peer):
    """The connection to one endpoint. record: what is known of it.

    renewed: when it was made in place of one whose server stops. unread: whether something may have come that
    was not looked for: its descriptor says so, or swallowed it as something was sent.
    """

    __slots__ = (
        "_full_with",
        "_misled",
        "_obstacle",
        "_session",
        "cause",
        "dealer",
        "record",
        "renewed",
        "spin",
        "unread",
    )

    spin: Spin

    record: Endpoint

    def __init__(self, record: Endpoint, session: ClientSession, max_message: int) -> None:
        Peer.__init__(self, record.address)
        self._session = session
        self.unread = True
        self.describe(record)
        self._obstacle = ""
        """What else was found to stand in the way to its endpoint."""
        self.cause = ""
        """Why there is no connection, as it was found out last."""
        self._misled = False
        self._full_with: int | None = None
        """The open calls at the last look through a full outbox; None where there was room since."""
        self.renewed = -NEVER
        self.dealer: Dealer[Kept] = Dealer(
            record.address,
            max_message,
            self._receive_other,
            partial(session.receive, self),
            hosts=record.hosts,
        )
        if self.dealer.dialer is None:
            session.peer_up(self, monotonic())
        self._explain()

    def moved(self, record: Endpoint, now: float) -> None:
        """This is known of it now, whose address stays; its host may have others."""
        if record.hosts != self.record.hosts and self.dealer.dialer is not None:
            self.dealer.dialer.give(record.hosts, now)
        self.describe(record)

    def describe(self, record: Endpoint) -> None:
        """What is known of it, for the choice."""
        self.record = record
        self.weight = record.weight
        self.hub = record.hub
        self.priority = record.priority
        self.labels = dict(record.labels)
        self._session.balancer.changed()

    # Out

    def transmit(self, payload: bytes, call: Call | None = None) -> None:
        """Send, or keep until the connection takes it. Raises as `keep` does."""
        self.unread = True
        if self.dealer.outbox or not self.dealer.send(payload):
            self.keep(payload, call)

    def keep(self, payload: bytes, call: Call | None = None) -> None:
        """Keep it until `flush`. Raises Overloaded for a call over the bound.

        What is no call, a heartbeat or a cancel, is bounded by the calls that it is about.
        """
        outbox = self.dealer.outbox
        if call is not None:
            if outbox.full and not self._made_room():
                raise outcomes.not_read(call.method, len(outbox), self)
            self._full_with = None
        outbox.append((call, payload), len(payload))

    def _made_room(self) -> bool:
        """Forget the calls that have ended while they waited; whether there is room now.

        Not before a sixteenth of those that wait may have ended since the last time: to look through all of
        them for each call that is too much would stop the loop, the more calls the longer.
        """
        outbox, before = self.dealer.outbox, self._full_with
        if before is not None and (before - self.open) * 16 < len(outbox):
            return False
        outbox.keep(_wanted)
        self._full_with = self.open
        return not outbox.full

    def post(self, call: Call) -> None:
        """Send a call that has waited for a connection, where its number was bounded."""
        if call.payload:
            self._full_with = None
            self.dealer.outbox.append((call, call.payload), len(call.payload))
            self.flush()

    def flush(self) -> None:
        """Send what was kept, as far as the connection takes it."""
        self.unread = True
        outbox = self.dealer.outbox
        while self.batch and len(outbox) > 1:
            if not self._flush_batch():
                return
        if outbox:
            self.dealer.flush(self._send)

    def _send(self, kept: Kept) -> bool:
        return not _wanted(kept) or self.dealer.send(kept[1])

    def _flush_batch(self) -> bool:
        """Send the first of what was kept, as many as go in one frame; False where it takes no more."""
        outbox, bundle, number = self.dealer.outbox, Bundle(), 0
        for kept in outbox:
            if _wanted(kept) and (len(kept[1]) >= LONE or not bundle.add(kept[1])):
                break
            number += 1
        if not number:
            # One that goes by itself.
            if not self.dealer.send(outbox.first[1]):
                return False
            number = 1
        elif bundle.events and not self.dealer.send_frames(bundle.frames()):
            return False
        for _ in range(number):
            outbox.popleft()
        return True

    @property
    def waiting(self) -> bool:
        return bool(self.dealer.outbox)

    # In

    def receive(self, now: float, most: int = BATCH) -> int:
        """Take in what has arrived, until there were `most` events or more; how many there were."""
        count = self.dealer.receive(now, most)
        if self._session.asked:
            for answer in self._session.refuse_asked():
                self._refuse(answer)
        return count

    def _receive_other(self, frame: bytes, now: float) -> int:
        """A message that does not begin with an empty frame: its last frame is the event, or several."""
        frames = [frame]
        self.dealer.rest(frames, MAX_FRAMES)
        if len(frames) > 2:
            answer = self._session.refuse(frames)
            if answer is None:
                self._session.malformed()
            else:
                self._refuse(answer)
            return 1
        if self.batch and holds_events(frames[-1]):
            return self._receive_batch(frames[-1], now)
        self._session.receive(self, frames[-1], now)
        return 1

    def _receive_batch(self, frame: bytes, now: float) -> int:
        try:
            events = read_events(frame)
        except WireError:
            self._session.malformed()
            return 1
        receive = self._session.receive
        for event in events:
            receive(self, event, now)
        return len(events)

    def _refuse(self, answer: list[bytes]) -> None:
        """Tell the sender of a call that this is no server. Nothing is kept for one that does not read."""
        if not self._misled:
            self._misled = True
            log.warning(
                "%s sends calls, not answers: it is the out side of a queue hub for anonymous workers, or a "
                "client side; clients connect to the hub's in side",
                self.endpoint,
            )
        self.dealer.send_frames(answer)

    # The connection

    def looked_up(self, problem: str) -> None:
        """What was found to stand in the way to its endpoint, "" where nothing was."""
        self._obstacle = problem
        self._explain()

    def _explain(self) -> None:
        """Say why there is no connection, where that has been found out."""
        cause = self._obstacle or self.dealer.why or self.dealer.unresolved
        if not self.live and cause != self.cause:
            self.cause, self.why = cause, cause or NO_CONNECTION

    def watch(self, now: float) -> bool:
        """Take in what has happened to the connection; whether there was anything."""
        changes = self.dealer.changes(now)
        for change in changes:
            if change is Change.UP:
                self.progress = self.dealer.progress
                self._stands(now)
            elif change is Change.DOWN:
                self._broke(now)
        self._explain()
        return bool(changes)

    def look(self, now: float) -> bool:
        """Do what there is to do on the connection; whether there was anything. Costs little where not."""
        told = self.watch(now)
        count = received = self.receive(now)
        while received >= BATCH:
            received = self.receive(now)
        waiting = self.waiting
        if waiting:
            self.flush()
        return told or waiting or count > 0

    def _stands(self, now: float) -> None:
        self.cause = ""
        self.unread = True
        self._session.peer_up(self, now)
        # Else the service has moved, and this one has its old calls alone.
        if self in self._session.peers:
            for call in self._session.take_unsent(self, now):
                self.post(call)

    def _broke(self, now: float) -> None:
        # What had arrived before the connection broke still counts.
        while self.receive(now) >= BATCH:
            pass
        self.progress = None
        self._session.put_back(call for call, _ in self.dealer.outbox if call is not None)
        self.dealer.outbox.clear()
        self._session.peer_down(self, "the connection broke", now)
        for call in self._session.take_stranded(now):
            call.peer.post(call)  # type: ignore[union-attr]

    def redial(self, now: float, *, wanted: bool = False) -> None:
        """Try the connection again whose handshake failed, if it is time to. wanted: a call waits for it."""
        if wanted:
            self.dealer.wanted(now)
        self.dealer.dial_if_due(now)
        self._explain()


def _wanted(kept: Kept) -> bool:
    """Whether it is to be sent still: not where it opens a call that has ended."""
    call, _ = kept
    return call is None or bool(call.payload)
