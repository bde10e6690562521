"""What comes in for a client's calls: each answer finds its call, counts, and ends it or feeds its stream.

An answer counts only when it comes from the peer that the call went to. Nothing that a peer sends
raises: what makes no sense is counted, and ends the call that it belongs to.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from mesh.core import outcomes, wire
from mesh.core.balance import Peer
from mesh.core.channel import ANSWERS, DONE, NEVER, OPEN, STREAMING
from mesh.core.client_call import Call
from mesh.core.wire import BEAT, ERR, MORE, OK, STREAM, Header
from mesh.errors import LostRemote, ServiceNotFound, WireError

MAX_ASKED: Final = 100
"""Calls that a peer has sent, of which as many are kept until the driver has answered them."""
LEAVING: Final = 2.0
"""Seconds for which one that stops is left alone; it goes soon, or comes back."""
WORKERLESS: Final = 10.0
"""The same for a hub that had no worker for as long as a call could wait."""

GO_ELSEWHERE: Final = (LostRemote, ServiceNotFound)
"""What is said by one that stops, and by a hub that has no worker: another may carry the call out."""


class Answers:
    """The calls that wait for answers, by channel id. unsent: those of them that were not sent yet.

    woken: those that somebody waits for and that have something new. asked: the calls that peers have
    sent, who take this end for a server. max_elements: values in one answer, at the most.
    """

    def __init__(self, max_elements: int) -> None:
        self._max_elements = max_elements
        self.calls: dict[Any, Call] = {}
        self.unsent: dict[bytes, Call] = {}
        self.woken: list[Call] = []
        self.dropped: Counter[str] = Counter()
        self.asked: list[bytes] = []
        self._some_leave = 0.0

    def receive(self, peer: Peer, payload: bytes, now: float) -> None:
        """Take in one frame of a peer. Never raises: what makes no sense is counted."""
        try:
            header, name, args = wire.unpack(payload, self._max_elements)
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
            if "response_to" not in header and len(self.asked) < MAX_ASKED:
                self.asked.append(payload)
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
            if peer.batch is False and header.get("batch") == 1:
                peer.batch = True
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
        if isinstance(error, GO_ELSEWHERE) and error.refused:
            peer.leaving = now + (LEAVING if isinstance(error, LostRemote) else WORKERLESS)
            self._some_leave = max(self._some_leave, peer.leaving)
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
