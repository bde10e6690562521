"""The spans of a trace, joined from what their sides have told, and who has caused whom.

Times are put on one clock, that of the process which began the trace, as far as the calls tell how far the
others are apart (clocks.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf
from typing import Final

from mesh.core.trace_record import ATTEMPTS, CALLED, CALLING, GOOD, PENDING, Kind
from mesh.tracing.clocks import SAME, UNKNOWN, Bound, Clocks, Offset, clock_ids
from mesh.tracing.pieces import Read, Side, later

SAME_TIME: Final = 0.0005
"""Seconds by which two batches of a process may tell the time of one moment differently."""
MOST_OTHERS: Final = 1_000
"""Subscribers of an event, or attempts of a call, that are kept."""
_EVENT = (Kind.SENT, Kind.RECEIVED)


class Span:
    """One call, event, or part of a handler's work. caller: the side that made it, None where that was never
    seen. callee: the side that carried it out. hubs: between the two. others: further callees, of an event
    with several subscribers, or of attempts before the last. began, ended: seconds since 1970 on the
    clock of the trace's root. parent: None at a root. lost_parent: it names one that nobody has told of.
    offset: how far the callee's clock is ahead of the caller's. side, is_open, outcome: see `settle`.
    """

    side: Side
    is_open: bool
    outcome: str

    __slots__ = (
        "began",
        "callee",
        "caller",
        "children",
        "ended",
        "hubs",
        "is_open",
        "lost_parent",
        "offset",
        "others",
        "outcome",
        "parent",
        "side",
        "span_id",
    )

    def __init__(self, span_id: str) -> None:
        self.span_id = span_id
        self.caller: Side | None = None
        self.callee: Side | None = None
        self.hubs: tuple[Side, ...] = ()
        self.others: tuple[Side, ...] = ()
        self.children: list[Span] = []
        self.parent: Span | None = None
        self.lost_parent = False
        self.offset: Offset = UNKNOWN
        self.began = 0.0
        self.ended = 0.0

    def settle(self) -> None:
        """Once all sides are there: which tells most, the caller's, else the callee's, else a hub's."""
        side = self.side = self.caller or self.callee or self.hubs[0]
        self.is_open = side.is_open
        self.outcome = PENDING if self.is_open else side.outcome
        if side.kind in _EVENT and self.outcome == GOOD:
            self._settle_event()

    def _settle_event(self) -> None:
        """Its sender can't know what becomes of it: that its receivers tell. One that has failed is the
        callee, as there is something to see.
        """
        receivers = [one for one in (self.callee, *self.others) if one is not None]
        failed = next((one for one in receivers if one.outcome != GOOD and not one.is_open), None)
        if failed is not None:
            self.outcome = failed.outcome
            self.callee, self.others = failed, tuple(one for one in receivers if one is not failed)

    @property
    def service(self) -> str:
        return self.side.service

    @property
    def method(self) -> str:
        return self.side.method

    @property
    def took(self) -> float:
        """Seconds."""
        return max(self.ended - self.began, 0.0)


class Tree:
    """A trace. spans: by when they began, of those of one moment the longest first. roots: those without a
    parent. labels: of processes, by number. lost: the labels of those that dropped records while it ran, and
    how many. clocks: as far as is known.
    """

    def __init__(self, read: Read, raw: bool = False) -> None:
        """raw: leave the times as each process has told them."""
        self.trace_id = read.trace_id
        self.cut = read.cut
        self.processes = read.processes
        self.labels = labels(read)
        dropped = zip(self.labels, read.dropped, strict=False)
        self.lost = [(label, number) for label, number in dropped if number]
        self._clock_of = clock_ids(read.processes)
        spans = _joined(read.sides)
        for span in spans.values():
            span.settle()
        clock = self._clock_of
        told = (Bound(at, clock[one], clock[two], Offset(*most)) for one, two, at, *most in read.offsets)
        self.clocks = Clocks(chain(self._bounds(spans.values()), told))
        self.roots = _linked(spans)
        self._place(spans.values(), raw)
        self.spans = sorted(spans.values(), key=lambda span: (span.began, -span.ended))
        self.roots.sort(key=lambda span: span.began)
        for span in self.spans:
            if len(span.children) > 1:
                span.children.sort(key=lambda child: child.began)

    def _bounds(self, spans: Iterable[Span]) -> Iterator[Bound]:
        clock = self._clock_of
        for span in spans:
            caller, callee = span.caller, span.callee
            if caller is None or callee is None:
                continue
            first, second = clock[caller.process], clock[callee.process]
            if first != second:
                whole = caller.kind == Kind.CLIENT and not caller.is_open and not callee.is_open
                low = callee.ended - caller.ended if whole else -inf
                high = callee.began - caller.started
                for hub in span.hubs:
                    high -= hub.started - hub.began
                if low <= high:
                    yield Bound(caller.began, first, second, Offset(low, high))

    def _place(self, spans: Iterable[Span], raw: bool) -> None:
        """Give each span its time, and how far its two clocks are apart."""
        clock = self._clock_of
        reference = clock[self.roots[0].side.process] if self.roots else 0
        same = len(set(clock)) <= 1
        for span in spans:
            side, callee = span.side, span.callee
            shift = 0.0
            if not same:
                own = clock[side.process]
                if not raw and own != reference:
                    shift = self.clocks.between(own, reference, side.began).middle
                if callee is not None and span.caller is not None:
                    span.offset = self.clocks.between(own, clock[callee.process], side.began)
            elif callee is not None and span.caller is not None:
                span.offset = SAME
            span.began = side.began + shift
            span.ended = side.ended + shift


def _joined(sides: Iterable[Side]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for side in sides:
        kind, span_id = side[1], side[2]
        span = spans.get(span_id)
        if span is None:
            span = spans[span_id] = Span(span_id)
        if kind in CALLING:
            span.caller = side if span.caller is None else _made_again(span.caller, side)
        elif kind not in CALLED:
            span.hubs = _with(span.hubs, side)
        elif span.callee is None:
            span.callee = side
        else:
            _carried_out_again(span, side)
    return spans


def _same(one: Side, other: Side) -> bool:
    """Whether two tell of the same, as one that had not ended and its end do. Each batch has the clocks of
    its own moment.
    """
    return one.process == other.process and abs(one.began - other.began) < SAME_TIME


def _made_again(before: Side, side: Side) -> Side:
    """A call that was made, and tried once more: its first attempt began it, and the last one ends it."""
    if before.kind != Kind.CLIENT or before.process != side.process or _same(before, side):
        return later(before, side)
    first, last = (before, side) if before.ended <= side.ended else (side, before)
    attempts = sum((one.detail or {}).get(ATTEMPTS, 1) for one in (before, side))
    return last._replace(
        began=min(first.began, last.began),
        started=min(first.started, last.started),
        detail={**(last.detail or {}), ATTEMPTS: attempts},
    )


def _carried_out_again(span: Span, side: Side) -> None:
    """Whoever ended last is the callee: its answer counts, where a call was sent more than once."""
    before = span.callee
    assert before is not None
    if _same(before, side):
        span.callee = later(before, side)
    elif side.ended > before.ended:
        span.callee, span.others = side, _with(span.others, before)
    else:
        span.others = _with(span.others, side)


def _with(sides: tuple[Side, ...], side: Side) -> tuple[Side, ...]:
    """With one more, of each process and time the one that counts."""
    for number, one in enumerate(sides):
        if _same(one, side):
            return (*sides[:number], later(one, side), *sides[number + 1 :])
    return (*sides, side) if len(sides) < MOST_OTHERS else sides


def _linked(spans: dict[str, Span]) -> list[Span]:
    """The roots. Where spans are each other's parents in a loop, the first of them is one."""
    roots = []
    for span in spans.values():
        parent_id = span.caller.parent_id if span.caller is not None else ""
        parent = spans.get(parent_id) if parent_id else None
        if parent is None:
            span.lost_parent = bool(parent_id)
            roots.append(span)
        else:
            span.parent = parent
            parent.children.append(span)
    reached: set[str] = set()
    waiting = list(roots)
    unreached = iter(sorted(spans.values(), key=lambda one: one.side.began))
    while True:
        while waiting:
            span = waiting.pop()
            if span.span_id not in reached:
                reached.add(span.span_id)
                waiting += span.children
        if len(reached) == len(spans):
            return roots
        # What no root leads to hangs on a loop: it is cut in front of the first that was made.
        first = next(span for span in unreached if span.span_id not in reached)
        looped = _loop_of(first)
        looped.parent.children.remove(looped)  # type: ignore[union-attr]  # in a loop all have one
        looped.parent, looped.lost_parent = None, True
        roots.append(looped)
        waiting.append(looped)


def _loop_of(span: Span) -> Span:
    """A span of the loop that leads to this one: the one that began first."""
    seen: dict[str, Span] = {}
    while span.span_id not in seen:
        seen[span.span_id] = span
        assert span.parent is not None
        span = span.parent
    loop = [span]
    while loop[-1].parent is not span:
        assert loop[-1].parent is not None
        loop.append(loop[-1].parent)
    return min(loop, key=lambda one: one.side.began)


def labels(read: Read) -> list[str]:
    """What each process is called: name@host; with its pid, or a number, where others have the same."""
    short = [f"{about.name or '?'}@{about.host or '?'}" for _, about in read.processes]
    with_pid = [f"{name}:{about.pid}" for name, (_, about) in zip(short, read.processes, strict=True)]
    how_often, how_often_with_pid = Counter(short), Counter(with_pid)
    numbers: Counter[str] = Counter()
    found = []
    for name, longer in zip(short, with_pid, strict=True):
        if how_often[name] == 1:
            found.append(name)
        elif how_often_with_pid[longer] == 1:
            found.append(longer)
        else:
            numbers[longer] += 1
            found.append(f"{longer}#{numbers[longer]}")
    return found
