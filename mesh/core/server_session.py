"""The server's end of all conversations over one socket: peer -> channel id -> call.

Frames come in with the peer that sent them, by `receive`. What comes of them waits to be taken:
calls to carry out in `ready`, answers that need no handler, as to pings and to calls of unknown methods,
by `take_out`, calls whose handler is to be told something by `take_woken`. Whoever carries a call out
says so by `begin`, and gives what comes of it to `answer`, `item`, `end_stream` or `failure`, which make
the bytes to be sent. The queue is bounded in number and bytes; what is over is refused.

The endpoint holds a lock around every method. Without it `ready` may be looked at, and calls taken from
its left, in the loop's own thread; and what is counted may be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from mesh.core import wire
from mesh.core.batch import read_events
from mesh.core.callers import FROM_PROCESS
from mesh.core.channel import BEATS_LATE, DONE, FASTEST, NEVER, OPEN, QUEUED, STREAMING, Sign
from mesh.core.dropped import Dropped
from mesh.core.elements import weight
from mesh.core.majordomo import MAX_BATCH
from mesh.core.open_calls import OpenCalls, Row
from mesh.core.progress import Progress
from mesh.core.recording import CANCELLED, SLOW, Recorder, passed_on_unrecorded
from mesh.core.server_answers import AnswerWriter
from mesh.core.server_call import DEFAULT_LIMITS, HubCall, Limits, Out, Peer, ServerCall
from mesh.core.span import span_in
from mesh.core.trace_counting import Counting
from mesh.core.trace_record import GOOD, Kind
from mesh.core.values import Encode
from mesh.core.wire import BEAT, MORE, OK, OPEN_CALLS, PING, STREAM_DONE, Header, clip
from mesh.errors import WireError, name_of, text_of

__all__ = ["Limits", "Out", "Peer", "ServerCall", "ServerSession"]

_NONE: Final[dict[Any, Any]] = {}
"""The channels of a peer that has none; never filled."""
_WITHOUT_HANDLER: Final = frozenset((BEAT, MORE, OPEN_CALLS, PING))
MAX_CHANNEL_ID: Final = 256
UNWEIGHED: Final = 1024 * 1024
"""Bytes of requests that wait before each further one counts with what it takes in memory."""
MAX_METHOD: Final = 1_000
"""Characters of a method's name."""
MAX_CREDIT: Final = 2**32
GROUP_BYTES: Final = 8 * 1024
"""Bytes of the items of a stream from which they are sent, so that no event of several is large."""
GROUP_ITEMS: Final = 200
"""Their number: the client reads them while the next are made."""
MAX_OUT: Final = 10_000
"""Answers without a handler that wait in `out`; what comes over it is dropped."""


class ServerSession:
    """The calls that one server has accepted, over its ROUTER socket and through hubs.

    base: 24 hex digits that begin no other session's message ids. heartbeat: seconds between
    heartbeats, or None for none: then each of a peer's is answered. name: what a ping is answered with.
    encode: gives what is to travel in place of a value that can't. recorder: keeps what is to be told of its
    calls; None where nothing is.

    wake_at: when on_timer wants to be called next. fastest: seconds, the shortest interval between
    heartbeats of an open call. What it can't know by itself it asks the functions that `expose`,
    `take_load_from` and `take_progress_from` were given, in whichever thread holds the lock.
    """

    def __init__(
        self,
        base: bytes,
        heartbeat: float | None,
        limits: Limits = DEFAULT_LIMITS,
        name: str = "",
        encode: Encode | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.limits = limits
        self.channels: dict[Peer, dict[Any, ServerCall]] = {}
        """The calls that have not had their last answer: peer -> channel id -> call."""
        self.ready: deque[ServerCall] = deque()
        self.abandoned: set[ServerCall] = set()
        """Calls that were given up while their handler ran, until `handler_ended`."""
        self.woken: list[ServerCall] = []
        self.out: list[Out] = []
        self.wake_at = NEVER
        self.fastest = NEVER
        self.dropped = Dropped()
        self.draining = False
        self.name = clip(name)
        self.open_calls_told = OpenCalls(self.name, base.decode(), self.running, limits.max_message)
        """What is told of them to whoever asks."""
        self._load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._methods: Container[str] | None = None
        """None: whoever carries the calls out looks for their handlers."""
        self._unknown: Callable[[str], str] = lambda name: f"{self.name} has no method {name!r:.100}"
        self._progress_of: Callable[[Peer], Progress | None] = lambda peer: None
        self._answers = AnswerWriter(base, limits, encode)
        self._answers.is_mesh = self.open_calls_told.callers.knows
        self._takes_batches = limits.max_message >= MAX_BATCH
        # Whether what is received came with others in one frame.
        self._in_batch = False
        self._half = limits.queue // 2
        self._max_elements = limits.max_elements
        self._queued = 0
        self._queued_bytes = 0
        self._interval = NEVER if heartbeat is None else heartbeat
        self._recorder = recorder
        if recorder is not None:
            self._times = recorder.times_of(Kind.SERVER, self.name)

    def expose(
        self,
        methods: Container[str],
        unknown: Callable[[str], str] | None = None,
        idempotent: Container[str] = (),
    ) -> None:
        """Refuse calls of all other methods from now on. unknown: what to say of one, from its name.
        idempotent: those of which callers are told that they may be carried out twice.
        """
        self._methods = methods
        self._answers.idempotent = idempotent
        if unknown is not None:
            self._unknown = unknown

    def take_load_from(self, load: Callable[[], tuple[int, int]]) -> None:
        """Tell those who ask so many: how many handlers run, and how many may at once."""
        self._load = load

    def take_progress_from(self, progress_of: Callable[[Peer], Progress | None]) -> None:
        """Judge a peer's silence by what moves on its connection, None where that can't be told."""
        self._progress_of = progress_of

    def open_calls(self) -> list[ServerCall]:
        """All that wait, run or stream."""
        return [call for theirs in self.channels.values() for call in theirs.values()]

    @property
    def calls(self) -> dict[tuple[Peer, Any], ServerCall]:
        """The same by peer and channel id, made anew each time."""
        return {(call.peer, call.id): call for call in self.open_calls()}

    def take_out(self) -> list[Out]:
        """What is to be sent without that a handler has answered."""
        out, self.out = self.out, []
        return out

    def take_woken(self) -> list[ServerCall]:
        """The calls whose handler waits for credit and has some, or is to hear that nobody wants it."""
        woken, self.woken = self.woken, []
        return woken

    # What comes in

    def receive(self, peer: Peer, payload: bytes, now: float) -> bool:
        """Take in one frame of a peer; whether something is sent for it, now or when a handler has ended.

        Never raises: what makes no sense is answered or counted.
        """
        try:
            header, name, args = wire.unpack(payload, self._max_elements)
        except WireError as exc:
            return self._malformed(peer, payload, exc)
        channel_id = header.get("response_to")
        if channel_id is None:
            size = len(payload) if self._queued_bytes < UNWEIGHED else weight(payload)
            return self._request(peer, header, name, args, size, now)
        if _is_id(channel_id):
            call = self.channels.get(peer, _NONE).get(channel_id)
            self._follow_up(call, header, name, args, now)
        else:
            self._drop(peer, "malformed", f"{name!r:.80} with no id of a channel")
        return False

    def receive_batch(self, peer: Peer, frame: bytes, now: float) -> int:
        """Take in several events of a peer in one frame; how many there were. Never raises."""
        try:
            events = read_events(frame)
        except WireError as exc:
            self._drop(peer, "malformed", str(exc))
            return 1
        self._in_batch = True
        receive = self.receive
        for event in events:
            receive(peer, event, now)
        self._in_batch = False
        return len(events)

    @property
    def out_full(self) -> bool:
        """Whether so much waits in `out` that what comes now is not answered."""
        return len(self.out) >= MAX_OUT

    def _drop(self, peer: Peer, what: str, detail: str) -> None:
        """Count one that has just come in."""
        self.dropped.add(what, detail)
        if type(peer) is not HubCall:
            self.dropped.fresh = what

    def _malformed(self, peer: Peer, payload: bytes, exc: WireError) -> bool:
        self._drop(peer, "malformed", str(exc))
        header = wire.salvage_header(payload)
        if header:
            header.pop("batch", None)
        if header and "response_to" not in header and _is_id(header.get("message_id")):
            return self._refuse(peer, header, "", "WireError", str(exc))
        return False

    def _refuse(
        self, peer: Peer, header: Header, method: str, name: str, msg: str, wait: float | None = None
    ) -> bool:
        """Answer that a request is not carried out; whether there is room for that. wait: seconds after which
        it is worth another try.
        """
        whole = f"{method!r:.80}: {msg}" if method else msg
        if len(self.out) >= MAX_OUT:
            self._drop(peer, "not answered", whole)
            return False
        self._drop(peer, "refused", whole)
        self.out.append((peer, self._answers.refusal(header, name, msg, wait)))
        return True

    def _request(self, peer: Peer, header: Header, name: str, args: Any, size: int, now: float) -> bool:
        channel_id = header.get("message_id")
        if not _is_id(channel_id):
            self._drop(peer, "malformed", f"{name!r:.80} without a message id")
            return False
        if "batch" in header:
            self._agree_on_batches(peer, header)
        theirs = self.channels.get(peer, _NONE)
        if channel_id in theirs:
            self._drop(peer, "duplicate", f"{name!r:.80} by the message id of an open call")
            return False
        if name in _WITHOUT_HANDLER:
            if name == OPEN_CALLS:
                told = self.open_calls_told.told(now, self._load(), self._queued)
                return self._answer_at_once(peer, header, name, told)
            if name != PING:
                self._drop(peer, "stray", f"{name} on no channel")
                return False
            if (args is None or args == []) and not (self.draining or header.get("kwargs")):
                return self._pong(peer, header)
        if type(args) is not list:
            args = [] if args is None else args
            if type(args) is not list:
                return self._refuse(peer, header, name, "WireError", "the arguments must be an array")
        if size > MAX_METHOD and len(name) > MAX_METHOD:
            what = f"the method's name has {len(name)} characters, the limit is {MAX_METHOD}"
            return self._refuse(peer, header, name, "WireError", what)
        if self._methods is not None and name not in self._methods and not self.draining:
            return self._refuse_unknown(peer, header, name)
        limits = self.limits
        if (
            self._queued >= self._half
            or self._queued_bytes + size > limits.queue_bytes
            or len(theirs) >= limits.channels
            or self.draining
        ):
            refused = self._no_room(len(theirs), size)
            if refused:
                return self._refuse(peer, header, name, *refused, self._wait(now))
        call = ServerCall(peer, header, name, args, size, now, self._interval)
        call.batched = self._in_batch
        if len(header) > 2:
            self._extras(call, header, now)
        if theirs:
            theirs[channel_id] = call
        else:
            self.channels[peer] = {channel_id: call}
        self.ready.append(call)
        self._queued += 1
        self._queued_bytes += size
        if call.next_beat < self.wake_at:
            self.wake_at = call.next_beat
        return True

    def _agree_on_batches(self, peer: Peer, header: Header) -> None:
        """Leave `batch` in the header of a request where the answer is to say yes to it. It comes with the
        first on a connection, which also says whose that is.

        Only to a client that has come by itself: a device would give several calls to one of many servers,
        and a hub agrees with its clients for itself.
        """
        if type(peer) is not HubCall:
            self.open_calls_told.callers.note(peer, header.get(FROM_PROCESS))
        if type(peer) is not bytes or header["batch"] != 1 or not self._takes_batches:
            del header["batch"]

    def _pong(self, peer: Peer, header: Header) -> bool:
        """Answer a ping; whether there was room for that.

        It is answered before the limits are looked at, for it asks whether the server is there, not whether
        it has room. One with arguments is as wrong as any call with too many, and is a call.
        """
        value: list[Any] = ["pong", self.name]
        if "load" in header:
            running, most = self._load()
            value.append({"running": running, "most": most, "waiting": self._queued})
        return self._answer_at_once(peer, header, PING, value)

    def _answer_at_once(self, peer: Peer, header: Header, name: str, value: Any) -> bool:
        """Answer what no handler does, before the limits are looked at; whether there was room for that."""
        if len(self.out) >= MAX_OUT:
            self._drop(peer, "not answered", name)
            return False
        self.out.append((peer, self._answers.at_once(header, value)))
        return True

    def _refuse_unknown(self, peer: Peer, header: Header, name: str) -> bool:
        """As _refuse, before the limits are looked at: to wait for a handler would be to no end.

        The log has no line for each: whoever sends names without end would fill it.
        """
        if len(self.out) >= MAX_OUT:
            self._drop(peer, "not answered", f"{name!r:.80}")
            return False
        self._drop(peer, "unknown method", f"{name!r:.80}")
        # Named as zerorpc's servers name it.
        self.out.append((peer, self._answers.refusal(header, wire.UNKNOWN_METHOD, self._unknown(name))))
        return True

    def _no_room(self, theirs: int, size: int) -> tuple[str, str] | None:
        """Why a call of a peer that has `theirs` open is refused."""
        if self.draining:
            return "LostRemote", "the server is stopping and takes no more calls"
        limits = self.limits
        if self._queued >= limits.queue:
            return "Overloaded", f"{self._queued} calls wait already (the limit is {limits.queue})"
        if theirs >= limits.channels:
            why = f"{theirs} calls of this client to {self.name} are open already, which is the limit"
            return "Overloaded", f"{why}: make fewer at once, for instance behind a semaphore"
        if self._queued > self._half < theirs and len(self.channels) > 1:
            # The rest of the queue is for the others.
            return "Overloaded", f"{self._queued} calls wait already, and {theirs} of this client are open"
        if self._queued_bytes + size > limits.queue_bytes and self._queued:
            return "Overloaded", f"{self._queued_bytes} bytes of calls wait already"
        return None

    def _wait(self, now: float) -> float | None:
        """Seconds that a call waits for a handler at present; None where none does."""
        return now - self.ready[0].opened if self.ready and not self.draining else None

    def _extras(self, call: ServerCall, header: Header, now: float) -> None:
        """The header keys beyond zerorpc's that change how the conversation is kept, and its trace."""
        if self._recorder is not None and "trace_id" in header and not header.get("span_id"):
            self._recorder.take_up(call)
        deadline = header.get("deadline")
        if type(deadline) is int:
            call.deadline = now + max(deadline, 0) / 1000
        beat = header.get("heartbeat")
        if type(beat) is not int or beat < 0:
            return
        if self._interval is NEVER:
            self.fastest = min(self.fastest, max(beat / 1000, FASTEST)) if beat else self.fastest
        else:
            slowest = self.limits.max_heartbeat
            seconds = min(beat / 1000, slowest) if beat else slowest
            call.interval = min(self._interval, max(seconds, FASTEST))
            call.patience = max(self._interval, seconds)
            call.next_beat = now + call.interval
            self.fastest = min(self.fastest, call.interval)

    def _follow_up(self, call: ServerCall | None, header: Header, name: str, args: Any, now: float) -> None:
        if call is None:
            self.dropped.add("late", quiet=True)  # what a caller that has just gone leaves behind
            return
        call.last_heard = now
        if name == BEAT:
            if header.get("cancel") is True:
                self.give_up(call)
                return
            if call.version < 3:
                self._more(call, args, now)
            if self._interval is NEVER and len(self.out) < MAX_OUT:
                # It gives none of its own, but nobody is to lose a call for that.
                self.out.append((call.peer, self._answers.beat(call)))
        elif name == MORE:
            if call.group is None and header.get("items") == 1:
                call.group = []
            self._more(call, args, now)
        else:
            self._drop(call.peer, "unknown", f"{name!r:.80} on a call of {call.method!r:.80}")

    def _more(self, call: ServerCall, args: Any, now: float) -> None:
        number = args[0] if type(args) is list and args else None
        if type(number) is not int or not 0 <= number < 2**32:
            self._drop(call.peer, "malformed", f"credit for {call.method!r:.80} that is no number")
            return
        before = call.credit
        call.credit = min(before + number, MAX_CREDIT)
        call.granted += call.credit - before
        # Once only: a peer may grant and grant while the one that waits can't run.
        if before <= 0 < call.credit and call.waiter is not None:
            call.starved += now - call.item_at
            self.woken.append(call)

    # Carrying out

    def begin(self, call: ServerCall, now: float) -> bool:
        """Take a call from `ready` to its handler; False where nobody waits for it any more."""
        if call.given_up:
            return False
        self._queued -= 1
        self._queued_bytes -= call.size
        if call.deadline <= now:
            waited = f"it waited {now - call.opened:.3g} s, longer than its caller does"
            self._drop(call.peer, "refused", f"{call.method!r:.80}: {waited}")
            # Whatever waits there: what was accepted has an answer.
            self.out.append((call.peer, self._answers.refusal(call.header, "TimeoutExpired", waited)))
            self._forget(call, "TimeoutExpired", now, waited)
            return False
        call.state = OPEN
        # Another thread may have taken it in after this one has looked at the clock.
        call.begun = max(now, call.opened)
        return True

    def answer(self, call: ServerCall, value: Any) -> bytes:
        """The OK of a call. Raises TypeError, with the place, for a value that can't travel."""
        recorder, now = self._recorder, 0.0
        if recorder is not None:
            now = recorder.clock()
            if now - call.opened > recorder.slow and "trace_id" not in call.header:
                recorder.keep(call, SLOW)
        payload = self._answers.packed(call, OK, [value])
        self._forget(call, GOOD, now)
        return payload

    def item(self, call: ServerCall, value: Any) -> bytes:
        """One item of a stream, which costs one credit. Raises as answer does."""
        payload = self._answers.item(call, value)
        call.state = STREAMING
        call.credit -= 1
        return payload

    def hold_item(self, call: ServerCall, value: Any) -> bool:
        """Take an item, which costs one credit, for `take_items`; whether that is to be called at once.

        For a call that has a group. Raises TypeError for a value that can't travel, and WireError where it is
        too large.
        """
        payload = self._answers.value(call, value)
        assert call.group is not None
        call.group.append(payload)
        call.group_size = size = call.group_size + len(payload)
        call.state = STREAMING
        call.credit = credit = call.credit - 1
        return size > GROUP_BYTES or credit <= 0 or len(call.group) >= GROUP_ITEMS

    def take_items(self, call: ServerCall) -> list[bytes]:
        """The events with the items that were held, a large one in one of its own."""
        if not call.group:
            return []
        group, call.group, call.group_size = call.group, [], 0
        if call.given_up:
            return []
        if len(group) > 1 and len(group[-1]) > GROUP_BYTES:
            return [self._answers.items(call, group[:-1]), self._answers.items(call, group[-1:])]
        return [self._answers.items(call, group)]

    def end_stream(self, call: ServerCall) -> bytes:
        payload = self._answers.packed(call, STREAM_DONE, None)
        self._forget(call)
        return payload

    def failure(self, call: ServerCall, exc: BaseException, traceback: str) -> bytes:
        """The ERR of a call whose handler raised. Never raises itself, whatever `exc` does."""
        self.keep(call, exc)
        if self._recorder is None:
            self._forget(call)
        else:
            self._forget(call, name_of(exc), 0.0, text_of(exc), traceback)
        return self._answers.failure(call, exc, traceback)

    def keep(self, call: ServerCall, exc: BaseException) -> None:
        """The handler of a call has raised: give it the ids of a trace where it has none, so that whoever
        reads of it here and there finds the two together."""
        if self._recorder is not None and "trace_id" not in call.header and not call.unrecorded:
            if passed_on_unrecorded(exc):
                call.unrecorded = True
            else:
                self._recorder.keep(call, name_of(exc))

    def handler_ended(self, call: ServerCall) -> None:
        """The handler of a call that was given up has ended, so that its hub may give another."""
        self.abandoned.discard(call)
        if type(call.peer) is HubCall:
            self.out.append((call.peer, self._answers.cancelled(call)))

    # Ends

    def drain(self) -> None:
        """Take no more calls; those that come are refused."""
        self.draining = True

    def give_up(self, call: ServerCall) -> None:
        """Nobody waits for this call any more: its handler's stream is to end."""
        if call.given_up:
            return
        call.given_up = True
        queued = call.state is QUEUED
        self._forget(call, CANCELLED)
        if queued:
            if type(call.peer) is HubCall:
                self.out.append((call.peer, self._answers.cancelled(call)))
            self._unqueue(call)
        else:
            self.abandoned.add(call)
            self.woken.append(call)

    def _unqueue(self, call: ServerCall) -> None:
        """Free what a call holds that was not begun."""
        self._queued -= 1
        self._queued_bytes -= call.size
        call.args, call.header = [], {}
        if len(self.ready) > 1:
            # Not the last: a driver looks whether there is one, and takes it without the lock.
            # One that it has just taken is not there.
            with suppress(ValueError):
                self.ready.remove(call)

    def lost(self, peers: Iterable[Peer]) -> None:
        """These peers can't be reached any more."""
        for peer in peers:
            self.open_calls_told.callers.forget(peer)
            for call in list(self.channels.get(peer, _NONE).values()):
                self.give_up(call)

    def give_up_all(self) -> None:
        """This server ends."""
        for call in self.open_calls():
            self.give_up(call)

    def disown(self) -> None:
        """In the child of a fork: whoever waits for these calls hears from the parent."""
        for call in self.open_calls():
            call.given_up = True

    def does_not_read(self, peer: Peer, number: int) -> None:
        """A peer that asks and does not read is given up. number: of messages that are thrown away."""
        methods = [call.method for call in self.channels.get(peer, _NONE).values()]
        which = f", one of them of {methods[0]!r:.80}" if methods else ""
        detail = f"by a client with {len(methods)} open calls{which}"
        self.dropped.add("not read", detail, number=number)
        self.lost([peer])

    def running(self) -> Sequence[tuple[ServerCall, bool]]:
        """The calls that wait, run or stream, and those that run for nobody any more; with which they are."""
        calls = [(call, True) for call in self.open_calls()]
        return calls + [(call, False) for call in list(self.abandoned)]

    def tell_open(self, counting: Counting, now: float) -> None:
        """Have the open calls counted."""
        for call in self.open_calls():
            span, name = span_in(call.header), self.name
            counting.open_call(Kind.SERVER, name, call.method, call.opened, call.begun, span, "", now)

    def open_rows(self, now: float, most: int, *, served: bool) -> list[Row]:
        """What is told of its calls by way of the collector; nothing unless served: it is asked itself."""
        if not served:
            return []
        told = self.open_calls_told.told(now, self._load(), self._queued)
        return [{**row, "service": self.name} for row in told["calls"][:most]]

    def probes(self) -> list[Out]:
        """A heartbeat for each peer with an open call, to see which ones can be reached."""
        out: list[Out] = []
        for peer, theirs in self.channels.items():
            call = next((call for call in theirs.values() if call.version > 1), None)
            if call is not None and type(peer) is not HubCall:
                out.append((peer, self._answers.beat(call)))
        return out

    def on_timer(self, now: float) -> list[Out]:
        """Give up the calls of silent peers, and give the heartbeats that are due."""
        out: list[Out] = []
        wake_at = fastest = NEVER
        for call in self.open_calls():
            if call.next_beat <= now:
                sign = self._beat(call, now)
                if sign is Sign.LOST:
                    out.append((call.peer, self._lost_touch(call, now)))
                    continue
                if sign is Sign.BEAT:
                    out.append((call.peer, self._answers.beat(call)))
            if call.next_beat < wake_at:
                wake_at = call.next_beat
            if call.interval < fastest:
                fastest = call.interval
        self.fastest = fastest
        self.wake_at = max(wake_at, now + fastest * BEATS_LATE)
        return out

    def _lost_touch(self, call: ServerCall, now: float) -> bytes:
        """Give up the call of a silent peer, and tell it, for it may only have kept still."""
        silent = f"the server heard no heartbeat for {now - call.last_heard:.1f} s"
        self.dropped.add("lost", f"{call.method!r:.80}, for {silent}")
        extra: Header = {"refused": call.state is QUEUED}
        what = f"{silent} while {call.method!r:.80} was open"
        error = self._answers.error(call.header, "LostRemote", what, "", extra)
        self.give_up(call)
        return error

    def _beat(self, call: ServerCall, now: float) -> Sign:
        if call.version < 2 and not call.last_heard:
            # A peer of version 1 knows no heartbeats until it sends one.
            call.next_beat = now + call.interval
            return Sign.QUIET
        sign = call.beat(now, call.interval, call.patience)
        if sign is Sign.LOST:
            sign = call.reconsider(self._progress_of(call.peer), now, call.interval)
        return sign

    def _forget(
        self,
        call: ServerCall,
        outcome: str = GOOD,
        now: float = 0.0,
        message: str = "",
        traceback: str = "",
    ) -> None:
        """It is over with this call. outcome: what it has come to, as Record.outcome. now: 0.0 where nobody
        has looked at the clock yet.
        """
        if call.state is DONE:
            return
        call.state = DONE
        recorder = self._recorder
        if recorder is not None:
            now = now or recorder.clock()
            take = self._times.take.get(call.method)
            if take is None or outcome is not GOOD:
                recorder.server_ended(self._times, call, now, outcome, message, traceback)
            elif "trace_id" not in call.header:
                take(now - call.opened)
            elif not call.items and not call.late:
                take(now - call.opened)
                recorder.record_server(self._times.service, call, now)
            else:
                recorder.server_ended(self._times, call, now, outcome, message, traceback)
        theirs = self.channels[call.peer]
        if len(theirs) == 1:
            del self.channels[call.peer]
        else:
            del theirs[call.id]


def _is_id(value: Any) -> bool:
    return isinstance(value, (bytes, str)) and 0 < len(value) <= MAX_CHANNEL_ID
