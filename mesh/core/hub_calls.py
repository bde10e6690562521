"""The calls that one hub has given a worker: each request that a hub hands in has an end.

A hub keeps a place of this worker for a request until its FINAL. What the session takes for a call the
session ends; what it drops is ended here, whatever the reason was. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from mesh.core import wire
from mesh.core.channel import Ids, control
from mesh.core.dropped import Dropped
from mesh.core.refusal import Refusal
from mesh.core.registration import Registration
from mesh.core.server_call import HubCall

NO_EVENT: Final = b"a worker of mesh takes events of zerorpc, [header, name, args] in MessagePack"
NO_STREAM: Final = (
    "the answer is a stream of many, and this worker is registered by Majordomo 0.1, which takes one for a "
    "call: return a list, or use a hub of 0.2"
)


class Session(Protocol):
    """Who carries out what the hub gives: a server's session, or that of a sidecar.

    channels: the calls that have not had their last event. dropped: what it did not understand, by kind.
    """

    dropped: Dropped

    @property
    def channels(self) -> Mapping[Any, Any]: ...
    @property
    def out_full(self) -> bool:
        """Whether so many answers wait to be sent that it is to be given no more."""

    def receive(self, peer: HubCall, payload: bytes, now: float) -> bool:
        """Take in an event; whether something is sent for it, now or later. Never raises."""

    def lost(self, peers: Iterable[HubCall]) -> None: ...


class HubCalls:
    """number: what tells the calls of this hub from those of its worker's others."""

    def __init__(self, number: int, registration: Registration, session: Session, ids: Ids) -> None:
        self._number = number
        self._registration = registration
        self._session = session
        self._ids = ids
        self._busy = Refusal(ids, "the worker has too many answers to send already")
        # Of hubs of another make: a call by the client's address and message id.
        self._by_channel: dict[tuple[bytes, Any], bytes] = {}
        self._count = 0

    def receive(self, token: bytes, event: bytes, now: float) -> None:
        """Take in a request, or a later event of an open call. Never raises."""
        if not self._registration.known:
            self._receive_of_other(token, event, now)
        elif token in self._registration.tokens:
            self._session.receive(HubCall(self._number, token), event, now)
        else:
            self._open(token, token, event, now)

    def _receive_of_other(self, address: bytes, event: bytes, now: float) -> None:
        """A hub that is not mesh's may name all calls of a client alike, and what follows on them."""
        tokens, calls = self._registration.tokens, self._by_channel
        header = wire.salvage_header(event) or {}
        channel, own = header.get("response_to"), header.get("message_id")
        key = calls.get((address, channel), b"") if type(channel) in (bytes, str) else b""
        if key in tokens:
            self._session.receive(HubCall(self._number, key), event, now)
            return
        # No token of a hub of mesh is as short, should it turn out to be one.
        self._count += 1
        key = b"%d" % self._count
        if self._open(key, address, event, now) and type(own) in (bytes, str):
            calls[address, own] = key
            if len(calls) > 2 * len(tokens):
                self._by_channel = {channel: one for channel, one in calls.items() if one in tokens}

    def _open(self, key: bytes, token: bytes, event: bytes, now: float) -> bool:
        """Give the session what is a call, or ends here; whether it has an answer to come."""
        registration, session = self._registration, self._session
        if session.out_full:
            refusal = self._busy((event,))
            registration.end(token, refusal or (b"Overloaded", b"the worker has too much to answer already"))
            return False
        peer = HubCall(self._number, key)
        if session.receive(peer, event, now):
            registration.tokens[key] = token
            return True
        registration.end(token, (b"WireError", NO_EVENT))
        return False

    def send(self, peer: HubCall, event: bytes) -> None:
        """Give the hub an event of a call: the last one, where the session has done with it."""
        self._registration.answer(peer.token, event, peer not in self._session.channels)

    def send_whole(self, peer: HubCall, event: bytes, now: float) -> None:
        """As `send`, to a hub of Majordomo 0.1, which has one message for an answer and none before it."""
        token, session = peer.token, self._session
        if peer not in session.channels or token not in self._registration.tokens:
            self.send(peer, event)
            return
        header, name = wire.outline(event)
        channel = header.get("response_to")
        if name == wire.STREAM:
            error: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel}
            end = wire.pack({**error, "refused": False}, wire.ERR, wire.plain_error("WireError", NO_STREAM))
            self._registration.answer(token, end, True)
            session.lost([peer])
        elif name == wire.BEAT:
            # Its client hears none and gives none, and has not gone for that.
            session.receive(peer, control(self._ids, channel, wire.BEAT, 0), now)

    def lost(self) -> None:
        """The registration is over: its calls can't be answered any more."""
        session, number = self._session, self._number
        session.lost([peer for peer in session.channels if type(peer) is HubCall and peer.hub == number])
