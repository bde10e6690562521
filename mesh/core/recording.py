"""What a process keeps of its calls until it is sent to the collector: records of some, times of all.

Which calls are recorded core/sampling.py decides. One that has no ids when it ends badly is given them by its
server, which tells them with the answer; its client takes them up, and has the call whose handler has made it
belong to the trace and say so with its own answer. So the way from an error to where it all began is whole,
at no cost to calls that go well.

Sessions call this under their locks, whatever thread they are in; what is kept another thread takes. All that
both touch are deques, tables to which texts are added one by one, and sets that are replaced whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from mesh.core.client_call import Call
from mesh.core.record_rows import KeptRecords
from mesh.core.sampling import Sampler
from mesh.core.server_call import ServerCall
from mesh.core.span import Span, as_id
from mesh.core.trace_record import (
    ATTEMPTS,
    CREDIT,
    FINGERPRINT,
    FIRST,
    GOOD,
    ITEMS,
    LATE,
    MESSAGE,
    TRACEBACK,
    Detail,
    Kind,
)
from mesh.core.wire import OWN_QUESTIONS
from mesh.errors import MeshError, RemoteError, TimeoutExpired, name_of

MAX_TIMES: Final = 100_000
"""Calls of one method whose times wait to be counted; of more in a second as many count."""
MAX_METHODS: Final = 2_000
"""Methods of one side of a service that are counted apart; what comes over it goes together."""
OTHER: Final = "(other)"
MAX_SERVICES: Final = 500
"""Sides of services of which times are taken in one process."""
MAX_TRACEBACKS: Final = 200
"""Tracebacks that are remembered as told: the next time their fingerprint stands for them."""
MAX_WHOLE: Final = 20
"""Tracebacks that are told whole in a second, as each may be another."""
MAX_MESSAGE: Final = 1_000
MAX_TRACEBACK: Final = 16 * 1024
"""Characters of an error that are recorded."""
MAX_CAUSES: Final = 10
"""Exceptions that are looked at of those for which another was raised."""
CANCELLED: Final = "cancelled"
"""The outcome of a call that nobody wanted any more."""
SLOW: Final = "slow"
"""Why a call is kept that has come to no error."""
_CLIENT: Final = int(Kind.CLIENT)
_SERVER: Final = int(Kind.SERVER)


class Times:
    """What the calls of one side of one service took, by method, until it is counted.

    side: as Record.kind. take: method -> what takes the seconds of a call of it that went well, where there
    has been one. failed: how many of a method have failed so far.
    """

    __slots__ = ("_most", "_seconds", "failed", "service", "side", "take")

    def __init__(self, side: Kind, service: str) -> None:
        self.side = side
        self.service = service
        self.take: dict[str, Callable[[float], None]] = {}
        self.failed: dict[str, int] = {}
        self._seconds: dict[str, deque[float]] = {}
        self._most = MAX_TIMES

    def ended(self, method: str, seconds: float, *, failed: bool) -> None:
        """A call has come to its end."""
        take = self.take.get(method)
        if take is None:
            if len(self.take) >= MAX_METHODS:
                method = OTHER
            known = self._seconds.setdefault(method, deque(maxlen=self._most))
            take = self.take.setdefault(method, known.append)
        take(seconds)
        if failed:
            self.failed[method] = self.failed.get(method, 0) + 1

    def drain(self) -> Iterator[tuple[str, list[float]]]:
        """What each method's calls took since the last time, also while others come to their end."""
        for method, seconds in list(self._seconds.items()):
            if seconds:
                yield method, [seconds.popleft() for _ in range(len(seconds))]

    def stop(self) -> None:
        """Nobody counts any more: keep none."""
        self._most = 0
        self.take, self._seconds = {}, {}


class Recorder:
    """clock: seconds, as time.monotonic. slow: seconds from which on a call is recorded for that alone."""

    def __init__(self, clock: Callable[[], float], sampler: Sampler, slow: float) -> None:
        self.clock = clock
        self.sampler = sampler
        self.slow = slow
        self.kept = KeptRecords(clock)
        self._add = self.kept.add
        self.times: dict[tuple[Kind, str], Times] = {}
        self._tracebacks: set[str] = set()
        """Fingerprints of those that were told."""
        self._whole = 0
        """How many were told whole in this second."""

    def forget(self) -> None:
        """In the child of a fork: what is kept the parent sends."""
        self.kept.forget()
        self._tracebacks = set()
        for times in self.times.values():
            for _ in times.drain():
                pass  # the parent counts them
            times.failed.clear()
        self.next_second()

    def stop(self) -> None:
        """Nobody takes what is kept any more, so nothing is."""
        self.kept.stop()
        for times in list(self.times.values()):
            times.stop()

    def next_second(self) -> None:
        """A second has passed. From any thread."""
        self._whole = 0
        self.sampler.next_second()

    def times_of(self, side: Kind, service: str) -> Times:
        """Where a session keeps the times of its calls; the same for all of one side and service."""
        known = self.times.get((side, service))
        if known is None:
            if len(self.times) >= MAX_SERVICES:
                service = OTHER
            known = self.times.setdefault((side, service), Times(side, service))
        return known

    # A client's calls

    def joins(self, call: Call, trace_id: Any, span_id: Any) -> None:
        """The ids of a call's trace have come with its answer."""
        if as_id(trace_id) and as_id(span_id):
            call.span = self._late(call.caller, as_id(trace_id), as_id(span_id))

    def _late(self, caller: ServerCall | None, trace_id: str, span_id: str) -> Span:
        """A span of which nobody knew before its end. caller: the call whose handler has made it."""
        parent_id = ""
        if caller is not None:
            if "trace_id" not in caller.header:
                self._tell_late(caller, self.sampler.child(Span(trace_id, "")))
            if caller.header["trace_id"] == trace_id:
                parent_id = as_id(caller.header.get("span_id"))
        return Span(trace_id, span_id, parent_id, late=True)

    def record_client(
        self,
        service: str,
        call: Call,
        span: Span,
        began: float,
        now: float,
        outcome: str = GOOD,
        detail: Detail | None = None,
    ) -> None:
        """Keep what a client tells of a call of its own that has ended now."""
        peer = call.peer
        sent, endpoint = (now, "") if peer is None else (call.sent_at, peer.endpoint)
        self._add(
            _CLIENT,
            span.trace_id,
            span.span_id,
            span.parent_id,
            service,
            call.method,
            began,
            sent,
            now,
            outcome,
            endpoint,
            detail,
        )

    def client_ended(self, times: Times, call: Call, error: Exception | None, *, cancelled: bool) -> None:
        """A client's call has ended, in the midst or with its last answer, however that came."""
        method = call.method
        if method in OWN_QUESTIONS or call.original is not None:
            return  # the second is a copy, of whose end the call itself tells
        now = self.clock()
        stream = call.items is not None
        began = call.began if stream else call.opened
        if stream or not _is_attempt(call, error):
            times.ended(method, now - began, failed=error is not None)
        span = call.span
        if span is None:
            if error is None or isinstance(error, RemoteError):
                return  # of the latter the server tells
            kept = self.sampler.keep(method, name_of(error))
            if kept is None:
                if isinstance(error, MeshError):
                    error.unrecorded = True
                return
            span = call.span = self._late(call.caller, kept.trace_id, kept.span_id)
        outcome, detail = CANCELLED if cancelled else GOOD, None
        if stream or error is not None or span.late or call.was_copied:
            detail = _detail_of(span)
            if call.was_copied:
                detail[ATTEMPTS] = 2
            if stream:
                detail[ITEMS], detail[FIRST] = call.received, call.first_at - began
            if error is not None:
                outcome = error.name if isinstance(error, RemoteError) else name_of(error)
                detail[MESSAGE] = str(error)[:MAX_MESSAGE]
        self.record_client(times.service, call, span, began, now, outcome, detail)

    # A server's

    def take_up(self, call: ServerCall) -> None:
        """A call has come that tells of its trace but not of its span, as those of zerorpc's clients do: it
        is given one of its own, for else all such calls of a trace were one, and what their handlers call
        belonged to none.
        """
        trace_id = as_id(call.header["trace_id"])
        if trace_id:
            call.header["span_id"] = self.sampler.child(Span(trace_id, "")).span_id

    def keep(self, call: ServerCall, why: str) -> None:
        """A server's call without ids is about to end badly: its answer is to tell those that it has now."""
        kept = self.sampler.keep(call.method, why)
        if kept is not None:
            self._tell_late(call, kept)
        else:
            call.unrecorded = True

    def _tell_late(self, call: ServerCall, span: Span) -> None:
        call.header["trace_id"], call.header["span_id"] = span.trace_id, span.span_id
        call.late = True

    def record_server(
        self, service: str, call: ServerCall, now: float, outcome: str = GOOD, detail: Detail | None = None
    ) -> None:
        """Keep what a server tells of a call with ids that has ended now."""
        header = call.header
        self._add(
            _SERVER,
            header["trace_id"],
            header.get("span_id", ""),
            "",
            service,
            call.method,
            call.opened,
            call.begun or now,
            now,
            outcome,
            "",
            detail,
        )

    def server_ended(
        self,
        times: Times,
        call: ServerCall,
        now: float,
        outcome: str,
        message: str = "",
        traceback: str = "",
    ) -> None:
        """A server's call has had its last answer, whatever that was, or nobody wants it any more."""
        times.ended(call.method, now - call.opened, failed=outcome not in (GOOD, CANCELLED))
        if call.header.get("trace_id") is None:
            return
        detail: Detail | None = None
        if call.late or call.items or message or traceback:
            detail = {LATE: True} if call.late else {}
            if call.items:
                detail[ITEMS], detail[CREDIT] = call.items, call.starved
            if message or traceback:
                self._add_error(detail, message, traceback)
        self.record_server(times.service, call, now, outcome, detail)

    # Events

    def event_span(self, within: Span | None, name: str) -> Span | None:
        """That of an event which is sent within another, or begins a trace; None where it is not recorded."""
        return self.sampler.root(name) if within is None else self.sampler.child(within)

    def event(
        self,
        kind: Kind,
        end: str,
        name: str,
        span: Span,
        began: float,
        started: float,
        outcome: str,
        message: str = "",
        traceback: str = "",
    ) -> None:
        """An event was given to its sender, or its handler has ended. end: the sender's or receiver's name.
        began: when it came; started: when its handler began. message, traceback: of what that has raised.
        """
        detail: Detail | None = None
        if message or traceback:
            self._add_error(detail := {}, message, traceback)
        ids = (span.trace_id, span.span_id, span.parent_id)
        self._add(kind, *ids, end, name, began, started, self.clock(), outcome, "", detail)

    # A hub's

    def hub_ended(
        self,
        service: str,
        trace: tuple[Any, Any],
        began: float,
        given: float,
        outcome: str,
        worker: str,
    ) -> None:
        """A call has gone through a hub. trace: its ids as they came. given: when a worker got it. worker:
        which one, "" for none.
        """
        times = (began, given, self.clock())
        self._add(Kind.HUB, *trace, "", service, "", *times, outcome, worker)

    def _add_error(self, detail: Detail, message: str, traceback: str) -> None:
        """The traceback whole the first time, its fingerprint alone from then on."""
        detail[MESSAGE] = message[:MAX_MESSAGE]
        if not traceback:
            return
        whole = traceback[-MAX_TRACEBACK:]
        fingerprint = blake2b(whole.encode("utf-8", "replace"), digest_size=8).hexdigest()
        detail[FINGERPRINT] = fingerprint
        if fingerprint not in self._tracebacks and self._whole < MAX_WHOLE:
            self._whole += 1
            if len(self._tracebacks) >= MAX_TRACEBACKS:
                self._tracebacks = set()
            self._tracebacks.add(fingerprint)
            detail[TRACEBACK] = whole


def _detail_of(span: Span) -> Detail:
    return {LATE: True} if span.late else {}


def _is_attempt(call: Call, error: Exception | None) -> bool:
    """Whether more may follow: then Attempts counts the call, which has been made once (core/attempts.py)."""
    if call.route is not None:
        return True
    return isinstance(error, MeshError) and not isinstance(error, (RemoteError, TimeoutExpired))


def passed_on_unrecorded(exc: BaseException) -> bool:
    """Whether an exception is, or was raised for, one of a call that its own server has not recorded: what
    would be recorded from here on up would look as if it had begun here.
    """
    cause: BaseException | None = exc
    with suppress(Exception):  # an exception of the program's own may raise when it is looked at
        for _ in range(MAX_CAUSES):
            if cause is None:
                break
            if isinstance(cause, MeshError) and cause.unrecorded:
                return True
            cause = cause.__cause__ or cause.__context__
    return False
