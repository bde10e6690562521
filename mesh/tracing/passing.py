"""Calls as they pass: the sides of a call, as a collector hears of them one by one, made into one.

Both sides tell within half a second of each other, each in a batch of its own, so a call is kept for a moment
until the other one is there. In what order they come doesn't matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

PATIENCE: Final = 1.0
"""Seconds that a call waits for its other side."""
MOST: Final = 5_000
"""Calls that wait; beyond that the oldest waits no longer."""
_ASKS: Final = frozenset({"client", "sent"})
_CARRIES: Final = frozenset({"server", "received"})


@dataclass(slots=True)
class Passed:
    """One call. method: "" where only a hub has told. began: seconds since 1970. took: seconds that the
    caller waited; served: those from when it came in at the server; None where that side has not told.
    caller, callee: name@host:pid, "" where that side has not told. outcome: "OK", or the name of an error.
    hub: "" where it went through none.
    """

    trace_id: str
    span_id: str
    service: str
    method: str
    began: float
    outcome: str
    since: float
    caller: str = ""
    callee: str = ""
    hub: str = ""
    took: float | None = None
    served: float | None = None

    @property
    def whole(self) -> bool:
        return self.took is not None and self.served is not None

    def told(self) -> dict[str, Any]:
        """As a value of JSON."""
        return {
            "trace": self.trace_id,
            "span": self.span_id,
            "service": self.service,
            "method": self.method,
            "began": self.began,
            "took": self.took,
            "served": self.served,
            "outcome": self.outcome,
            "caller": self.caller or None,
            "callee": self.callee or None,
            "hub": self.hub or None,
        }


class Joined:
    """method: of the calls that are shown; None for any. lost: records that the collector has not shown, as
    they were too many.
    """

    def __init__(self, method: str | None = None) -> None:
        self.lost = 0
        self._method = method
        self._waiting: dict[tuple[str, str], Passed] = {}

    def add(self, record: Mapping[str, Any], now: float) -> Iterator[Passed]:
        """Take in one record of `Collector.tap`; gives the calls that are to be shown now. now: a time on any
        steady clock, in seconds.
        """
        self.lost = max(self.lost, record["lost"])
        side = record["side"]
        if side == "local" or record["outcome"] == "pending":
            return
        key = (record["trace_id"], record["span_id"])
        call = self._waiting.get(key)
        if call is None:
            call = self._waiting[key] = Passed(
                *key, record["service"], record["method"], record["began"], record["outcome"], now
            )
        _join(call, record, side)
        if call.whole:
            del self._waiting[key]
            yield call
        elif len(self._waiting) > MOST:
            yield from self.due(math.inf, most=1)

    def due(self, now: float, patience: float = PATIENCE, most: int | None = None) -> Iterator[Passed]:
        """The calls whose other side has not come in that time. most: look at so many."""
        for _ in range(len(self._waiting) if most is None else most):
            key, call = next(iter(self._waiting.items()))
            if now - call.since < patience:
                return
            del self._waiting[key]
            if self._method in (None, call.method):  # of other methods only a hub has told
                yield call


def _join(call: Passed, record: Mapping[str, Any], side: str) -> None:
    process = f"{record['process']}:{record['pid']}"
    if side in _ASKS or side in _CARRIES:
        call.method = record["method"]  # a hub, which may have told before, does not know it
    if side in _ASKS:
        # The caller knows what came of it, and when it began on its own clock.
        call.caller, call.took = process, record["took"]
        call.began, call.outcome, call.service = record["began"], record["outcome"], record["service"]
    elif side in _CARRIES:
        call.callee, call.served = process, record["took"]
        if call.took is None:
            call.began, call.outcome = record["began"], record["outcome"]
    else:
        call.hub = process
