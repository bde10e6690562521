"""What a server tells of its open calls: the age and the caller of each, and what it waits for. Pure.

Whoever wants to know calls OPEN_CALLS, which no handler carries out: the session answers it by itself, as it
does a ping, whatever its handlers do. Where handlers stand only their driver can tell, by `look`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final, NamedTuple

from mesh.core.callers import Callers
from mesh.core.channel import DONE, NEVER, QUEUED, STREAMING
from mesh.core.client_call import Call
from mesh.core.server_call import Peer, ServerCall
from mesh.core.span import span_in
from mesh.core.wire import OPEN_CALLS, clip

__all__ = ["OPEN_CALLS", "Blocked", "Look", "OpenCalls", "Row"]

MOST_ROWS: Final = 1_000
"""Calls that are told one by one, the oldest first."""
MOST_SUBCALLS: Final = 16
"""Calls of one handler that are told one by one."""
MOST_TEXT: Final = 200
"""Characters of each text."""
ROW_BYTES: Final = 8_192
"""Bytes that one call takes, at the most and about."""
TOLD_FOR: Final = 0.1
"""Seconds for which the same is told again: to look at thousands of handlers takes a while."""

Row = dict[str, Any]
"""What is told of one call; times are seconds."""
_opened = attrgetter("opened")


class Blocked(NamedTuple):
    """A loop that does not turn. call: whose handler keeps it, None where that is not known. at: the line
    that runs. seconds: since when.
    """

    call: ServerCall | None
    at: str
    seconds: float


class Look(NamedTuple):
    """What a driver finds as it looks at its handlers. places: the line at which each one waits or runs."""

    places: Mapping[ServerCall, str] = {}
    blocked: Blocked | None = None


class OpenCalls:
    """Tells what is open in one server.

    name: of the server. instance: what no other has. running: the calls that are open, each with whether
    somebody waits for it. max_message: bytes of one event.

    callers: the processes that have said who they are. look: where the handlers stand; origin: the host and
    the hub that a call came from, "" where that is not known; process: the host and id of this process. These
    are asked in whichever thread the session is. labels: the server's.
    """

    def __init__(
        self,
        name: str,
        instance: str,
        running: Callable[[], Sequence[tuple[ServerCall, bool]]],
        max_message: int,
    ) -> None:
        self.callers: Callers[Peer] = Callers()
        self.look: Callable[[float], Look] = lambda now: Look()
        self.origin: Callable[[ServerCall], tuple[str, str]] = lambda call: ("", "")
        self.process: Callable[[], tuple[str, int]] = lambda: ("", 0)
        self.labels: Mapping[str, str] = {}
        self._name = name
        self._instance = instance
        self._running = running
        self._most = max(1, min(MOST_ROWS, max_message // ROW_BYTES))
        self._told: Row = {}
        self._until = -NEVER

    def told(self, now: float, load: tuple[int, int], waiting: int) -> Row:
        """The answer to OPEN_CALLS. load: handlers that run, and that may. waiting: calls that wait for one.

        total: how many calls are open, of which `calls` has the oldest.
        """
        if now >= self._until:
            self._told, self._until = self._look(now, load, waiting), now + TOLD_FOR
        return self._told

    def _look(self, now: float, load: tuple[int, int], waiting: int) -> Row:
        wanted = dict(self._running())
        look = self.look(now)
        host, pid = self.process()
        running, most = load
        pool: Row = {"kind": "worker", "running": running, "most": most, "waiting": waiting}
        oldest = nsmallest(self._most, wanted, key=_opened)
        return {
            "server": self._name,
            "instance": self._instance,
            "host": clip(host, MOST_TEXT),
            "pid": pid,
            "labels": dict(self.labels),
            "running": running,
            "most": most,
            "waiting": waiting,
            "blocked": _blocked(look.blocked),
            "total": len(wanted),
            "calls": [self._row(call, wanted[call], look, pool, now) for call in oldest],
        }

    def _row(self, call: ServerCall, wanted: bool, look: Look, pool: Row, now: float) -> Row:
        caller = self.callers.get(call.peer)
        address, hub = self.origin(call)
        state = call.state
        return {
            "id": as_id(call.id),
            **trace_of(call.header),
            "method": clip(call.method, MOST_TEXT),
            "age": _seconds(now - call.opened),
            "caller": str(caller) if caller else clip(address, MOST_TEXT),
            "program": caller.program if caller else "",
            "hub": clip(hub, MOST_TEXT),
            "wanted": wanted,
            "state": "waiting" if state is QUEUED else "streaming" if state is STREAMING else "running",
            "waits_for": _waits_for(call, look, pool, now),
            "at": clip(look.places.get(call, ""), MOST_TEXT),
        }


def _waits_for(call: ServerCall, look: Look, pool: Row, now: float) -> Row:
    """kind: what it is; the rest says more of that."""
    blocked = look.blocked
    if blocked is not None and blocked.call is call:
        at = clip(blocked.at, MOST_TEXT)
        return {"kind": "nothing", "blocks": at, "seconds": _seconds(blocked.seconds)}
    if call.state is QUEUED:
        return pool if blocked is None or pool["running"] >= pool["most"] else _loop(blocked)
    if call.credit <= 0 and call.waiter is not None:
        return {"kind": "credit", "seconds": _seconds(now - (call.item_at or call.opened))}
    subcalls = _subcalls(call, now)
    if subcalls:
        more = len(subcalls) - MOST_SUBCALLS
        return {"kind": "calls", "calls": subcalls[:MOST_SUBCALLS], "more": max(more, 0)}
    if line := look.places.get(call):
        return {"kind": "line", "line": clip(line, MOST_TEXT)}
    return {"kind": "unknown"} if blocked is None else _loop(blocked)


def _blocked(blocked: Blocked | None) -> Row | None:
    if blocked is None:
        return None
    method = "" if blocked.call is None else clip(blocked.call.method, MOST_TEXT)
    return {"method": method, "at": clip(blocked.at, MOST_TEXT), "seconds": _seconds(blocked.seconds)}


def _loop(blocked: Blocked) -> Row:
    return {"kind": "loop", **(_blocked(blocked) or {})}


def _subcalls(served: ServerCall, now: float) -> list[Row]:
    """The calls that its handler makes and that have not come to their end, the oldest first. Those of a
    stream whose next item is there are none that anybody waits for.
    """
    # Another thread may be making one.
    nested = list((served.nested or {}).copy().items())
    waited_for = [(call, by) for call, by in nested if call.state is not DONE and not call.items]
    waited_for.sort(key=lambda pair: pair[0].opened)
    return [client_row(call, by.service, now) for call, by in waited_for]


def client_row(call: Call, service: str, now: float) -> Row:
    """What a client tells of one of its calls. service: by which it knows whom it calls."""
    peer, span, state = call.peer, call.span, call.state
    return {
        "id": as_id(call.id),
        "trace_id": span.trace_id if span else "",
        "span_id": span.span_id if span else "",
        "service": clip(service, MOST_TEXT),
        "method": clip(call.method, MOST_TEXT),
        "to": clip(peer.endpoint, MOST_TEXT) if peer else "",
        "hub": bool(peer and peer.hub),
        "age": _seconds(now - call.opened),
        "state": "unsent" if state is QUEUED else "streaming" if state is STREAMING else "sent",
    }


def trace_of(header: Mapping[Any, Any]) -> Row:
    """trace_id and span_id as a request's header has them, "" for none."""
    span = span_in(header)
    return {"trace_id": span.trace_id if span else "", "span_id": span.span_id if span else ""}


def as_id(value: Any) -> str:
    """A message id, by which the two ends of a call know it, as text."""
    text = value.decode("utf-8", "backslashreplace") if type(value) is bytes else str(value)
    return clip(text, MOST_TEXT)


def _seconds(seconds: float) -> float:
    return round(max(seconds, 0.0), 3)
