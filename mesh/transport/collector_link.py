"""One process's conversation with its collector: batches go there and are acknowledged, questions come back.

For one native thread, the recorder's (transport/recording.py); no loop turns here, so that nothing of it
waits for the program, nor the program for it. The collector is a mesh server as any other: what goes there is
a call of its method `records`, and a call of `question` waits there until somebody asks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import zmq
from zmq import backend

from mesh.core import wire
from mesh.core.channel import Ids
from mesh.core.trace_batch import About
from mesh.core.trace_record import COLLECTOR
from mesh.core.wire import BEAT, OK, Header
from mesh.errors import MeshError, ServiceNotFound, WireError
from mesh.names.model import Endpoint
from mesh.transport import process
from mesh.transport.dealer import Dealer
from mesh.transport.dialer import Change

MAX_UNANSWERED: Final = 16
"""Batches that the collector has not acknowledged; more wait in the recorder."""
PATIENCE: Final = 5.0
"""Seconds after which what has no answer is sent again."""
AWAY: Final = 15.0
"""Seconds without an answer after which another collector is tried, or the name looked up anew. One that is
well answers the question within four."""
PAUSE: Final = 1.0
"""The same of what the collector has refused, as it is full or stops."""
MAX_MESSAGE: Final = 1024 * 1024

log = logging.getLogger("mesh.tracing")

Answer = Callable[[str, Sequence[Any]], Any]


class _Request:
    """A call of the collector's, until it is answered. sent_at: when it went out last, 0.0 before."""

    __slots__ = ("channel", "payload", "sent_at")

    def __init__(self, channel: bytes, payload: bytes) -> None:
        self.channel = channel
        self.payload = payload
        self.sent_at = 0.0


class CollectorLink:
    """look_up: gives the collectors' endpoints, one or several, of which one is enough. identity: the
    process's 16 bytes. about: gives what it says of itself. answer: gives what somebody asks the process,
    (what, arguments). obey: takes the rules that come with an acknowledgement.

    Raises as look_up and Dealer do.
    """

    def __init__(
        self,
        look_up: Callable[[], Sequence[Endpoint]],
        identity: bytes,
        about: Callable[[], About],
        answer: Answer,
        obey: Callable[[Any], None],
    ) -> None:
        self._look_up = look_up
        self._identity = identity
        self._about = about
        self._answer = answer
        self._obey = obey
        self._ids = Ids(process.new_base())
        self._batches: deque[_Request] = deque()
        self._question: _Request | None = None
        self._reply: _Request | None = None
        self._up = False
        self._told = ""
        """The last trouble that the log has."""
        self._choice = identity[0]
        """Which collector it is; begun so that processes are spread over them."""
        self._heard = monotonic()
        self.endpoint, self._dealer = self._dial()

    def _dial(self) -> tuple[str, Dealer[_Request]]:
        endpoints = self._look_up()
        if not endpoints:
            raise ServiceNotFound("no collector is named any more")
        endpoint = endpoints[self._choice % len(endpoints)]
        dealer = Dealer[_Request](
            endpoint.address, MAX_MESSAGE, self._stray, self._event, hosts=endpoint.hosts
        )
        return endpoint.address, dealer

    def _go_elsewhere(self, now: float) -> None:
        """Nothing was heard for long: go to another collector, or where this one is by now."""
        self._say(self._dealer.unresolved or self._dealer.why or "nobody answers there")
        self._heard = now
        self._choice += 1
        try:
            endpoint, dealer = self._dial()
        except MeshError as exc:
            self._say(str(exc))
            return
        self._dealer.close()
        self.endpoint, self._dealer = endpoint, dealer
        self._lost()

    @property
    def has_room(self) -> bool:
        """Whether another batch may be given."""
        return len(self._batches) < MAX_UNANSWERED

    @property
    def settled(self) -> bool:
        """Whether all that was given is acknowledged."""
        return not self._batches

    def close(self) -> None:
        self._dealer.close()

    def give(self, batch: bytes) -> None:
        """Send a batch, again and again until it is acknowledged."""
        self._batches.append(self._request("records", [batch]))

    def _request(self, method: str, args: list[Any]) -> _Request:
        channel = self._ids.next()
        header: Header = {"message_id": channel, "v": wire.VERSION, "service": COLLECTOR}
        return _Request(channel, wire.pack(header, method, args))

    def turn(self, now: float, most: float) -> None:
        """Do what is due, and wait for `most` seconds for something to come."""
        process.monitors().read()
        for change in self._dealer.changes(now):
            if change is Change.UP:
                self._up, self._heard = True, now
            else:
                self._lost()
            if change is Change.FAILED:
                self._say(self._dealer.why)
        self._dealer.dial_if_due(now)
        if now - self._heard > AWAY:
            self._go_elsewhere(now)
        if self._question is None:
            self._question = self._request("question", [self._identity, [*self._about()]])
        if self._up:
            self._send_due(now)
        backend.zmq_poll([(self._dealer.socket, zmq.POLLIN)], int(most * 1000))
        self._dealer.receive(now, MAX_UNANSWERED)

    def _lost(self) -> None:
        """The connection is gone, and whatever was sent by it."""
        self._up = False
        for request in (*self._batches, self._question, self._reply):
            if request is not None:
                request.sent_at = 0.0

    def _send_due(self, now: float) -> None:
        for request in (self._reply, *self._batches, self._question):
            if request is None or now - request.sent_at < PATIENCE:
                continue
            if not self._dealer.send(request.payload):
                return
            request.sent_at = now

    # What comes

    def _stray(self, frame: bytes, now: float) -> int:
        self._dealer.rest([], 0)
        return 1

    def _event(self, payload: bytes, now: float) -> None:
        try:
            header, name, args = wire.unpack(payload)
        except WireError:
            return
        if type(args) is not list:
            args = []
        channel = header.get("response_to")
        if name == BEAT:
            return
        request = self._waiting(channel)
        if request is None:
            return
        self._heard = now
        if name != OK and not (request in self._batches and _unreadable(args)):
            request.sent_at = now - PATIENCE + PAUSE  # again, after a while
            self._say(_reason(args))
            return
        if request is self._question:
            self._question = None
            self._asked(args[0] if args else None)
        elif request is self._reply:
            self._reply = None
        else:
            self._batches.remove(request)
            if name == OK:
                self._obey(args[0] if args else None)
            self._say("" if name == OK else _reason(args))

    def _waiting(self, channel: object) -> _Request | None:
        """Which call an answer belongs to."""
        for request in (self._question, self._reply, *self._batches):
            if request is not None and request.channel == channel:
                return request
        return None

    def _asked(self, value: object) -> None:
        match value:
            case [int() as number, str() as what, list() as args]:
                try:
                    answer = self._answer(what, args)
                except MeshError as exc:
                    answer = {"error": str(exc)}
                self._reply = self._request("answered", [self._identity, number, answer])

    def _say(self, trouble: str) -> None:
        """One line for each new trouble, and one when it is over."""
        if trouble == self._told:
            return
        self._told = trouble
        if trouble:
            log.warning("the collector at %s takes no records: %s", self.endpoint, trouble)
        else:
            log.info("the collector at %s takes records", self.endpoint)


def _unreadable(args: object) -> bool:
    """Whether a refusal says that the same bytes fare no better."""
    return type(args) is list and args[:1] == ["WireError"]


def _reason(args: object) -> str:
    said = args[:2] if type(args) is list else []
    return ": ".join(str(part)[:200] for part in said) or "it answers nothing that makes sense"
