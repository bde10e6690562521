"""Where the time of a call went."""

from __future__ import annotations

from typing import Any, NamedTuple

from mesh.core.trace_record import CREDIT, Kind
from mesh.tracing.tree import Span


class Parts(NamedTuple):
    """Seconds; None where nobody told. hold: until it was sent, as its connection or its turn was waited for.
    lag: on its way to the callee, without the time in a hub's queue. hub: in that queue. queue: at the callee
    until its handler began. handler: that. back: from its end until the answer was there; an event has none.
    doubt: by which lag and back may be wrong. credit: that a stream waited for its reader.
    """

    hold: float | None = None
    lag: float | None = None
    hub: float | None = None
    queue: float | None = None
    handler: float | None = None
    back: float | None = None
    doubt: float = 0.0
    credit: float | None = None

    def told(self) -> dict[str, Any]:
        """As values of JSON: those that are known, in seconds."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def parts_of(span: Span, raw: bool = False) -> Parts:
    """raw: without regard of how far clocks are apart."""
    caller, callee = span.caller, span.callee
    hold = None if caller is None else caller.started - caller.began
    hub = sum(side.started - side.began for side in span.hubs) if span.hubs else None
    if callee is None:
        return Parts(hold, hub=hub)
    queue, handler = callee.started - callee.began, callee.ended - callee.started
    credit = (callee.detail or {}).get(CREDIT)
    if caller is None or caller is callee or not (raw or span.offset.known):
        return Parts(hold, None, hub, queue, handler, credit=credit)
    ahead = 0.0 if raw else span.offset.middle
    lag = callee.began - ahead - caller.started - (hub or 0.0)
    # Nothing comes back to the sender of an event.
    answered = caller.kind == Kind.CLIENT and not span.is_open
    back = caller.ended - (callee.ended - ahead) if answered else None
    return Parts(hold, lag, hub, queue, handler, back, 0.0 if raw else span.offset.doubt, credit)
