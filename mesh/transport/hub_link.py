"""A worker's connection to one hub: a DEALER that carries a registration and its calls.

Every method runs under its owner's lock, from its loop or from the watchdog; none of them wakes anybody.
What a frame means is the registration's and the session's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from shlex import quote
from time import monotonic
from typing import Final

import zmq

from mesh.core import majordomo as mdp
from mesh.core.channel import NEVER, Ids
from mesh.core.hub_calls import HubCalls, Session
from mesh.core.outbox import Outbox
from mesh.core.redial import Redial
from mesh.core.refusal import Refusal
from mesh.core.registration import Registration, State
from mesh.core.reminder import Reminder
from mesh.core.server_call import HubCall
from mesh.transport import process, sockets
from mesh.transport.dialer import Change, Dialer
from mesh.transport.lookup import Obstacles
from mesh.transport.sockets import MORE, NOBLOCK

RETRY: Final = 0.01
NOTICE: Final = 3.0
"""Seconds after which a hub that never was there is reported."""
MAX_FRAMES: Final = 16

log = logging.getLogger("mesh.server")


class HubLink:
    """number: what tells the calls of this hub from those of its owner's others.

    taken: how many handlers run for nobody.
    """

    def __init__(
        self,
        number: int,
        endpoint: str,
        registration: Registration,
        session: Session,
        max_message: int,
        taken: Callable[[], int],
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.registration = registration
        self._session = session
        self._max_message = max_message
        self._taken = taken
        self._outbox: Outbox[list[bytes]] | None = None
        self._told = ""
        self._reminder = Reminder()
        self._told_at = monotonic() + NOTICE
        self._welcome = False
        self._obstacles = Obstacles()
        self._redial = Redial()
        ids = Ids(process.new_base())
        self._calls = HubCalls(number, registration, session, ids)
        self._refusal = Refusal(ids, "it was dealt to a worker that would register, not to a server")
        self._open()

    # Life

    def _open(self) -> None:
        self.socket = socket = sockets.open_socket(zmq.DEALER, self._max_message)
        # READY goes to a hub that is there, not into a queue for the one that comes.
        socket.set(zmq.IMMEDIATE, 1)
        self.dialer = Dialer(socket, process.monitors(), self.endpoint, self._redial)
        self._send = sockets.sender(socket)
        self._recv = sockets.receiver(socket)
        self._readable = sockets.readable(socket)
        try:
            sockets.attach(socket, self.endpoint, "connect")
        except Exception:
            self.close()
            raise
        self._obstacles.look([self.endpoint])

    def close(self, linger_ms: int = 0) -> None:
        self.dialer.close()
        self.socket.close(linger_ms)

    def connect_anew(self) -> None:
        """By a new socket: what the old one still holds belongs to a registration that is over."""
        self.registration.connecting()
        self._outbox = None
        self.close()
        self._open()

    # In

    def receive(self, now: float, most: int) -> int:
        """Take in what has arrived, at most `most` messages; how many there were."""
        if not self._readable():
            return 0
        recv, registration, calls = self._recv, self.registration, self._calls
        count = 0
        while count < most:
            try:
                frames = [recv(NOBLOCK)]
            except zmq.Again:
                break
            # What begins so is one frame: to ask for more costs as much as to receive it.
            if frames[0][:1] < mdp.BATCHED:
                self._receive_rest(frames)
            requests = registration.receive(frames, now)
            if registration.strange:
                self._refuse()
            for token, event in requests:
                calls.receive(token, event, now)
            if registration.out:
                self.flush()  # each message may be hundreds of requests that come to nothing
            count += len(requests) or 1
            if registration.state is not State.REGISTERED:
                self._ended(registration.why)
                break
        if registration.progress is not None:
            registration.progress.came += count
        if registration.welcome != self._welcome:
            self._welcome = registration.welcome
            if self._welcome:
                self._tell()
        if registration.out:
            self.flush()
        return count

    def _receive_rest(self, frames: list[bytes]) -> None:
        while self.socket.get(zmq.RCVMORE):
            frame = self._recv(NOBLOCK)
            if len(frames) < MAX_FRAMES:
                frames.append(frame)

    def _refuse(self) -> None:
        """Calls that are dealt to whoever connects: their callers are to hear of it, and the log.

        Nothing is kept for one that does not read.
        """
        registration = self.registration
        message, registration.strange = registration.strange, ()
        answer = self._refusal(message)
        if answer is None:
            return
        self._try_send(answer)
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
        if self._outbox is None:
            if self._try_send(frames):
                return
            self._outbox = Outbox()
        if self._outbox.full:
            number = len(self._outbox) + 1
            self._session.dropped.add("not read", f"by the hub at {self.endpoint}", number=number)
            self._outbox = None
            self._lost("it does not read", monotonic())
        else:
            self._outbox.append(frames, sum(map(len, frames)))

    def _try_send(self, frames: list[bytes]) -> bool:
        send = self._send
        try:
            send(frames[0], NOBLOCK if len(frames) == 1 else MORE)
        except zmq.Again:
            return False
        if len(frames) > 1:
            for frame in frames[1:-1]:
                send(frame, MORE)
            send(frames[-1], NOBLOCK)
        return True

    @property
    def crowded(self) -> bool:
        """Whether the hub should read before it is given much more."""
        return self._outbox is not None and self._outbox.crowded

    def flush(self) -> None:
        """Send what the registration has to say, and what was kept."""
        registration = self.registration
        while registration.out:
            out, registration.out = registration.out, []
            for frames in out:
                if registration.state is not State.AWAY:
                    self._transmit(frames)
        while self._outbox is not None:
            if not self._try_send(self._outbox.first):
                return
            self._outbox.popleft()
            if not self._outbox:
                self._outbox = None

    def offer(self, capacity: int, now: float) -> None:
        """Take that many calls at once from now on."""
        registration = self.registration
        registration.offer(capacity, now)
        self.flush()

    # The connection

    def watch(self, now: float) -> None:
        """Take in what has happened to the connection."""
        for change in self.dialer.take(now):
            if change is Change.UP:
                self.registration.progress = self.dialer.progress
                # libzmq connects again by itself, also where a new socket is to take over.
                if self.registration.connect_at == NEVER:
                    self.registration.connected(now, self._taken())
                    self.flush()
            elif change is Change.FAILED:
                self._refused(self.dialer.why, now)
            elif self.registration.state is not State.AWAY:
                self._lost("the connection broke", now)

    def _refused(self, why: str, now: float) -> None:
        """The handshake has failed. A worker always waits for its hub, so it is tried again soon."""
        self.dialer.wanted(now)
        if self.registration.state is not State.AWAY:
            return
        self.registration.why = why
        if why == self._told:
            self._tell(why)
        elif self._told_at == NEVER:
            self._told_at = now + NOTICE  # it may have been caught at its start or end

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
        if why:
            self._welcome = False
        if why != self._told:
            self._reminder = Reminder()
        self._told_at = monotonic() + NOTICE if why else NEVER
        if why and not self._reminder.due(monotonic()):
            return
        self._told = why
        name = self.registration.service
        if why:
            log.warning("%s is no worker of %s for now: %s", name, self.endpoint, why)
        else:
            log.info("%s has registered with %s", name, self.endpoint)

    # Time

    @property
    def wake_at(self) -> float:
        """When on_timer is to be called, and whoever owns the loop is to look at `connect_at`."""
        soon = NEVER if self._outbox is None else monotonic() + RETRY
        return min(self.registration.wake_at, soon, self._told_at, self.dialer.wake_at)

    def on_timer(self, now: float) -> None:
        registration = self.registration
        before = registration.state
        if now >= self._told_at and registration.state is State.CONNECTED:
            self._told_at = now + NOTICE  # the hub is there, and nothing is offered to it yet
        elif now >= self._told_at:
            self._told_at = now + NOTICE
            self._obstacles.look([self.endpoint])
            why = self._obstacles.problem(self.endpoint) or registration.why
            if why != self._told:
                self._tell(why)
        registration.on_timer(now)
        if before is State.REGISTERED and registration.state is State.AWAY:
            self._ended(registration.why)
        self.dialer.dial_if_due(now)
        self.flush()
