"""A trace in the formats of others: speedscope's, and that of Chrome's trace events, which Perfetto reads.

Both want what is within a lane to be nested. So calls that ran side by side go to lanes of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from typing import Any, Final

from mesh.core.trace_record import GOOD, Kind
from mesh.tracing.parts import parts_of
from mesh.tracing.tree import Span, Tree

_MICRO: Final = 1_000_000


class _Lanes:
    """Lanes of one process, or of a whole trace. Spans come by when they began."""

    def __init__(self) -> None:
        self._ends: list[list[float]] = []
        self._free: list[int] = []
        self._busy: list[tuple[float, int]] = []

    def place(self, began: float, ended: float, wished: int | None) -> int:
        """The lane for a span. wished: that of the span which caused it."""
        while self._busy and self._busy[0][0] <= began:
            heapq.heappush(self._free, heapq.heappop(self._busy)[1])
        if wished is not None and self._fits(wished, began, ended):
            self._ends[wished].append(ended)
            return wished
        if self._free:
            lane = heapq.heappop(self._free)
            self._ends[lane] = [ended]
        else:
            lane = len(self._ends)
            self._ends.append([ended])
        heapq.heappush(self._busy, (ended, lane))
        return lane

    def _fits(self, lane: int, began: float, ended: float) -> bool:
        ends = self._ends[lane]
        while ends and ends[-1] <= began:
            ends.pop()
        return bool(ends) and ends[-1] >= ended


def _in_lanes(tree: Tree, groups: dict[str, Hashable]) -> list[tuple[Span, int, int, int]]:
    """(span, lane, began, ended), by when they began, in microseconds since the trace did. groups: which
    spans share lanes.
    """
    first = tree.spans[0].began if tree.spans else 0.0
    lanes: dict[Hashable, _Lanes] = {}
    of: dict[str, int] = {}
    found = []
    for span in sorted(tree.spans, key=lambda one: (one.began, -one.ended)):
        group = groups[span.span_id]
        parent = span.parent
        wished = None
        if parent is not None and groups[parent.span_id] == group:
            wished = of.get(parent.span_id)
        began = round((span.began - first) * _MICRO)
        # What took less than a microsecond is to be seen all the same.
        ended = max(round((span.ended - first) * _MICRO), began + 1)
        lane = lanes.setdefault(group, _Lanes()).place(began, ended, wished)
        of[span.span_id] = lane
        found.append((span, lane, began, ended))
    return found


def chrome(tree: Tree) -> dict[str, Any]:
    """Chrome's trace events: a process for each that carried calls out, and where that was never seen, for
    the one that made them.
    """
    groups: dict[str, Hashable] = {one.span_id: _process(one) for one in tree.spans}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": number + 1, "tid": 0, "args": {"name": label}}
        for number, label in enumerate(tree.labels)
    ]
    for span, lane, began, ended in _in_lanes(tree, groups):
        parts = {f"{name} ms": value * 1000 for name, value in parts_of(span).told().items()}
        events.append(
            {
                "ph": "X",
                "name": _name(span),
                "cat": Kind(span.side.kind).name.lower(),
                "pid": _process(span) + 1,
                "tid": lane + 1,
                "ts": began,
                "dur": ended - began,
                "args": {"outcome": span.outcome, "span": span.span_id, **parts},
            }
        )
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"trace_id": tree.trace_id, "cut": tree.cut},
    }


def speedscope(tree: Tree) -> dict[str, Any]:
    """speedscope's file: an evented profile for each lane, the first with the trace's root."""
    frames: dict[str, int] = {}
    lanes: dict[int, list[tuple[Span, int, int]]] = {}
    for span, lane, began, ended in _in_lanes(tree, dict.fromkeys((one.span_id for one in tree.spans), 0)):
        lanes.setdefault(lane, []).append((span, began, ended))
    profiles = []
    for lane, spans in sorted(lanes.items()):
        events: list[dict[str, Any]] = []
        last = _write_events(spans, frames, events)
        name = tree.trace_id if not lane else f"beside it, {lane}"
        profiles.append(
            {
                "type": "evented",
                "name": name,
                "unit": "microseconds",
                "startValue": 0,
                "endValue": last,
                "events": events,
            }
        )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": f"trace {tree.trace_id}",
        "exporter": "zeromesh",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": profiles,
    }


def _write_events(
    spans: Iterable[tuple[Span, int, int]], frames: dict[str, int], events: list[dict[str, Any]]
) -> int:
    """Those of one lane, as they open and close; gives when the last one closes."""
    open_now: list[tuple[int, int]] = []
    last = 0

    def close(until: float) -> None:
        while open_now and open_now[-1][0] <= until:
            ended, frame = open_now.pop()
            events.append({"type": "C", "frame": frame, "at": ended})

    for span, began, ended in spans:
        close(began)
        frame = frames.setdefault(_name(span), len(frames))
        events.append({"type": "O", "frame": frame, "at": began})
        open_now.append((ended, frame))
        last = max(last, ended)
    close(float("inf"))
    return last


def _process(span: Span) -> int:
    return (span.callee or span.side).process


def _name(span: Span) -> str:
    name = span.method if span.side.kind == Kind.LOCAL else f"{span.service}.{span.method}"
    return name if span.outcome == GOOD else f"{name} ({span.outcome})"
