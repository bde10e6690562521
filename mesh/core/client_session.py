"""The client's end of all conversations over one group of sockets: channel id -> call.

Requests go out as bytes with the peer they are for; frames come in with the peer they came
from, which is client_answers.py's; calls that somebody waits for come out in `woken`. The driver
holds a lock around every method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from mesh.core import outcomes, settings, window, wire
from mesh.core.balance import Peer, choose
from mesh.core.channel import BEATS_LATE, DONE, FASTEST, NEVER, OPEN, QUEUED, STREAMING, Ids, Sign, control
from mesh.core.client_answers import GO_ELSEWHERE, Answers
from mesh.core.client_call import Call, PinnedCall
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.majordomo import MAX_BATCH
from mesh.core.refusal import Refusal
from mesh.core.values import Encode
from mesh.core.wire import BEAT, MORE, Header
from mesh.errors import LostRemote, MeshError, WireError

__all__ = ["Call", "ClientSession", "Out"]

MAX_UNSENT: Final = 10_000
"""Calls that may wait for a connection."""
TRY_SILENT: Final = 6.0
"""Heartbeats after which one call finds out whether a peer that was silent is well again."""
GRAIN: Final = 0.005
"""Seconds between two looks at the deadlines, at the least."""
DEFAULT_HEARTBEAT: Final = 5.0

Out = tuple[Peer, bytes]


def check_settings(heartbeat: float | None, max_message: int, max_elements: int) -> None:
    """Raise ConfigError where a session can't keep these."""
    settings.seconds("heartbeat", heartbeat, FASTEST, none=True)
    settings.size("max_message", max_message)
    settings.size("max_elements", max_elements)


class ClientSession(Answers):
    """The calls of one client in one event loop.

    heartbeat: seconds between heartbeats, or None for none. max_message: bytes of one request.
    max_elements: values in one answer. encode: for values that can't travel. base: 24 hex digits that
    begin no other session's message ids. wake_at: when on_timer wants to be called next. refusal: answers
    what peers have asked.

    Raises as check_settings does.
    """

    def __init__(
        self,
        peers: list[Peer],
        base: bytes,
        random: Callable[[], float],
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
    ) -> None:
        check_settings(heartbeat, max_message, max_elements)
        Answers.__init__(self, max_elements)
        self.peers = peers
        self.wake_at = NEVER
        self._try_at = NEVER
        self._ids = Ids(base)
        self.refusal = Refusal(self._ids, "it was dealt to a client, which is connected there by mistake")
        self._random = random
        self._interval = NEVER if heartbeat is None else heartbeat
        self._extra: Header = {}
        if heartbeat != DEFAULT_HEARTBEAT:
            self._extra["heartbeat"] = 0 if heartbeat is None else int(min(heartbeat, 1e9) * 1000)
        self._max_message = max_message
        self._batches = max_message >= MAX_BATCH
        self._pack, self._plain = wire.packer(encode)
        self._arrays = self._plain.arrays

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
        pinned = peer is not None
        if peer is None:
            peers = self.peers
            peer = peers[0] if len(peers) == 1 and peers[0].live else self._choose(now)
        elif not peer.live:
            raise outcomes.not_sent(peer, method)
        if peer is not None and peer.batch is None and self._batches:
            # With the first call on a connection: does it take several events in one frame?
            header["batch"] = 1
            payload = self._packed(header, method, args)
            peer.batch = False
        else:
            payload = self._packed(header, method, args)
        deadline = NEVER if timeout is None else now + timeout
        interval = self._interval
        call = (PinnedCall if pinned else Call)(channel_id, method, now, interval, deadline)
        call.payload = payload
        call.waiter = waiter
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
            staying = [peer for peer in self.peers if peer.leaving <= now and peer.live and not peer.silent]
            if staying:
                return choose(staying, self._random)
        return choose(self.peers, self._random)

    def elsewhere(self, error: Exception | None, now: float) -> bool:
        """Whether a call that ended so was refused by one that can't take it, and another may."""
        if not (isinstance(error, GO_ELSEWHERE) and error.refused) or now >= self._some_leave:
            return False
        return any(peer.live and peer.leaving <= now and not peer.silent for peer in self.peers)

    def _packed(self, header: Header, method: str, args: tuple[Any, ...]) -> bytes:
        try:
            payload = self._pack([header, method, [*args]])
            if self._arrays:
                wire.check_keys(self._plain, [header, args])
        except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
            kwargs = header.get("kwargs")
            plain = self._plain
            found = wire.cannot_travel(args, "args", plain) or wire.cannot_travel(kwargs, "kwargs", plain)
            raise found or wire.not_packed(f"the call of {method!r:.80}", exc) from None
        if len(payload) > self._max_message:
            error = WireError(
                f"the call of {method!r:.80} takes {len(payload)} bytes, the limit is {self._max_message}: "
                f"send less at once, or {wire.RAISE_MESSAGE}"
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

    # Streams

    def grant(self, call: Call) -> bytes | None:
        """The credit to send after an item was taken, or None while the peer has enough."""
        items = call.items
        if items is None or call.state is not STREAMING:
            return None
        more = window.more(call, len(items))
        if not more:
            return None
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
        peer.mesh = peer.batch = None
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
        progress = peer.progress
        if not call.last_heard and progress is not None:
            # Behind a large request nothing is heard of a call until it has arrived.
            progress.note(now, self._interval)
        sign = call.beat(now, self._interval, self._interval)
        if sign is Sign.LOST:
            sign = call.reconsider(progress, now, self._interval)
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
