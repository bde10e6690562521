"""The client's end of all conversations over one group of sockets: channel id -> call.

Requests go out as bytes with the peer they are for; frames come in with the peer they came
from; calls that somebody waits for come out in `woken`. An answer counts only when it comes
from the peer that the call went to. The driver holds a lock around every method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from mesh.core import outcomes, settings, wire
from mesh.core.balance import Peer, choose
from mesh.core.channel import (
    ANSWERS,
    BEATS_LATE,
    DONE,
    FASTEST,
    NEVER,
    OPEN,
    QUEUED,
    STREAMING,
    Ids,
    Sign,
    control,
)
from mesh.core.client_call import FIRST_WINDOW, Call, PinnedCall
from mesh.core.wire import BEAT, ERR, MORE, OK, STREAM, Header
from mesh.errors import LostRemote, MeshError, WireError

__all__ = ["Call", "ClientSession", "Out"]

MAX_UNSENT: Final = 10_000
"""Calls that may wait for a connection."""
LAST_WINDOW: Final = 1_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""A stream's window grows from FIRST_WINDOW to the last, as long as it holds no more than this."""
WINDOWS: Final = 8_000
WINDOWS_BYTES: Final = 48 * 1024 * 1024
"""What all streams of one server may hold together: it, or a hub before it, keeps some more than that
for a client that does not read, and then gives it up."""
OLD_WINDOWS: Final = 500
"""Items that all streams of one old server together may hold."""
TRY_SILENT: Final = 6.0
"""Heartbeats after which one call finds out whether a peer that was silent is well again."""
LEAVING: Final = 2.0
"""Seconds for which one that stops is left alone; it goes soon, or comes back."""
GRAIN: Final = 0.005
"""Seconds between two looks at the deadlines, at the least."""
DEFAULT_HEARTBEAT: Final = 5.0

Out = tuple[Peer, bytes]


def check_settings(heartbeat: float | None, max_message: int) -> None:
    """Raise ConfigError where a session can't keep these."""
    settings.seconds("heartbeat", heartbeat, FASTEST, none=True)
    settings.size("max_message", max_message)


class ClientSession:
    """The calls of one client in one event loop.

    heartbeat: seconds between heartbeats, or None for none. base: 24 hex digits that begin no
    other session's message ids. wake_at: when on_timer wants to be called next.

    Raises as check_settings does.
    """

    def __init__(
        self,
        peers: list[Peer],
        base: bytes,
        random: Callable[[], float],
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        max_message: int = wire.MAX_MESSAGE,
    ) -> None:
        check_settings(heartbeat, max_message)
        self.peers = peers
        self.calls: dict[Any, Call] = {}
        self.unsent: dict[bytes, Call] = {}
        self.woken: list[Call] = []
        self.wake_at = NEVER
        self.dropped: Counter[str] = Counter()
        self._try_at = NEVER
        self._some_leave = 0.0
        self._ids = Ids(base)
        self._random = random
        self._interval = NEVER if heartbeat is None else heartbeat
        self._extra: Header = {}
        if heartbeat != DEFAULT_HEARTBEAT:
            self._extra["heartbeat"] = 0 if heartbeat is None else int(min(heartbeat, 1e9) * 1000)
        self._max_message = max_message
        self._pack, self._tuples = wire.packer()

    # Requests

    def open(
        self,
        method: str,
        args: tuple[Any, ...],
        extra: Header | None,
        now: float,
        timeout: float | None,
        peer: Peer | None = None,
        waiter: Any = None,
    ) -> Call:
        """A new call; its `payload` is to be sent to its `peer`, unless that is None.

        extra: what the header carries besides the ids and the deadline. timeout: seconds, or
        None for no limit. peer: the one it must go to, else the best is chosen. waiter: whom to
        wake. Raises TypeError for a value that can't travel, WireError over the size limit,
        Overloaded, and LostRemote where `peer` is not live.
        """
        channel_id = self._ids.next()
        header: Header = {"message_id": channel_id, "v": 3}
        if timeout is not None:
            header["deadline"] = int(timeout * 1000) or 1
        if self._extra:
            header.update(self._extra)
        if extra:
            header.update(extra)
        payload = self._packed(header, method, args)
        deadline = NEVER if timeout is None else now + timeout
        interval = self._interval
        call = (Call if peer is None else PinnedCall)(channel_id, method, now, interval, deadline)
        call.payload = payload
        call.waiter = waiter
        if peer is None:
            peers = self.peers
            peer = peers[0] if len(peers) == 1 and peers[0].live else self._choose(now)
        elif not peer.live:
            raise outcomes.not_sent(peer, method)
        if peer is None:
            self._park(call)
        else:
            self._bind(call, peer)
        self.calls[channel_id] = call
        wake_at = now + interval if interval < deadline - now else deadline
        if wake_at < self.wake_at:
            self.wake_at = wake_at
        return call

    def _choose(self, now: float) -> Peer | None:
        if now >= self._try_at:
            silent = [peer for peer in self.peers if peer.silent and peer.live]
            self._try_at = now + TRY_SILENT * self._interval if silent else NEVER
            if silent:
                return silent[int(self._random() * len(silent))]
        if now < self._some_leave:
            staying = [peer for peer in self.peers if peer.leaving <= now and peer.live]
            if staying:
                return choose(staying, self._random)
        return choose(self.peers, self._random)

    def elsewhere(self, error: Exception | None, now: float) -> bool:
        """Whether a call that ended so was refused by one that stops, and another may take it."""
        if not (isinstance(error, LostRemote) and error.refused) or now >= self._some_leave:
            return False
        return any(peer.live and peer.leaving <= now and not peer.silent for peer in self.peers)

    def _packed(self, header: Header, method: str, args: tuple[Any, ...]) -> bytes:
        try:
            payload = self._pack([header, method, [*args]])
            if self._tuples:
                wire.check_keys(self._tuples, [header, args])
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            kwargs = header.get("kwargs")
            found = wire.cannot_travel(args, "args") or wire.cannot_travel(kwargs, "kwargs")
            raise found or TypeError(f"the call of {method!r:.80} can't be packed: {exc}") from None
        if len(payload) > self._max_message:
            error = WireError(
                f"the call of {method!r:.80} takes {len(payload)} bytes, the limit is {self._max_message}: "
                "send less at once, or raise max_message at both ends"
            )
            error.refused = True
            raise error
        return payload

    def _park(self, call: Call) -> None:
        if len(self.unsent) >= MAX_UNSENT:
            raise outcomes.no_room(call.method, MAX_UNSENT, self.peers)
        self.unsent[call.id] = call

    def _bind(self, call: Call, peer: Peer) -> None:
        call.peer = peer
        call.state = OPEN
        peer.open += 1

    def take_unsent(self, peer: Peer, now: float) -> list[Call]:
        """The calls that waited for a connection, now bound to `peer`, to be sent in order."""
        taken = list(self.unsent.values())
        self.unsent.clear()
        for call in taken:
            self._bind(call, peer)
            # Not before wake_at, for on_timer looks at what is unsent once an interval too.
            call.next_beat = now + self._interval
        return taken

    def take_stranded(self, now: float) -> list[Call]:
        """What waits although a peer is live, now bound to the best, to be sent in order."""
        taken = []
        for call in list(self.unsent.values()):
            peer = choose(self.peers, self._random)
            if peer is None:
                break
            del self.unsent[call.id]
            self._bind(call, peer)
            call.next_beat = now + self._interval
            taken.append(call)
        return taken

    def put_back(self, calls: Iterable[Call]) -> None:
        """These calls were never handed to their peer's connection: let them wait for another.

        Those that may go to no other peer end with LostRemote.
        """
        for call in calls:
            peer = call.peer
            if call.state is not OPEN or peer is None:
                continue
            if call.pinned:
                self._end(call, outcomes.not_sent(peer, call.method))
                continue
            peer.open -= 1
            call.peer = None
            call.state = QUEUED
            self.unsent[call.id] = call

    # Answers

    def receive(self, peer: Peer, payload: bytes, now: float) -> None:
        """Take in one frame of a peer. Never raises: what makes no sense is counted."""
        try:
            header, name, args = wire.unpack(payload)
            call = self.calls.get(header.get("response_to"))
        except (WireError, TypeError) as exc:
            self._unreadable(peer, payload, exc)
            return
        if peer.silent:
            peer.silent = False
        if call is None:
            call = self._call_of(header)
        if call is None or call.peer is not peer:
            # An answer that comes after its call has ended is nothing to report.
            self.dropped["late" if call is None else "from another peer"] += 1
            return
        if peer.mesh is None and "mesh" in header:
            peer.mesh = True
        if name == OK and call.state is OPEN:
            if type(args) is list and args:
                call.value = args[0]
                self._end(call, None)
            else:
                self._end(call, WireError(f"{peer.endpoint} answered {call.method!r:.80} without a value"))
        elif name == STREAM:
            self._item(call, peer, args, len(payload), now)
        elif name in (BEAT, MORE):
            call.last_heard = now
        else:
            self._last(call, peer, header, name, args, now)

    def _call_of(self, header: Header) -> Call | None:
        """The call that an event belongs to, also where its peer writes as text what it read as bytes."""
        channel_id = header.get("response_to")
        if type(channel_id) is str:
            channel_id = channel_id.encode()
        return self.calls.get(channel_id) if type(channel_id) is bytes else None

    def _unreadable(self, peer: Peer, payload: bytes, exc: Exception) -> None:
        """Count it, and end the call that it belongs to, whose caller would wait in vain."""
        self.dropped["malformed"] += 1
        call = self._call_of(wire.salvage_header(payload) or {})
        if call is not None and call.peer is peer:
            what = f"the answer of {peer.endpoint} to {call.method!r:.80} can't be read"
            self._end(call, WireError(f"{what}: {exc}"))

    def _item(self, call: Call, peer: Peer, value: Any, size: int, now: float) -> None:
        if call.state is OPEN:
            call.state = STREAMING
            call.begin_stream()
        items = call.items
        if items is None or call.credit <= 0:
            self._violated(call, peer, "sent more of a stream than it was granted")
            return
        call.credit -= 1
        call.item_size = size if not call.item_size else call.item_size + ((size - call.item_size) >> 3)
        call.last_heard = now
        # Whoever waits for an item has got one; whoever works on one is not hurried.
        call.deadline = NEVER
        items.append(value)
        if call.waiter is not None:
            self.woken.append(call)

    def _last(self, call: Call, peer: Peer, header: Header, name: str, args: Any, now: float) -> None:
        if ANSWERS.get((call.state, name)) is None:
            self._violated(call, peer, f"sent {name[:40]!r} to a call that is {call.state.value}")
            return
        if call.items is None and name != ERR:
            call.begin_stream()
        error = outcomes.remote(header, args, peer, call.method) if name == ERR else None
        if isinstance(error, LostRemote) and error.refused:
            peer.leaving = self._some_leave = now + LEAVING
        self._end(call, error)

    def _violated(self, call: Call, peer: Peer, what: str) -> None:
        self.dropped["protocol"] += 1
        self._end(call, WireError(f"{peer.endpoint} {what} (method {call.method!r:.80})"))

    def _end(self, call: Call, error: Exception | None) -> None:
        del self.calls[call.id]
        call.state = DONE
        call.error = error
        call.payload = None
        if call.peer is not None:
            call.peer.open -= 1
        else:
            self.unsent.pop(call.id, None)
        if call.waiter is not None:
            self.woken.append(call)

    # Streams

    def grant(self, call: Call) -> bytes | None:
        """The credit to send after an item was taken, or None while the peer has enough."""
        items = call.items
        if items is None or call.state is not STREAMING:
            return None
        left = call.credit + len(items)
        if left * 2 >= call.window:
            return None
        peer = call.peer
        streams = 1 if peer is None else max(peer.open, 1)
        room = min(WINDOW_BYTES, WINDOWS_BYTES // streams) // max(call.item_size, 1)
        if peer is not None and peer.mesh:
            call.window = max(2, min(call.window * 2, LAST_WINDOW, WINDOWS // streams, room))
        elif peer is None or call.credit > 0:
            # The old server for Node takes a grant for all that it may send, not for more: only
            # when nothing is left do both mean the same.
            return None
        else:
            # An old server drops in silence what is too much for its socket.
            call.window = max(1, min(FIRST_WINDOW, OLD_WINDOWS // peer.open, room))
        more = max(call.window - left, 1)
        call.credit += more
        return control(self._ids, call.id, MORE, more)

    def await_item(self, call: Call, now: float, timeout: float | None) -> None:
        """Somebody waits for the next item of a stream, for `timeout` seconds or for ever."""
        call.opened = now
        call.deadline = NEVER if timeout is None else now + timeout
        self.wake_at = min(self.wake_at, call.deadline)

    def cancel(self, call: Call) -> Out | None:
        """Give up a call. What comes back tells its peer, where one has it."""
        if call.state is DONE:
            return None
        peer, sent = call.peer, call.state is not QUEUED
        call.waiter = None
        self._end(call, None)
        if sent and peer is not None and peer.live:
            return peer, control(self._ids, call.id, BEAT, 0, cancel=True)
        return None

    # Liveness

    def peer_up(self, peer: Peer) -> None:
        peer.live = True
        peer.silent = False
        peer.leaving = 0.0
        peer.mesh = None
        peer.why = ""

    def peer_down(self, peer: Peer, why: str) -> None:
        """The connection to a peer broke: whatever was sent to it ends with LostRemote."""
        peer.live = False
        peer.why = why
        for call in [call for call in self.calls.values() if call.peer is peer]:
            self._end(call, LostRemote(f"{peer.endpoint} is gone ({why}) while {call.method!r:.80} was open"))

    def fail_all(self, error_of: Callable[[Call], MeshError]) -> None:
        """End every call, as the client closes."""
        for call in list(self.calls.values()):
            self._end(call, error_of(call))

    def on_timer(self, now: float) -> list[Out]:
        """End the calls whose time is over, and give the heartbeats that are due."""
        out: list[Out] = []
        deadline = beat = NEVER
        for call in list(self.calls.values()):
            if call.deadline <= now:
                peer = call.peer
                self._end(call, outcomes.expired(call.method, call.deadline - call.opened, peer, self.peers))
                if peer is not None and peer.live:
                    out.append((peer, control(self._ids, call.id, BEAT, 0, cancel=True)))
                continue
            if call.next_beat <= now and not self._beat(call, now, out):
                continue
            if call.deadline < deadline:
                deadline = call.deadline
            if call.next_beat < beat:
                beat = call.next_beat
        self.wake_at = min(max(deadline, now + GRAIN), max(beat, now + self._interval * BEATS_LATE))
        return out

    def _beat(self, call: Call, now: float, out: list[Out]) -> bool:
        """Give the heartbeat of a call, or end it and give False."""
        peer = call.peer
        if peer is None:
            call.next_beat = now + self._interval
            return True
        sign = call.beat(now, self._interval, self._interval)
        if sign is Sign.LOST:
            if not peer.silent:
                peer.silent = True
                self._try_at = min(self._try_at, now + TRY_SILENT * self._interval)
            silent = f"no heartbeat for {now - call.last_heard:.1f} s"
            self._end(
                call, LostRemote(f"{peer.endpoint} is stuck ({silent}) while {call.method!r:.80} was open")
            )
            return False
        out.append((peer, control(self._ids, call.id, BEAT, 0)))
        return True
