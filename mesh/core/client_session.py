"""The client's end of all conversations over one group of connections: channel id -> call.

Requests go out as bytes with the peer they are for; frames come in with the peer they came from; whom there
is something for comes out of `take_woken`. An answer counts only when it comes from the peer that the call
went to. Nothing that a peer sends raises: what makes no sense is counted, and ends the call that it belongs
to.

A driver speaks to it by its methods, under one lock of its own, and changes nothing in it; what is public may
be read. A call is QUEUED as long as no peer is live (`unsent`), OPEN once its bytes are a peer's, STREAMING
from the first item, and DONE once: with a value, an error, or given up. Only `_bind`, `put_back`, `_item` and
`_end` change that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final

from mesh.core import outcomes, settings, window, wire
from mesh.core.balance import GOOD, Balancer, standing
from mesh.core.balance_rule import DEFAULT_BALANCE, Balance
from mesh.core.budget import RetryBudget
from mesh.core.callers import FROM_PROCESS
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
from mesh.core.client_call import Call, Copy, PinnedCall, RoutedCall, Waiting
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.hedging import Hedging
from mesh.core.majordomo import MAX_BATCH
from mesh.core.open_calls import Row, client_row
from mesh.core.peer import Peer
from mesh.core.recording import Recorder
from mesh.core.refusal import Refusal
from mesh.core.route import Route
from mesh.core.server_call import ServerCall
from mesh.core.span import Span
from mesh.core.trace_counting import Counting
from mesh.core.trace_record import Kind
from mesh.core.values import Encode
from mesh.core.wire import BEAT, ERR, MORE, OK, STREAM, Header
from mesh.errors import LostRemote, MeshError, Overloaded, ServiceNotFound, TimeoutExpired, WireError

__all__ = ["Call", "ClientSession", "Out", "Waiting"]

MAX_UNSENT: Final = 10_000
"""Calls that may wait for a connection."""
MAX_ASKED: Final = 100
"""Calls that a peer has sent, of which as many are kept until the driver has answered them."""
PING_SILENT: Final = 6.0
"""Heartbeats after which a ping finds out whether a peer that was silent is well again."""
PING_TIMEOUT: Final = 2.0
"""Seconds that such a ping waits, and that of one that was ejected."""
LEAVING: Final = 2.0
"""Seconds for which one that stops is left alone; it goes soon, or comes back."""
WORKERLESS: Final = 10.0
"""The same for a hub that had no worker for as long as a call could wait."""
MAX_IDEMPOTENT: Final = 1_000
"""Methods of which it is kept that they may be carried out twice."""
MAX_PAUSE: Final = 60.0
"""Seconds for which a peer can ask for no more calls, at the most."""
GRAIN: Final = 0.005
"""Seconds between two looks at the deadlines, at the least."""
DEFAULT_HEARTBEAT: Final = 5.0

Out = tuple[Peer, bytes]
_opened: Final = attrgetter("opened")


def another_may_take_it(error: Exception | None) -> bool:
    """Whether it is what one says that stops, or a hub that has no worker: another may carry the call out."""
    return isinstance(error, (LostRemote, ServiceNotFound)) and error.refused


def check_settings(heartbeat: float | None, max_message: int, max_elements: int) -> None:
    """Raise ConfigError where a session can't keep these."""
    settings.seconds("heartbeat", heartbeat, FASTEST, none=True)
    settings.size("max_message", max_message)
    settings.size("max_elements", max_elements)


class ClientSession:
    """The calls of one client in one event loop.

    base: 24 hex digits that begin no other session's message ids. heartbeat: seconds between heartbeats, or
    None for none. max_message: bytes of one request. max_elements: values in one answer. encode: for values
    that can't travel. service: what hubs know the service by; None where it has no name.
    balance: how calls are spread over its peers. budget: how many may be tried again, with others.
    recorder: keeps what is to be told of its calls; None where nothing is.

    Raises as check_settings does.
    """

    def __init__(
        self,
        base: bytes,
        random: Callable[[], float],
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
        service: str | None = None,
        balance: Balance = DEFAULT_BALANCE,
        budget: RetryBudget | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        check_settings(heartbeat, max_message, max_elements)
        self.balancer = Balancer(random, balance)
        self.budget = budget or RetryBudget()
        self.peers = self.balancer.peers
        """Those that a call may go to."""
        self.calls: dict[Any, Call] = {}
        self.unsent: dict[bytes, Call] = {}
        """Those of the calls that wait for a connection."""
        self.woken: list[Call | Waiting] = []
        """Those that somebody waits for and that have something new."""
        self.asked: list[bytes] = []
        """The calls that peers have sent, who take this end for a server."""
        self.idempotent: set[str] = set()
        """The methods that may be carried out twice, as servers say with their answers."""
        self.wake_at = NEVER
        """When on_timer wants to be called next."""
        self.absence: MeshError | None = None
        """Why there is no peer, and no call waits for one; None where one may come."""
        self.awaited: Callable[[], str] = lambda: ""
        """Who has still to tell where the peers are, in words; "" where nobody has."""
        self.process: tuple[str, int, str] | None = None
        """Host, id and program of this process, which servers and hubs are told; None for nothing."""
        self.dropped: Counter[str] = Counter()
        """What made no sense, or came too late, by the kind of it."""
        self._waiting: list[Waiting] = []
        self._ids = Ids(base)
        self._refusal = Refusal(self._ids, "it was dealt to a client, which is connected there by mistake")
        self._interval = NEVER if heartbeat is None else heartbeat
        self._recorder = recorder
        if recorder is not None:
            self._times = recorder.times_of(Kind.CLIENT, service or "")
        self._hedging = Hedging(self.calls, self.balancer, self.budget, self._ids, self._interval)
        self._extra: Header = {}
        if heartbeat != DEFAULT_HEARTBEAT:
            self._extra["heartbeat"] = 0 if heartbeat is None else int(min(heartbeat, 1e9) * 1000)
        self._service = service
        self._name_service()
        self._max_message = max_message
        self._max_elements = max_elements
        self._batches = max_message >= MAX_BATCH
        # No event with several items has more values than that.
        self._takes_several = max_elements >= MAX_BATCH
        self._pack, self._plain = wire.packer(encode)
        self._arrays = self._plain.arrays

    # Peers

    def add(self, peer: Peer) -> None:
        """Calls may go to this one, too."""
        self.balancer.add(peer)
        self._name_service()

    def remove(self, peer: Peer) -> None:
        """Choose it no more; what was sent to it goes on."""
        self.balancer.remove(peer)
        self._name_service()

    def _name_service(self) -> None:
        """Have calls carry the name of the service where one may come to a hub; a server ignores it.

        All of them, also those to servers: what was not sent there may go to a hub after all.
        """
        if self._service is not None and (not self.peers or any(peer.hub for peer in self.peers)):
            self._extra["service"] = self._service
        else:
            self._extra.pop("service", None)

    def absent(self, why: MeshError | None) -> None:
        """There is nowhere to go, for this reason: calls that wait end with it, and so do new ones.

        None where there are peers, or may be.
        """
        self.absence = why
        if why is not None and not self.peers:
            for call in list(self.unsent.values()):
                self._end(call, outcomes.nowhere(why, call.method))

    def expired(self, method: str, waited: float, peer: Peer | None) -> TimeoutExpired:
        """The error of a call whose time is over. peer: whom it was sent to, None where it was not sent."""
        return outcomes.expired(method, waited, peer, self.peers, self.awaited())

    def staying(self, now: float) -> list[Peer]:
        """The live peers, without those that stop, unless all do."""
        live = [peer for peer in self.peers if peer.live]
        return [peer for peer in live if peer.leaving <= now] or live

    def connected(self, now: float) -> bool:
        """Whether some connection stands to what does not stop."""
        return any(peer.live and peer.leaving <= now for peer in self.peers)

    def await_connection(self, waiter: Any, until: float) -> Waiting:
        """Wake somebody when another connection stands, or at that time."""
        waiting = Waiting(waiter, until)
        self._waiting.append(waiting)
        self.wake_at = min(self.wake_at, until)
        return waiting

    def took_part(self, peer: Peer) -> None:
        """It has answered a call, and nothing in the answer said that it is of mesh."""
        if peer.mesh is None:
            peer.mesh = False

    # Whom there is something for

    def take_woken(self) -> list[Call | Waiting]:
        """Those that came to it since the last time."""
        woken, self.woken = self.woken, []
        return woken

    def refuse(self, message: Sequence[bytes]) -> list[bytes] | None:
        """The answer to a message that a peer has sent as to a server; None where it is no call."""
        return self._refusal(message)

    def refuse_asked(self) -> list[list[bytes]]:
        """The answers to those in `asked`, as the frames of messages."""
        asked, self.asked = self.asked, []
        return [answer for answer in map(self._refusal, ([b"", frame] for frame in asked)) if answer]

    def malformed(self) -> None:
        """Something has come that is no event."""
        self.dropped["malformed"] += 1

    # Requests

    def open(
        self,
        method: str,
        args: tuple[Any, ...],
        extra: Header | None,
        now: float,
        timeout: float | None,
        to: Peer | Route | None = None,
        waiter: Any = None,
        span: Span | None = None,
        caller: ServerCall | None = None,
    ) -> Call:
        """A new call; its `payload` is to be sent to its `peer`, unless that is None.

        extra: what the header carries besides the ids and the deadline. timeout: seconds, or
        None for no limit. to: the one it must go to, or those that it may; None for any. waiter: whom
        to wake. span: of the trace that it belongs to, None for none. caller: the call whose handler makes
        it. Raises UnreadableKey for what its peer may be too old to read, TypeError for a value that can't
        travel, WireError over the size limit, Overloaded, LostRemote where the one is not live, and
        ServiceNotFound where none has the labels.
        """
        channel_id = self._ids.next()
        header: Header = {"message_id": channel_id, "v": 3}
        if timeout is not None:
            header["deadline"] = int(timeout * 1000) or 1
        if span is not None:
            # Here, where a hub reads it without a look at each key: hubs/switching/event_header.py.
            header["trace_id"] = span.trace_id
            if span.span_id:
                header["span_id"] = span.span_id
        if self._extra:
            header.update(self._extra)
        if extra:
            header.update(extra)
        if to is None:
            peers = self.peers
            peer = peers[0] if len(peers) == 1 and peers[0].live else self.balancer.choose(now)
        else:
            peer = self._choose(to, method, now)
        if self.idempotent and method in self.idempotent:
            header["idempotent"] = True
        if peer is None:
            if self.process is not None:
                # Whoever it goes to is not asked, but told who asks.
                header["batch"] = 0
                header[FROM_PROCESS] = self.process
            payload = self._packed(header, method, args, peer)
        elif peer.batch is None and self._batches:
            # With the first call on a connection: does it take several events in one frame?
            header["batch"] = 1
            if self.process is not None:
                header[FROM_PROCESS] = self.process
            payload = self._packed(header, method, args, peer)
            peer.batch = False
        else:
            payload = self._packed(header, method, args, peer)
        deadline = NEVER if timeout is None else now + timeout
        interval = self._interval
        call: Call
        if to is None:
            call = Call(channel_id, method, now, interval, deadline)
        elif isinstance(to, Route):
            call = RoutedCall(channel_id, method, now, interval, deadline, to)
        else:
            call = PinnedCall(channel_id, method, now, interval, deadline)
        call.payload = payload
        call.waiter = waiter
        call.span = span
        call.caller = caller
        if peer is None:
            self._park(call)
        else:
            self._bind(call, peer, now)
        self.calls[channel_id] = call
        self.budget.calls += 1
        if isinstance(call, RoutedCall) and call.route.hedge and header.get("idempotent"):
            self._hedging.begun(call, now)
            self.wake_at = min(self.wake_at, call.hedge_at)
        wake_at = now + interval if interval < deadline - now else deadline
        if wake_at < self.wake_at:
            self.wake_at = wake_at
        return call

    def _choose(self, to: Peer | Route, method: str, now: float) -> Peer | None:
        """The one that a call must go to, or the best of those that it may; raises as `open` does."""
        peer = to.peer if isinstance(to, Route) else to
        if peer is not None:
            if not peer.live:
                raise outcomes.not_sent(peer, method)
            return peer
        assert isinstance(to, Route)
        if self.peers and not any(to.allows(peer) for peer in self.peers):
            raise outcomes.not_labelled(to, self.peers)
        return self._best(to, now)

    def _best(self, route: Route, now: float) -> Peer | None:
        among = [peer for peer in self.peers if route.allows(peer)]
        return self.balancer.choose_of(among, now, route.tried, route.key)

    def has_other(self, route: Route, now: float) -> bool:
        """Whether there is one that the call was not sent to yet, and that can be used."""
        return any(
            peer not in route.tried and route.allows(peer) and standing(peer, now) == GOOD
            for peer in self.peers
        )

    def _packed(self, header: Header, method: str, args: tuple[Any, ...], peer: Peer | None) -> bytes:
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
        if peer is None or not peer.reads_all_keys:
            wire.check_for_old_peers(payload, f"the call of {method!r:.80}")
        return payload

    def _park(self, call: Call) -> None:
        if self.absence is not None and not self.peers:
            raise outcomes.nowhere(self.absence, call.method)
        if len(self.unsent) >= MAX_UNSENT:
            raise outcomes.no_room(call.method, MAX_UNSENT, self.peers)
        self.unsent[call.id] = call

    def _bind(self, call: Call, peer: Peer, now: float) -> None:
        call.peer = peer
        call.state = OPEN
        call.sent_at = now
        peer.open += 1
        if len(self.peers) > 1:
            peer.unanswered[call.id] = now

    def take_unsent(self, peer: Peer, now: float) -> list[Call]:
        """The calls that waited for a connection, now bound to `peer`, to be sent in order."""
        taken = [call for call in self.unsent.values() if call.route is None or call.route.allows(peer)]
        for call in taken:
            del self.unsent[call.id]
            self._bind(call, peer, now)
            # Not before wake_at, for on_timer looks at what is unsent once an interval too.
            call.next_beat = now + self._interval
        return taken

    def take_stranded(self, now: float) -> list[Call]:
        """What waits although a peer is live, now bound to the best, to be sent in order."""
        taken = []
        for call in list(self.unsent.values()):
            route = call.route
            peer = self.balancer.choose(now) if route is None else self._best(route, now)
            if peer is None:
                continue
            del self.unsent[call.id]
            self._bind(call, peer, now)
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
            if isinstance(call, RoutedCall) and call.copy is not None:
                self._hedging.take_over(call)
                continue
            peer.open -= 1
            peer.unanswered.pop(call.id, None)
            call.peer = None
            call.state = QUEUED
            self.unsent[call.id] = call

    # Answers

    def receive(self, peer: Peer, payload: bytes, now: float) -> None:
        """Take in one frame of a peer. Never raises: what makes no sense is counted."""
        try:
            header, name, args = wire.unpack(payload, self._max_elements)
            call = self.calls.get(header.get("response_to"))
        except (WireError, TypeError) as exc:
            self._unreadable(peer, payload, exc)
            return
        if peer.silent:
            self.balancer.heard(peer)
        if call is None:
            call = self._call_of(header)
        if call is None or call.peer is not peer:
            # An answer that comes after its call has ended is nothing to report.
            self.dropped["late" if call is None else "from another peer"] += 1
            if "response_to" not in header and len(self.asked) < MAX_ASKED:
                self.asked.append(payload)
            return
        if len(header) > 3:
            self._learn(call, peer, header)
        if not peer.reads_all_keys and type(header.get("message_id")) is str:
            peer.reads_all_keys = True  # zerorpc-python's ids are bytes
        if isinstance(call, Copy) and name not in (BEAT, MORE) and "refused" not in header:
            call = self._hedging.won(call, now)
            self.wake_at = now
        if name == OK and call.state is OPEN:
            if type(args) is list and args:
                call.value = args[0]
                if call.id in peer.unanswered:
                    self.balancer.answered(peer, call.id, now)
                if call.route is not None:
                    self._hedging.answered(call, now)
                self._end(call, None)
            else:
                self._end(call, WireError(f"{peer.endpoint} answered {call.method!r:.80} without a value"))
        elif name == STREAM:
            self._items(call, peer, header, args, len(payload), now)
        elif name in (BEAT, MORE):
            call.last_heard = now
        else:
            self._last(call, peer, header, name, args, now)

    def _learn(self, call: Call, peer: Peer, header: Header) -> None:
        """What an answer tells besides."""
        if peer.mesh is None and "mesh" in header:
            peer.mesh = peer.reads_all_keys = True
        if peer.batch is False and header.get("batch") == 1:
            peer.batch = peer.reads_all_keys = True
        if self._recorder is not None and call.span is None and "trace_id" in header:
            self._recorder.joins(call, header["trace_id"], header.get("span_id"))
        if header.get("idempotent") is True and len(self.idempotent) < MAX_IDEMPOTENT:
            self.idempotent.add(call.method)

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

    def _items(self, call: Call, peer: Peer, header: Header, args: Any, size: int, now: float) -> None:
        """One item of a stream, or several in one event."""
        values, number = (args,), 1
        if "items" in header:
            values, number = args, header["items"]
        if type(number) is not int or type(values) not in (list, tuple) or not 0 < number == len(values):
            self._violated(call, peer, "sent items of a stream that are not as many as it says")
            return
        size //= number
        if call.state is OPEN:
            call.state = STREAMING
            call.begin_stream(now)
            if call.route is not None:
                self._hedging.is_stream(call)
                self.wake_at = now if call.route.hedge else self.wake_at
        items = call.items
        if items is None or call.credit < number:
            self._violated(call, peer, "sent more of a stream than it was granted")
            return
        call.credit -= number
        call.low += number
        call.item_size = size if not call.item_size else call.item_size + ((size - call.item_size) >> 3)
        call.last_heard = now
        if call.id in peer.unanswered:
            self.balancer.answered(peer, call.id, now)
        # Whoever waits for an item has got one; whoever works on one is not hurried.
        call.deadline = NEVER
        items.extend(values)
        call.received += number
        if call.waiter is not None:
            self.woken.append(call)

    def _last(self, call: Call, peer: Peer, header: Header, name: str, args: Any, now: float) -> None:
        if ANSWERS.get((call.state, name)) is None:
            self._violated(call, peer, f"sent {name[:40]!r} to a call that is {call.state.value}")
            return
        if call.items is None and name != ERR:
            call.begin_stream(now)
        error = outcomes.remote(header, args, peer, call.method) if name == ERR else None
        if isinstance(error, MeshError) and header.get("trace_id") == "":
            error.unrecorded = True
        self._judge(call, peer, error, now)
        self._end(call, error)

    def _judge(self, call: Call, peer: Peer, error: Exception | None, now: float) -> None:
        """What an answer that is no value tells of its peer. An exception of a handler is as good as one."""
        if another_may_take_it(error):
            peer.leaving = now + (LEAVING if isinstance(error, LostRemote) else WORKERLESS)
            self.balancer.changed()
        elif isinstance(error, Overloaded):
            self.balancer.failed(peer, call.id, now)
            if error.pause is not None:
                self.balancer.pause(peer, now + min(error.pause, MAX_PAUSE))
            self.wake_at = min(self.wake_at, self.balancer.wake_at)
        elif isinstance(error, TimeoutExpired) and error.refused:
            self.balancer.given_up(peer, call.id, now, expired=True)
        elif isinstance(error, LostRemote):
            self.balancer.failed(peer, call.id, now)
        elif call.id in peer.unanswered:
            self.balancer.answered(peer, call.id, now)

    def _violated(self, call: Call, peer: Peer, what: str) -> None:
        self.dropped["protocol"] += 1
        self._end(call, WireError(f"{peer.endpoint} {what} (method {call.method!r:.80})"))

    def _end(self, call: Call, error: Exception | None, *, cancelled: bool = False) -> None:
        if call.copy is not None and self._goes_on(call, error):
            return
        if call.original is not None:
            call.original.copy = None
        del self.calls[call.id]
        call.state = DONE
        call.error = error
        recorder = self._recorder
        if recorder is not None:
            span = call.span
            if (
                error is None
                and call.items is None
                and call.route is None
                and not cancelled
                and (span is None or not span.late)
                and (take := self._times.take.get(call.method))
            ):
                now = recorder.clock()
                take(now - call.opened)
                if span is not None:
                    recorder.record_client(self._times.service, call, span, call.opened, now)
            else:
                recorder.client_ended(self._times, call, error, cancelled=cancelled)
        if error is not None and call.span is not None:
            outcomes.tell_trace(error, call.span)
        call.payload = b""
        peer = call.peer
        if peer is not None:
            peer.open -= 1
            if peer.unanswered:
                peer.unanswered.pop(call.id, None)
        else:
            self.unsent.pop(call.id, None)
        if call.waiter is not None:
            self.woken.append(call)

    def count(self, method: str, began: float, *, failed: bool) -> None:
        """A call has ended that took several attempts, which are not counted by themselves."""
        if self._recorder is not None:
            self._times.ended(method, self._recorder.clock() - began, failed=failed)

    def _goes_on(self, call: Call, error: Exception | None) -> bool:
        """Whether one that has a copy goes on as that: where its server was lost, or has refused it."""
        if isinstance(error, MeshError) and (error.refused or isinstance(error, LostRemote)):
            self._hedging.take_over(call)
            return True
        self._hedging.drop_copy(call)
        self.wake_at = 0.0
        return False

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
        call.set_low()
        if self._takes_several and call.peer is not None and call.peer.mesh:
            return control(self._ids, call.id, MORE, more, items=1)
        return control(self._ids, call.id, MORE, more)

    def await_item(self, call: Call, waiter: Any, now: float, timeout: float | None) -> bool:
        """Somebody wants the next item of a stream, and waits for `timeout` seconds or for ever.

        False where it is there, or the stream has ended: then nobody is woken. Raises RuntimeError where
        somebody waits for it already.
        """
        if call.items or call.state is DONE:
            return False
        if call.waiter is not None:
            raise RuntimeError("another greenlet or task waits for the next item of this stream already")
        call.waiter = waiter
        call.opened = now
        call.deadline = NEVER if timeout is None else now + timeout
        self.wake_at = min(self.wake_at, call.deadline)
        return True

    def cancel(self, call: Call, now: float, error: MeshError | None = None) -> Out | None:
        """Give up a call. What comes back tells its peer, where one has it.

        error: what it ends with, where its caller is to be woken; else there is nobody left to wake.
        """
        if call.state is DONE:
            return None
        peer, sent = call.peer, call.state is not QUEUED
        if error is None:
            call.waiter = None
        if call.copy is not None:
            self._hedging.drop_copy(call)
            self.wake_at = now
        if peer is not None and peer.unanswered:
            self.balancer.given_up(peer, call.id, now, expired=False)
        self._end(call, error, cancelled=error is None)
        if sent and peer is not None and peer.live:
            return peer, control(self._ids, call.id, BEAT, 0, cancel=True)
        return None

    # Liveness

    def peer_up(self, peer: Peer, now: float) -> None:
        """The connection to a peer stands."""
        peer.live = True
        peer.silent = False
        peer.leaving = 0.0
        peer.mesh = peer.batch = None
        peer.reads_all_keys = False
        peer.why = ""
        self.balancer.up(peer, now)
        self.wake_at = min(self.wake_at, self.balancer.wake_at)
        self.woken += self._waiting
        self._waiting.clear()

    def peer_down(self, peer: Peer, why: str, now: float) -> None:
        """The connection to a peer broke: whatever was sent to it ends with LostRemote."""
        peer.live = False
        peer.why = why
        self.balancer.down(peer, now)
        for call in [call for call in self.calls.values() if call.peer is peer]:
            self._end(call, LostRemote(f"{peer.endpoint} is gone ({why}) while {call.method!r:.80} was open"))

    def tell_open(self, counting: Counting, now: float) -> None:
        """Have the open calls counted."""
        service = self._service or ""
        for call in self.calls.values():
            if call.method not in wire.OWN_QUESTIONS and call.original is None:
                began = call.opened if call.items is None else call.began
                peer = "" if call.peer is None else call.peer.endpoint
                sent = call.sent_at if peer else 0.0
                counting.open_call(Kind.CLIENT, service, call.method, began, sent, call.span, peer, now)

    def open_rows(self, now: float, most: int, *, served: bool) -> list[Row]:
        """What is told of the calls that no handler has made, the oldest first. Its handler's server tells of
        another.
        """
        calls = [
            call
            for call in self.calls.values()
            if call.caller is None and call.original is None and not call.items
        ]
        calls = [call for call in calls if call.method not in wire.OWN_QUESTIONS]
        return [client_row(call, self._service or "", now) for call in nsmallest(most, calls, key=_opened)]

    def fail_all(self, error_of: Callable[[Call], MeshError]) -> None:
        """End every call, as the client closes."""
        for call in list(self.calls.values()):
            self._hedging.drop_copy(call)
            if call.state is not DONE:
                self._end(call, error_of(call))
        self.woken += self._waiting
        self._waiting.clear()

    def forget_all(self, error_of: Callable[[Call], MeshError]) -> None:
        """End every call and wake nobody: in the child of a fork those who wait are the parent's."""
        for call in self.calls.values():
            call.waiter, call.state, call.error = None, DONE, error_of(call)
        self.calls.clear()
        self.unsent.clear()
        self.woken.clear()
        self.asked.clear()
        self._waiting.clear()

    def on_timer(self, now: float) -> list[Out]:
        """End the calls whose time is over, and give the heartbeats that are due."""
        out: list[Out] = [(peer, self._ping(peer, now)) for peer in self.balancer.due(now)]
        deadline = beat = NEVER
        for call in list(self.calls.values()):
            if call.state is DONE:
                continue  # a copy, whose call has ended before
            if call.hedge_at <= now:
                out += self._hedging.send(call, now)
            if call.deadline <= now:
                peer = call.peer
                if peer is not None:
                    self.balancer.given_up(peer, call.id, now, expired=True)
                self._end(call, self.expired(call.method, call.deadline - call.opened, peer))
                if peer is not None and peer.live:
                    out.append((peer, control(self._ids, call.id, BEAT, 0, cancel=True)))
                continue
            if call.next_beat <= now and not self._beat(call, now, out):
                continue
            if call.deadline < deadline:
                deadline = call.deadline
            if call.hedge_at < deadline:
                deadline = call.hedge_at
            if call.next_beat < beat:
                beat = call.next_beat
        due = [one for one in self._waiting if one.until <= now]
        self.woken += due
        self._waiting = [one for one in self._waiting if one.until > now]
        for one in self._waiting:
            deadline = min(deadline, one.until)
        out += self._hedging.take_left()
        self.wake_at = min(
            max(deadline, now + GRAIN), max(beat, now + self._interval * BEATS_LATE), self.balancer.wake_at
        )
        return out

    def _ping(self, peer: Peer, now: float) -> bytes:
        """Ask one that failed or was silent whether it is there; nobody waits for the answer."""
        return self.open(wire.PING, (), None, now, PING_TIMEOUT, peer).payload

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
            self.balancer.failed(peer, call.id, now)
            if not peer.silent:
                self.balancer.silent(peer, now, PING_SILENT * self._interval)
            silent = f"no heartbeat for {now - call.last_heard:.1f} s"
            self._end(
                call, LostRemote(f"{peer.endpoint} is stuck ({silent}) while {call.method!r:.80} was open")
            )
            return False
        out.append((peer, control(self._ids, call.id, BEAT, 0)))
        return True
