"""The calls that a sidecar carries between hubs and one server that knows nothing of them.

Calls and what follows on them come in from hubs, with the token that the hub knows them by, and
leave in `to_server`; answers come in from the server and leave in `out`. Events pass unchanged:
a call is known to the server by its connection and the message id that its client gave it. So those
of two clients with one id go by two connections. Knows no socket.

Whether the server answers at all is health.py's.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from mesh.core import wire
from mesh.core.carried import Carried, Lane, key_of
from mesh.core.channel import NEVER, STOOD_STILL, Ids, control
from mesh.core.dropped import Dropped
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.health import Health
from mesh.core.progress import MOVES, UNSURE
from mesh.core.registration import LOST_AFTER
from mesh.core.server_call import HubCall
from mesh.core.server_session import MAX_OUT
from mesh.core.wire import BEAT, ERR, MORE, OK, PING, STREAM_DONE, Header
from mesh.errors import WireError

MARGIN: Final = 100
"""Calls beyond its capacity that a hub may have given before it heard of a change."""
CALLS_OF_A_LANE: Final = 4
"""Of an old server's events libzmq keeps 500 to 1,000 for a connection; the server drops what is over,
in silence. The client of each stream may have granted it a hundred."""
MAX_LANES: Final = 128
MAX_UNHEARD: Final = 256 * 1024 * 1024
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


ToServer = tuple[Carried, bytes]
_Problem = tuple[str, str, bool | None]
"""An error's name and text, and whether it is mesh's own."""


class SidecarSession:
    """The calls of all hubs at one server.

    base: 24 hex digits that begin no other session's message ids, nor those of the pings. capacity:
    calls at once that each hub may give. max_elements: values in one event, either way. channels: the
    calls that have not had their last event. lanes: the connections that there are to be; the first
    tells how the server is. loop: the server is a hub, which gives us what we send it.
    """

    def __init__(
        self, base: bytes, endpoint: str, health: Health, capacity: int, max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.endpoint = endpoint
        self.health = health
        self.channels: dict[HubCall, Carried] = {}
        self.out: list[tuple[HubCall, bytes]] = []
        self.to_server: list[ToServer] = []
        self.dropped = Dropped()
        self.draining = False
        self.loop = False
        self.lanes = [Lane(0.0)]
        self._capacity = capacity
        self._max_elements = max_elements
        self._ids = Ids(base)
        self._now = 0.0
        self._gone: OrderedDict[tuple[Lane, bytes], float] = OrderedDict()
        self._of_hub: Counter[int] = Counter()
        self._unheard = 0
        self._well_since = NEVER
        self._look_at = NEVER

    @property
    def capacity(self) -> int:
        """Calls at once that a hub may give now."""
        return self._capacity if self.health.well and not (self.draining or self.loop) else 0

    def take_out(self) -> list[tuple[HubCall, bytes]]:
        """What is to be sent to the hubs."""
        out, self.out = self.out, []
        return out

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
            self.to_server.append((call, payload))
            self._fail(call, _LOST, "the caller is gone, or has cancelled", None)
        else:
            call.heard(name, now)
            self.to_server.append((call, payload))
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
            self.loop = True  # nobody else can know our questions
        if any(key in lane.calls for lane in self.lanes):
            self.health.suspect(now)  # it may be that call, given back to us
        problem = self._problem(peer, header, len(payload))
        if name == PING and not problem and self._pong(peer, channel_id, payload):
            return True
        lane = None if problem else self._lane(key)
        if lane is None:
            problem = problem or self._taken(key)
            self.out.append((peer, self._error(channel_id, header.get("v"), *problem)))
            return True
        call = Carried(peer, lane, name, header, key, len(payload), now)
        self._unheard += call.size
        self.channels[peer] = lane.calls[key] = call
        self._of_hub[peer.hub] += 1
        self._look_at = min(self._look_at, now + self.health.heartbeat)
        self.to_server.append((call, payload))
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

    def _lane(self, key: bytes) -> Lane | None:
        """The first that has room, be it a new one; else the one with the fewest calls.

        None where each is at another call with this id.
        """
        usable = [lane for lane in self.lanes if lane.usable(self._now)]
        for lane in usable:
            if len(lane.calls) < CALLS_OF_A_LANE and self._free(lane, key):
                return lane
        if len(usable) < len(self.lanes) or len(usable) == MAX_LANES:
            # The server takes no further connections, or we make none.
            free = [lane for lane in usable if self._free(lane, key)]
            return min(free, key=lambda lane: len(lane.calls), default=None)
        self.lanes.append(Lane(self._now + self.health.heartbeat))
        return self.lanes[-1]

    def _free(self, lane: Lane, key: bytes) -> bool:
        """Whether a call with this id could be told from the others that the server has of this lane."""
        return key not in lane.calls and self._gone.get((lane, key), 0.0) <= self._now

    def _taken(self, key: bytes) -> _Problem:
        """Why no lane takes a call with this id."""
        where = f"on each connection to the server at {self.endpoint}"
        if any(key in lane.calls for lane in self.lanes):
            return "WireError", f"a call with this message id is open already {where}", True
        return _LOST, f"an earlier call with this message id may still be open {where}", True

    def _problem(self, peer: HubCall, header: Header, size: int) -> _Problem | None:
        """Why a call is not passed on."""
        if self.draining:
            return _LOST, "the sidecar is stopping and takes no more calls", True
        if self.loop:
            return _LOST, f"what is at {self.endpoint} is a hub that gives this worker its own calls", True
        if not self.health.well:
            return _LOST, f"the server at {self.endpoint} is out for now: {self.health.why}", True
        if self._of_hub[peer.hub] >= self._capacity + MARGIN:
            return "Overloaded", f"{self._of_hub[peer.hub]} calls of this hub are open already", True
        if self._unheard and self._unheard + size > MAX_UNHEARD:
            return "Overloaded", f"{self._unheard} bytes of calls wait for the server already", True
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

    def answer(self, lane: Lane, payload: bytes, now: float) -> None:
        """Take in an event of the server on that lane. Never raises."""
        self._now = now
        self.health.heard(now)
        try:
            header, name = wire.outline(payload, self._max_elements)
        except WireError as exc:
            self._unreadable(lane, payload, exc)
            return
        key = key_of(header.get("response_to"))
        call = lane.calls.get(key)
        if call is None:
            self._other(lane, key, header, name, payload, now)
            return
        self._unheard -= call.size
        call.size = 0
        if name in _FINAL:
            self._forget(call)
        else:
            call.heard(name, now)
            call.told = now
        self.out.append((call.peer, payload))

    def _other(self, lane: Lane, key: bytes, header: Header, name: str, payload: bytes, now: float) -> None:
        if self.health.asked(key):
            was_well = self.health.well
            self.health.answered(header, name, _arguments(payload), now)
            if self.health.well and not was_well:
                self._well_since = now
            return
        if name in _FINAL:
            self._gone.pop((lane, key), None)
        self.dropped.add("late", quiet=True)

    def _unreadable(self, lane: Lane, payload: bytes, exc: WireError) -> None:
        self.dropped.add("malformed", f"{exc}, from {self.endpoint}")
        header = wire.salvage_header(payload) or {}
        call = lane.calls.get(key_of(header.get("response_to")))
        if call is not None:
            what = f"the answer of the server at {self.endpoint} can't be read: {exc}"
            self._fail(call, "WireError", what, False)

    # The connection to the server

    def connected(self, now: float) -> None:
        """The first connection stands."""
        self.lanes[0].up = True
        self.health.connected(now)

    def broke(self, why: str) -> None:
        """The first connection is gone, and the server with it, whatever the others say."""
        self.health.broke(why)
        self.to_server.clear()
        for lane in self.lanes:
            self.lane_broke(lane, why)
        del self.lanes[1:]
        self._gone.clear()

    def lane_broke(self, lane: Lane, why: str) -> None:
        """One connection is gone, and with it the calls on it."""
        lane.up = False
        lane.expected_until = 0.0
        text = f"the server at {self.endpoint} is gone ({why}) while the call was open"
        for call in list(lane.calls.values()):
            self._fail(call, _LOST, text, not call.sent)

    def not_taken(self, call: Carried) -> None:
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
        for lane in self.lanes:
            if lane.calls and not lane.usable(now):
                self.lane_broke(lane, "it takes no further connection")
        self._stand_in(now)
        if self.health.well:
            self._end_silent(now)

    def _stand_in(self, now: float) -> None:
        """Give the heartbeats of the server that wait behind a large message, in either direction.

        The connection to the hub is at rest meanwhile: the caller would give its call up.
        """
        beat = self.health.heartbeat
        for call in self.channels.values():
            progress = call.lane.progress
            if progress is None or call.version < 2 or now - call.told <= QUIET * beat:
                continue
            verdict = progress.judge(now, call.told, beat)
            if verdict is UNSURE:
                self._look_at = min(self._look_at, now + AGAIN * beat)
            if verdict is MOVES:
                call.told = now - (QUIET - 1) * beat
                self.out.append((call.peer, control(self._ids, call.id, BEAT, 0)))

    def _end_silent(self, now: float) -> None:
        """End the calls that both ends have given up, each by itself.

        An old client that leaves a stream, or misses heartbeats, says nothing; nor does its server.
        """
        for call in list(self.channels.values()):
            patience = LOST_AFTER * max(call.gap, self.health.heartbeat)
            silent = now - max(call.last, self._well_since)
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

    def _cancel(self, call: Carried) -> None:
        if self.health.mesh:
            self.to_server.append((call, control(self._ids, call.id, BEAT, 0, cancel=True)))

    def _fail(self, call: Carried, name: str, text: str, refused: bool | None) -> None:
        self._end(call)
        self.out.append((call.peer, self._error(call.id, call.version, name, text, refused)))

    def _end(self, call: Carried) -> None:
        """No more of it goes to its hub, though the server may still have something to say."""
        self._forget(call)
        if not call.sent:
            return
        self._gone[call.lane, call.key] = self._now + GONE_FOR
        self._gone.move_to_end((call.lane, call.key))
        while len(self._gone) > MAX_GONE or next(iter(self._gone.values())) <= self._now:
            self._gone.popitem(last=False)

    def _forget(self, call: Carried) -> None:
        call.ended = True
        self._unheard -= call.size
        del self.channels[call.peer]
        del call.lane.calls[call.key]
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
