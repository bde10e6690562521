"""Puts together what servers and hubs tell of their open calls: each call once, below the one that makes it.

Pure. A call is known by its message id, which its hub, its server and the handler that makes it tell alike;
one that went to a server by way of an old sidecar, or was tried again, by its trace and span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mesh.cli.hub_status import age
from mesh.cli.open_calls_told import Told, Values, count, map_of, rows_of, seconds, text
from mesh.core.wire import OPEN_CALLS

STUCK: Final = 1.0
"""Seconds from which on a call is stuck that waits for something else than what its handler does."""
DEEPEST: Final = 50
"""Calls within each other that are shown."""


@dataclass(slots=True, eq=False)
class OpenCall:
    """One call, as far as anybody tells of it; times are seconds.

    method: with its service. to: who carries it out, or has it now. waits: for what, in words. kind: the same
    in one word; waited: for how long. unwanted: nobody waits for it any more. made: the calls of its handler.
    """

    id: str
    method: str
    age: float
    trace_id: str = ""
    span_id: str = ""
    caller: str = ""
    program: str = ""
    to: str = ""
    hub: str = ""
    state: str = ""
    kind: str = "unknown"
    waits: str = ""
    waited: float = 0.0
    at: str = ""
    unwanted: bool = False
    subcalls: Sequence[Values] = ()
    made: list[OpenCall] = field(default_factory=list)
    is_made: bool = False

    @property
    def is_stuck(self) -> bool:
        """Whether it takes more than STUCK seconds for another reason than that its handler is at work, or
        nobody tells why, or it is for nobody.
        """
        if self.unwanted and self.age > STUCK:
            return True
        return self.kind not in ("line", "calls") and self.waited > STUCK


def gathered(answers: Iterable[Told], clients: Iterable[Values] = ()) -> list[OpenCall]:
    """The calls that nobody's handler makes, as far as is known, the oldest first; others are in `made`.

    clients: what programs tell, by way of the collector, of calls that they make outside of handlers.
    """
    told = list(_each_once(answers))
    hubs = [one for one in told if one.is_hub]
    workers = {(one.hub, one.number): one for one in told if one.number}
    of_hubs = {call.id: call for hub in hubs for call in _of_hub(hub, workers) if call.id}
    calls = []
    carried_out = set()
    for server in told:
        if server.is_hub or server.values is None:
            continue
        for call in _of_server(server):
            routed = of_hubs.get(call.id)
            if routed is not None:
                carried_out.add(call.id)
                _join(call, routed)
            calls.append(call)
    calls += [call for call in of_hubs.values() if call.id not in carried_out]
    calls += _only_clients_know(calls, clients)
    _nest(calls)
    return sorted((call for call in calls if not call.is_made), key=_age, reverse=True)


def each(calls: Sequence[OpenCall], depth: int = 0) -> Iterator[tuple[OpenCall, int]]:
    """Each call, and after it those that its handler makes; with how deep it is."""
    for call in calls:
        yield call, depth
        if depth < DEEPEST:
            yield from each(sorted(call.made, key=_age, reverse=True), depth + 1)


def stuck(calls: Sequence[OpenCall]) -> list[OpenCall]:
    """Those that are stuck, or that make one which is."""
    return [call for call in calls if any(one.is_stuck for one, _ in each([call]))]


def _age(call: OpenCall) -> float:
    return call.age


def _each_once(answers: Iterable[Told]) -> Iterator[Told]:
    """Without a second answer of one server, as by two of its hubs."""
    seen = set()
    for told in answers:
        instance = (told.values or {}).get("instance")
        if isinstance(instance, str) and instance:
            if instance in seen:
                continue
            seen.add(instance)
        yield told


# What a server tells


def _of_server(told: Told) -> Iterator[OpenCall]:
    values = told.values or {}
    name, host = text(values, "server"), text(values, "host")
    service = told.service or name
    to = f"{name or service}@{host}:{values.get('pid')}" if host else name or told.place
    for row in rows_of(values, "calls"):
        call = _call(row, service)
        call.to, call.at = to, text(row, "at")
        call.hub = text(row, "hub")
        if call.hub and not call.caller:
            call.caller = f"hub {call.hub}"
        _say_waits(call, map_of(row, "waits_for"), service)
        yield call


def _call(row: Values, service: str) -> OpenCall:
    method = text(row, "method") or "?"
    return OpenCall(
        id=text(row, "id"),
        method=named(service, method),
        age=seconds(row, "age"),
        trace_id=text(row, "trace_id"),
        span_id=text(row, "span_id"),
        caller=text(row, "caller"),
        program=text(row, "program"),
        state=text(row, "state"),
        unwanted=row.get("wanted") is False,
    )


def named(service: str, method: str) -> str:
    """A method with its service, where that has a name of its own."""
    return method if not service or "://" in service else f"{service}.{method}"


def _say_waits(call: OpenCall, waits_for: Values, service: str) -> None:
    kind, waited = text(waits_for, "kind"), seconds(waits_for, "seconds")
    call.kind, call.waited = kind, call.age
    if kind == "worker":
        running, most, waiting = (count(waits_for, key) for key in ("running", "most", "waiting"))
        call.waits = f"a place in its pool: {running} of {most} run, {_wait(waiting)}"
    elif kind == "credit":
        call.waits, call.waited = f"its client reads nothing ({_span(waited)})", waited
    elif kind == "calls":
        call.subcalls = rows_of(waits_for, "calls")
        names = [named(text(one, "service"), text(one, "method")) for one in call.subcalls]
        more = len(names) - 1 + count(waits_for, "more")
        call.waits = (names[0] if names else "a call") + (f", and {more} more" if more > 0 else "")
    elif kind == "line":
        call.waits = text(waits_for, "line")
    elif kind == "nothing":
        call.waits, call.waited = f"blocks its loop, {text(waits_for, 'blocks')}", waited
    elif kind == "loop":
        keeper = text(waits_for, "method")
        keeper = named(service, keeper) if keeper else "something beside its handlers"
        call.waits = f"its loop, which {keeper} blocks, {text(waits_for, 'at')}".removesuffix(", ")
    else:
        call.kind = "unknown"
    if call.unwanted:
        call.waits = f"for nobody: {call.waits}" if call.waits else "for nobody: its caller is gone"


# What a hub tells


def _of_hub(hub: Told, workers: Mapping[tuple[str, int], Told]) -> Iterator[OpenCall]:
    values = hub.values or {}
    name = text(values, "hub")
    listed = {count(row, "number"): row for row in rows_of(values, "workers")}
    for row in rows_of(values, "calls"):
        if text(row, "method") == OPEN_CALLS:
            continue  # our own question
        call = _call(row, text(row, "service"))
        call.hub = name
        number = count(row, "worker")
        if number:
            _say_given(call, row, listed.get(number, {}), workers.get((hub.place, number)))
        else:
            call.to = f"hub {name}"
            _say_queued(call, map_of(row, "waits_for"))
        yield call


def _say_queued(call: OpenCall, waits_for: Values) -> None:
    running, most, waiting = (count(waits_for, key) for key in ("running", "most", "waiting"))
    call.kind, call.waited = "worker", call.age
    call.waits = f"a worker: {max(most - running, 0)} of {most} free, {_wait(waiting)}"
    if not most:
        call.waits = f"a worker: there is none, {_wait(waiting)}"


def _say_given(call: OpenCall, row: Values, worker: Values, told: Told | None) -> None:
    """A worker has it, which may not have told of it."""
    service, host = text(worker, "service"), text(worker, "host")
    call.to = f"{service}@{host}:{count(worker, 'pid')}" if host else f"a worker of {service or '?'}"
    call.waited = seconds(row, "given")
    call.kind = "unknown"
    if told is not None and told.silent:
        call.kind, call.waits = "silent", "its worker is silent"
        if told.heard is not None:
            call.waits += f", last heard {_span(told.heard)} ago"
    elif told is not None and told.error is not None:
        call.waits = "its worker does not tell"
    if call.unwanted:
        call.waits = f"for nobody: {call.waits or 'its caller is gone'}"


def _join(call: OpenCall, routed: OpenCall) -> None:
    """A server has told of a call, and so has the hub that it came through, who knows the caller."""
    call.method, call.hub = routed.method if "?" not in routed.method else call.method, routed.hub
    call.caller, call.program = routed.caller or call.caller, routed.program or call.program
    call.age = max(call.age, routed.age)
    call.trace_id, call.span_id = call.trace_id or routed.trace_id, call.span_id or routed.span_id


# What only clients tell


def _only_clients_know(calls: Iterable[OpenCall], clients: Iterable[Values]) -> Iterator[OpenCall]:
    """The calls that no server or hub has told of: those that are not sent, or went to one that is silent."""
    known = {call.id: call for call in calls if call.id}
    for row in clients:
        host = text(row, "host")
        caller = f"{host}:{count(row, 'pid')}" if host else ""
        call = known.get(text(row, "id"))
        if call is None:
            call = _untold(row)
            call.caller, call.program = caller, text(row, "name")
            yield call
        else:
            call.caller, call.program = call.caller or caller, call.program or text(row, "name")


# Which makes which


def _nest(calls: list[OpenCall]) -> None:
    """Put the calls that handlers make below these; those that nobody else tells of are told by them."""
    by_id = {call.id: call for call in calls if call.id}
    by_span = {(call.trace_id, call.span_id): call for call in calls if call.span_id}
    for call in list(calls):
        for row in call.subcalls:
            made = by_id.get(text(row, "id")) or by_span.get((text(row, "trace_id"), text(row, "span_id")))
            if made is None:
                made = _untold(row)
            if made is call or made.is_made or _makes(made, call):
                continue
            made.is_made = True
            call.made.append(made)


def _makes(one: OpenCall, other: OpenCall) -> bool:
    """Whether the one makes the other, as only those can tell who lie."""
    return any(call is other for call, _ in each([one]))


def _untold(row: Values) -> OpenCall:
    """A call of which only the handler tells that makes it."""
    call = _call(row, text(row, "service"))
    call.waited = call.age
    place = text(row, "to")
    call.to = f"hub {place}" if row.get("hub") is True else place or text(row, "service")
    if text(row, "state") == "unsent":
        call.kind, call.waits = "connection", "a connection"
    else:
        call.kind, call.waits = "untold", "who has it was not asked, or does not tell"
    return call


def _wait(number: int) -> str:
    return "1 waits" if number == 1 else f"{number} wait"


def _span(duration: float) -> str:
    return age(duration) if duration >= 60 else f"{duration:.1f}s"


def jsonable(call: OpenCall, parent: str) -> dict[str, Any]:
    """One call for programs. parent: the id of the call whose handler makes it, "" for none that is known."""
    return {
        "id": call.id,
        "parent": parent,
        "trace_id": call.trace_id,
        "span_id": call.span_id,
        "method": call.method,
        "age": call.age,
        "caller": call.caller,
        "program": call.program,
        "to": call.to,
        "hub": call.hub,
        "state": call.state,
        "kind": call.kind,
        "waits": call.waits,
        "waited": round(call.waited, 3),
        "at": call.at,
        "unwanted": call.unwanted,
        "stuck": call.is_stuck,
    }
