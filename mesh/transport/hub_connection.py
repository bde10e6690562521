"""A worker's connection to one hub: a DEALER that carries a registration and its calls.

Every method but `watch` and `unwatch` runs under its owner's lock, from its loop or from the watchdog; none
of them waits. What a frame means is the registration's and the session's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from shlex import quote
from time import monotonic
from typing import Final

from mesh.core import majordomo as mdp
from mesh.core.channel import NEVER, Ids
from mesh.core.hub_calls import HubCalls, Session
from mesh.core.outbox import Outbox
from mesh.core.redial import Redial
from mesh.core.refusal import Refusal
from mesh.core.registration import Registration, State
from mesh.core.reminder import Reminders
from mesh.core.server_call import HubCall
from mesh.transport import process
from mesh.transport.dealer import Dealer
from mesh.transport.dialer import Change
from mesh.transport.lookup import Obstacles
from mesh.transport.loop import Loop

NOTICE: Final = 3.0
"""Seconds after which a hub that never was there is reported."""
MAX_FRAMES: Final = 16

log = logging.getLogger("mesh.server")


class HubConnection:
    """number: what tells the calls of this hub from those of its owner's others. abandoned: how many handlers
    run for nobody, and so keep a hub that comes back from giving as many calls.
    """

    def __init__(
        self,
        number: int,
        endpoint: str,
        registration: Registration,
        session: Session,
        max_message: int,
        abandoned: Callable[[], int],
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.registration = registration
        self._session = session
        self._max_message = max_message
        self._abandoned = abandoned
        self._reminders = Reminders()
        # The last problem that the log has, and when one is to be in it that lasts so long.
        self._logged = ""
        self._log_at = monotonic() + NOTICE
        self._advised = False
        self._welcome = False
        self._obstacles = Obstacles()
        self._redial = Redial()
        ids = Ids(process.new_base())
        self._calls = HubCalls(number, registration, session, ids)
        self._refusal = Refusal(ids, "it was dealt to a worker that would register, not to a server")
        self._dealer = self._open()

    # Life

    def _open(self) -> Dealer[list[bytes]]:
        """A new socket."""
        dealer: Dealer[list[bytes]] = Dealer(
            self.endpoint, self._max_message, self._receive, redial=self._redial
        )
        self._obstacles.look([self.endpoint])
        return dealer

    def close(self, linger_ms: int = 0) -> None:
        self._dealer.close(linger_ms)

    def connect_anew(self) -> None:
        """By a new socket: what the old one still holds belongs to a registration that is over."""
        self.registration.connecting()
        self._dealer.close()
        self._dealer = self._open()

    def watch(
        self,
        loop: Loop,
        readable: Callable[[HubConnection], object],
        changed: Callable[[HubConnection], object],
    ) -> None:
        """Have these called in the loop: where something may have come, and where `take_changes` has work."""
        self._dealer.watch(loop, readable, changed, self)

    def unwatch(self) -> None:
        self._dealer.unwatch()

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, until there were `most` events or more; how many there were."""
        count = self._dealer.receive(now, most)
        if self.registration.welcome != self._welcome:
            self._welcome = self.registration.welcome
            if self._welcome:
                self._tell()
        if self.registration.out:
            self.flush()
        return count

    def _receive(self, first: bytes, now: float) -> int:
        """Take in a message that begins with this frame; how many requests it was."""
        registration, frames = self.registration, [first]
        # What begins so is one frame: to ask for more costs as much as to receive it.
        if first[:1] < mdp.BATCHED:
            self._dealer.rest(frames, MAX_FRAMES)
        requests = registration.receive(frames, now)
        if registration.strange:
            self._refuse()
        for token, event in requests:
            self._calls.receive(token, event, now)
        if registration.out:
            self.flush()  # each message may be hundreds of requests that come to nothing
        if registration.state is not State.REGISTERED:
            self._ended(registration.why)
            if registration.state is State.AWAY:
                return 0  # another socket takes its place
        return len(requests) or 1

    def _refuse(self) -> None:
        """Calls that are dealt to whoever connects: their callers are to hear of it, and the log.

        Nothing is kept for one that does not read.
        """
        registration = self.registration
        answer = self._refusal(registration.take_strange())
        if answer is None:
            return
        self._dealer.send_frames(answer)
        why = (
            f"what is at {self.endpoint} is a queue hub for anonymous workers, or a client side: "
            f"use `mesh serve --connect {quote(self.endpoint)}`"
        )
        if registration.misled(why):
            self._tell(why)

    # Out

    def send(self, peer: HubCall, event: bytes) -> None:
        """An event of a call, the last one where the session has done with it; it waits for `release`."""
        registration = self.registration
        if registration.version == 1:
            self._calls.send_whole(peer, event, monotonic())
        else:
            self._calls.send(peer, event)
        if not registration.capacity:
            registration.leave_if_done()
        if registration.out:
            self.flush()

    def release(self) -> None:
        """Send the answers that wait for others."""
        self.registration.release()
        if self.registration.out:
            self.flush()

    def _transmit(self, frames: list[bytes]) -> None:
        dealer = self._dealer
        if not dealer.outbox and dealer.send_frames(frames):
            return
        if dealer.outbox.full:
            number = len(dealer.outbox) + 1
            self._session.dropped.add("not read", f"by the hub at {self.endpoint}", number=number)
            dealer.outbox = Outbox()
            self._lost("it does not read", monotonic())
        else:
            dealer.outbox.append(frames, sum(map(len, frames)))

    @property
    def crowded(self) -> bool:
        """Whether the hub should read before it is given much more."""
        return self._dealer.outbox.crowded

    def flush(self) -> None:
        """Send what the registration has to say, and what was kept."""
        registration = self.registration
        while registration.out:
            for frames in registration.take_out():
                if registration.state is not State.AWAY:
                    self._transmit(frames)
        if self._dealer.outbox:
            self._dealer.flush(self._dealer.send_frames)

    def offer(self, capacity: int, now: float) -> None:
        """Take that many calls at once from now on."""
        self.registration.offer(capacity, now)
        self.flush()

    def freed(self, now: float) -> None:
        """A handler that ran for nobody has ended: the hub may give more, if it came back meanwhile."""
        self.registration.free(self._abandoned(), now)
        self.flush()

    # The connection

    def take_changes(self, now: float) -> None:
        """Take in what has happened to the connection."""
        for change in self._dealer.changes(now):
            if change is Change.UP:
                # libzmq connects again by itself, also where a new socket is to take over.
                if self.registration.connect_at == NEVER:
                    self.registration.connected(now, self._abandoned(), self._dealer.progress)
                    self.flush()
            elif change is Change.FAILED:
                self._refused(self._dealer.why, now)
            elif self.registration.state is not State.AWAY:
                self._lost("the connection broke", now)

    def _refused(self, why: str, now: float) -> None:
        """The handshake has failed. A worker always waits for its hub, so it is tried again soon."""
        self._dealer.wanted(now)
        if self.registration.state is not State.AWAY:
            return
        self.registration.refused(why)
        if why == self._logged:
            self._tell(why)
        elif self._log_at == NEVER:
            self._log_at = now + NOTICE  # it may have been caught at its start or end

    def _lost(self, why: str, now: float) -> None:
        self._obstacles.forget(self.endpoint)
        self.registration.broke(why, now)
        self._ended(self.registration.why)

    def _ended(self, why: str) -> None:
        """The calls of the registration that is over can't be answered any more."""
        self._calls.lost()
        self._tell(why)

    def _tell(self, why: str = "") -> None:
        """A line in the log where something is new."""
        registration = self.registration
        name, now = registration.service, monotonic()
        self._log_at = now + NOTICE if why else NEVER
        if why:
            self._welcome = False
            if not self._reminders.due(why, now):
                return
            advice = registration.advice if why == registration.why and not self._advised else ""
            self._advised = self._advised or bool(advice)
            log.warning(
                "%s is no worker of %s for now: %s%s", name, self.endpoint, why, advice and f"; {advice}"
            )
        else:
            self._advised, self._reminders = False, Reminders()
            log.info("%s has registered with %s", name, self.endpoint)
        self._logged = why

    # Time

    @property
    def wake_at(self) -> float:
        """When on_timer is to be called, and whoever owns the loop is to look at `connect_at`."""
        dealer = self._dealer
        return min(self.registration.wake_at, dealer.retry_at, self._log_at, dealer.redial_at)

    def on_timer(self, now: float) -> None:
        registration = self.registration
        before = registration.state
        if now >= self._log_at and registration.state is State.CONNECTED:
            self._log_at = now + NOTICE  # the hub is there, and nothing is offered to it yet
        elif now >= self._log_at:
            self._log_at = now + NOTICE
            self._obstacles.look([self.endpoint])
            obstacle = self._obstacles.problem(self.endpoint) or self._dealer.unresolved
            why = obstacle or registration.why
            if why != self._logged:
                self._tell(why)
        registration.on_timer(now)
        if before is State.REGISTERED and registration.state is State.AWAY:
            self._ended(registration.why)
        self._dealer.dial_if_due(now)
        self.flush()
