"""The calls that a sidecar carries between hubs and one server that knows nothing of them.

Calls and what follows on them come in from hubs, with the token that the hub knows them by, and
leave by `take_for_server`; answers come in from the server and leave by `take_out`. Events pass
unchanged: a call is known to the server by its connection and the message id that its client gave it. So
those of two clients with one id go by two connections. Knows no socket.

Whether the server answers at all is health.py's. The driver tells of what comes in and of connections, takes
what is to go out after each, and calls `on_timer` at `wake_at`; it changes nothing here by itself.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from mesh.core import wire
from mesh.core.carried_call import CarriedCall, ServerConnection, key_of
from mesh.core.channel import NEVER, STOOD_STILL, Ids, control
from mesh.core.dropped import Dropped
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.health import Health
from mesh.core.progress import MOVES, UNSURE, Progress
from mesh.core.registration import LOST_AFTER
from mesh.core.server_call import HubCall
from mesh.core.server_session import MAX_OUT
from mesh.core.wire import BEAT, ERR, MORE, OK, PING, STREAM_DONE, Header
from mesh.errors import WireError

MARGIN: Final = 100
"""Calls beyond its capacity that a hub may have given before it heard of a change."""
CALLS_PER_CONNECTION: Final = 4
"""Of an old server's events libzmq keeps 500 to 1,000 for a connection; the server drops what is over,
in silence. The client of each stream may have granted it a hundred."""
MAX_CONNECTIONS: Final = 128
TO_CONNECT: Final = 2.0
"""Seconds that a new connection may take where heartbeats are shorter: a busy machine makes many at once."""
MAX_UNANSWERED: Final = 256 * 1024 * 1024
"""Bytes of calls of which the server has not said a word: it may not have read them. A lone one may
be larger."""
MAX_FOLLOW_UP: Final = 4096
"""Bytes of an event that is no call: credit, a heartbeat or a cancel."""
MAX_GONE: Final = 10_000
GONE_FOR: Final = 60.0
"""Ids of calls that nobody waits for, and seconds for which the server may still answer them."""

QUIET: Final = 2.25
"""Heartbeats of ours without a word of the server on a call, after which it is asked why. The server's are
longer, and callers wait for three of those."""
AGAIN: Final = 0.25
"""The share of a heartbeat after which it is asked again where that is not sure."""

_FINAL: Final = frozenset((OK, ERR, STREAM_DONE))
_LOST: Final = "LostRemote"


ForServer = tuple[CarriedCall, bytes]
_Problem = tuple[str, str, bool | None]
"""An error's name and text, and whether it is mesh's own."""


class SidecarSession:
    """The calls of all hubs at one server.

    base: 24 hex digits that begin no other session's message ids, nor those of the pings. capacity:
    calls at once that each hub may give. max_elements: values in one event, either way. channels: the
    calls that have not had their last event. out: what the hubs are to get. connections: those that there are
    to be; the first tells how the server is. circular: the server is a hub, which gives us what we send it.
    """

    def __init__(
        self, base: bytes, endpoint: str, health: Health, capacity: int, max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.endpoint = endpoint
        self.health = health
        self.channels: dict[HubCall, CarriedCall] = {}
        self.out: list[tuple[HubCall, bytes]] = []
        self._for_server: list[ForServer] = []
        self.dropped = Dropped()
        self._draining = False
        self.circular = False
        self.connections = [ServerConnection(0.0)]
        self._capacity = capacity
        self._max_elements = max_elements
        self._ids = Ids(base)
        self._now = 0.0
        self._gone: OrderedDict[tuple[ServerConnection, bytes], float] = OrderedDict()
        self._of_hub: Counter[int] = Counter()
        self._unanswered = 0
        self._well_since = NEVER
        self._look_at = NEVER

    # For the driver

    def take_out(self) -> list[tuple[HubCall, bytes]]:
        """The events that hubs are to get, each once, in order; those of a call go by its token."""
        out, self.out = self.out, []
        return out

    def take_for_server(self) -> list[ForServer]:
        """The events that the server is to get, each once, in order, by the connection of their call.

        To be told with `not_accepted` where one can neither be sent nor kept.
        """
        events, self._for_server = self._for_server, []
        return events

    def take_pings(self) -> list[bytes]:
        """The questions that are to go by the first connection; one that can't be sent is dropped."""
        return self.health.take_pings()

    def drain(self) -> None:
        """Take no more calls, and carry on with those that are open."""
        self._draining = True

    @property
    def capacity(self) -> int:
        """Calls at once that a hub may give now."""
        return self._capacity if self.health.well and not (self._draining or self.circular) else 0

    # From a hub

    def receive(self, peer: HubCall, payload: bytes, now: float) -> bool:
        """Take in an event of a call; whether something is sent to the hub for it, now or later.

        Never raises: what makes no sense is answered or counted.
        """
        self._now = now
        call = self.channels.get(peer)
        try:
            header, name = wire.outline(payload, self._max_elements)
        except WireError as exc:
            self.dropped.add("malformed", f"{exc}, from a hub")
            header = (call is None and wire.salvage_header(payload)) or {}
            if "response_to" not in header and key_of(header.get("message_id")):
                error = self._error(header["message_id"], header.get("v"), "WireError", str(exc))
                self.out.append((peer, error))
                return True
            return False
        if call is None:
            return self._request(peer, header, name, payload, now)
        if key_of(header.get("response_to")) != call.key or len(payload) > MAX_FOLLOW_UP:
            self.dropped.add("malformed", f"{name!r:.80} of {len(payload)} bytes on an open call")
        elif name == BEAT and header.get("cancel") is True:
            self._for_server.append((call, payload))
            self._fail(call, _LOST, "the caller is gone, or has cancelled", None)
        else:
            call.heard(name, now)
            self._for_server.append((call, payload))
        return False

    @property
    def out_full(self) -> bool:
        """Whether so many answers wait to be sent that a hub is to give no more."""
        return len(self.out) >= MAX_OUT

    def _request(self, peer: HubCall, header: Header, name: str, payload: bytes, now: float) -> bool:
        if header.get("response_to") is not None:
            self.dropped.add("late", quiet=True)  # what a call that has just ended leaves behind
            return False
        channel_id = header.get("message_id")
        key = key_of(channel_id)
        if not key or name in (BEAT, MORE):
            self.dropped.add("malformed", f"{name!r:.80} that belongs to no call, from a hub")
            return False
        if self.health.asked(key):
            self.circular = True  # nobody else can know our questions
        if any(key in connection.calls for connection in self.connections):
            self.health.suspect(now)  # it may be that call, given back to us
        if "batch" in header:
            # The hub has agreed on that with its client, which is nothing to the server.
            payload = wire.without(payload, "batch")
        problem = self._problem(peer, header, len(payload))
        if name == PING and not problem and self._pong(peer, channel_id, payload):
            return True
        connection = None if problem else self._choose(key)
        if connection is None:
            problem = problem or self._id_in_use(key)
            self.out.append((peer, self._error(channel_id, header.get("v"), *problem)))
            return True
        call = CarriedCall(peer, connection, name, header, key, len(payload), now)
        self._unanswered += call.size
        self.channels[peer] = connection.calls[key] = call
        self._of_hub[peer.hub] += 1
        self._look_at = min(self._look_at, now + self.health.heartbeat)
        self._for_server.append((call, payload))
        return True

    def _pong(self, peer: HubCall, channel_id: Any, payload: bytes) -> bool:
        """Whether a ping was answered for a server that has one pool for all, which may be full.

        It is well: it has shown a sign of life in the last heartbeats, or was asked. A server of mesh
        answers each by itself.
        """
        pong = self.health.pong
        if self.health.mesh or pong is None or len(payload) > MAX_FOLLOW_UP or _arguments(payload) != []:
            return False
        header: Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel_id}
        self.out.append((peer, wire.pack(header, OK, [pong])))
        return True

    def _choose(self, key: bytes) -> ServerConnection | None:
        """The first that has room, be it a new one; else the one with the fewest calls.

        None where each is at another call with this id.
        """
        usable = [connection for connection in self.connections if connection.usable(self._now)]
        for connection in usable:
            if len(connection.calls) < CALLS_PER_CONNECTION and self._free(connection, key):
                return connection
        if len(usable) < len(self.connections) or len(usable) == MAX_CONNECTIONS:
            # The server takes no further connections, or we make none.
            free = [connection for connection in usable if self._free(connection, key)]
            return min(free, key=lambda connection: len(connection.calls), default=None)
        self.connections.append(ServerConnection(self._now + max(self.health.heartbeat, TO_CONNECT)))
        return self.connections[-1]

    def _free(self, connection: ServerConnection, key: bytes) -> bool:
        """Whether a call with this id could be told from the others that the server has there."""
        return key not in connection.calls and self._gone.get((connection, key), 0.0) <= self._now

    def _id_in_use(self, key: bytes) -> _Problem:
        """Why no connection takes a call with this id."""
        where = f"on each connection to the server at {self.endpoint}"
        if any(key in connection.calls for connection in self.connections):
            return "WireError", f"a call with this message id is open already {where}", True
        return _LOST, f"an earlier call with this message id may still be open {where}", True

    def _problem(self, peer: HubCall, header: Header, size: int) -> _Problem | None:
        """Why a call is not passed on."""
        if self._draining:
            return _LOST, "the sidecar is stopping and takes no more calls", True
        if self.circular:
            return _LOST, f"what is at {self.endpoint} is a hub that gives this worker its own calls", True
        if not self.health.well:
            return _LOST, f"the server at {self.endpoint} is out for now: {self.health.why}", True
        if self._of_hub[peer.hub] >= self._capacity + MARGIN:
            return "Overloaded", f"{self._of_hub[peer.hub]} calls of this hub are open already", True
        if self._unanswered and self._unanswered + size > MAX_UNANSWERED:
            return "Overloaded", f"{self._unanswered} bytes of calls wait for the server already", True
        if header.get("kwargs") and not self.health.mesh:
            # Not `refused`, which only mesh's own errors are: the caller is to see a TypeError.
            return "TypeError", f"the server at {self.endpoint} {_NO_KWARGS}", None
        return None

    def lost(self, peers: Iterable[HubCall]) -> None:
        """The hub of these calls is gone; an old server finds out by the heartbeats that it misses."""
        for peer in list(peers):
            call = self.channels.get(peer)
            if call is not None:
                self._cancel(call)
                self._end(call)

    # From the server

    def answer(self, connection: ServerConnection, payload: bytes, now: float) -> None:
        """Take in an event of the server on that connection. Never raises."""
        self._now = now
        self.health.heard(now)
        try:
            header, name = wire.outline(payload, self._max_elements)
        except WireError as exc:
            self._unreadable(connection, payload, exc)
            return
        key = key_of(header.get("response_to"))
        call = connection.calls.get(key)
        if call is None:
            self._other(connection, key, header, name, payload, now)
            return
        self._unanswered -= call.size
        call.size = 0
        if name in _FINAL:
            self._forget(call)
        else:
            call.heard(name, now)
            call.told_at = now
        self.out.append((call.peer, payload))

    def _other(
        self, connection: ServerConnection, key: bytes, header: Header, name: str, payload: bytes, now: float
    ) -> None:
        if self.health.asked(key):
            was_well = self.health.well
            self.health.answered(header, name, _arguments(payload), now)
            if self.health.well and not was_well:
                self._well_since = now
            return
        if name in _FINAL:
            self._gone.pop((connection, key), None)
        self.dropped.add("late", quiet=True)

    def _unreadable(self, connection: ServerConnection, payload: bytes, exc: WireError) -> None:
        self.dropped.add("malformed", f"{exc}, from {self.endpoint}")
        header = wire.salvage_header(payload) or {}
        call = connection.calls.get(key_of(header.get("response_to")))
        if call is not None:
            what = f"the answer of the server at {self.endpoint} can't be read: {exc}"
            self._fail(call, "WireError", what, False)

    # The connections to the server

    def connection_up(self, connection: ServerConnection, progress: Progress | None, now: float) -> None:
        """It stands. progress: what moves on it, where the driver can tell."""
        connection.up, connection.progress = True, progress
        if connection is self.connections[0]:
            self.health.connected(now, progress)

    def connection_down(self, connection: ServerConnection, why: str) -> list[ServerConnection]:
        """It is gone, and the calls on it. Gives those that are to be closed for that.

        Where the first goes, the server is gone with it, whatever the others say.
        """
        connection.progress = None
        if connection is not self.connections[0]:
            self._end_calls(connection, why)
            return []
        self.health.broke(why)
        self._for_server.clear()
        for each in self.connections:
            self._end_calls(each, why)
        _, *others = self.connections
        del self.connections[1:]
        self._gone.clear()
        return others

    def _end_calls(self, connection: ServerConnection, why: str) -> None:
        connection.up = False
        connection.expected_until = 0.0
        text = f"the server at {self.endpoint} is gone ({why}) while the call was open"
        for call in list(connection.calls.values()):
            self._fail(call, _LOST, text, not call.sent)

    def not_accepted(self, call: CarriedCall) -> None:
        """What the server does not read can't be kept for ever."""
        self.dropped.add("not read", f"by the server at {self.endpoint}")
        self._fail(call, "Overloaded", f"the server at {self.endpoint} does not read", not call.sent)

    # Time

    @property
    def wake_at(self) -> float:
        """When on_timer is to be called."""
        return min(self.health.wake_at, self._look_at)

    def on_timer(self, now: float) -> None:
        self._now = now
        self.health.on_timer(now)
        if now < self._look_at:
            return
        if now - self._look_at > STOOD_STILL * self.health.heartbeat:
            self._well_since = now  # this process stood still, and has heard nobody
        self._look_at = now + self.health.heartbeat if self.channels else NEVER
        for connection in self.connections:
            if connection.calls and not connection.usable(now):
                self._end_calls(connection, "it takes no further connection")
        self._stand_in(now)
        if self.health.well:
            self._end_silent(now)

    def _stand_in(self, now: float) -> None:
        """Give the heartbeats of the server that wait behind a large message, in either direction.

        The connection to the hub is at rest meanwhile: the caller would give its call up.
        """
        beat = self.health.heartbeat
        for call in self.channels.values():
            progress = call.connection.progress
            if progress is None or call.version < 2 or now - call.told_at <= QUIET * beat:
                continue
            verdict = progress.judge(now, call.told_at, beat)
            if verdict is UNSURE:
                self._look_at = min(self._look_at, now + AGAIN * beat)
            if verdict is MOVES:
                call.told_at = now - (QUIET - 1) * beat
                self.out.append((call.peer, control(self._ids, call.id, BEAT, 0)))

    def _end_silent(self, now: float) -> None:
        """End the calls that both ends have given up, each by itself.

        An old client that leaves a stream, or misses heartbeats, says nothing; nor does its server.
        """
        for call in list(self.channels.values()):
            patience = LOST_AFTER * max(call.gap, self.health.heartbeat)
            silent = now - max(call.heard_at, self._well_since)
            if call.beats and silent > patience:
                self._cancel(call)
                what = f"neither the caller nor the server at {self.endpoint} was heard for {silent:.1f} s"
                self._fail(call, _LOST, what, False)

    # Ends

    def give_up(self, why: str) -> None:
        """End all that is still open, as the sidecar stops."""
        for call in list(self.channels.values()):
            self._cancel(call)
            self._fail(call, _LOST, why, False)

    def _cancel(self, call: CarriedCall) -> None:
        if self.health.mesh:
            self._for_server.append((call, control(self._ids, call.id, BEAT, 0, cancel=True)))

    def _fail(self, call: CarriedCall, name: str, text: str, refused: bool | None) -> None:
        self._end(call)
        self.out.append((call.peer, self._error(call.id, call.version, name, text, refused)))

    def _end(self, call: CarriedCall) -> None:
        """No more of it goes to its hub, though the server may still have something to say."""
        self._forget(call)
        if not call.sent:
            return
        self._gone[call.connection, call.key] = self._now + GONE_FOR
        self._gone.move_to_end((call.connection, call.key))
        while len(self._gone) > MAX_GONE or next(iter(self._gone.values())) <= self._now:
            self._gone.popitem(last=False)

    def _forget(self, call: CarriedCall) -> None:
        call.ended = True
        self._unanswered -= call.size
        del self.channels[call.peer]
        del call.connection.calls[call.key]
        self._of_hub[call.peer.hub] -= 1

    def _error(
        self, channel_id: Any, version: Any, name: str, text: str, refused: bool | None = True
    ) -> bytes:
        header: Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel_id}
        if refused is not None:
            header["refused"] = refused
        known = type(version) is int and version > 1
        args = wire.plain_error(name, text) if known else [f"{name}({text!r})"]
        return wire.pack(header, ERR, args)


_NO_KWARGS: Final = "is no mesh server and takes no keyword arguments; pass them by position"


def _arguments(payload: bytes) -> Any:
    try:
        return wire.unpack(payload)[2]
    except WireError:
        return None
