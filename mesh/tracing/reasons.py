"""What the slow or failing calls of a method have in common that all others have not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import exp, lgamma
from typing import Any, Final, NamedTuple

from mesh.core.trace_record import ATTEMPTS, GOOD, TAGS, Kind
from mesh.tracing.pieces import Read, Side
from mesh.tracing.tree import Span, Tree

MOST: Final = 20
FEWEST: Final = 3
"""Bad calls that must have something in common before it is told."""
SLOWEST_SHARE: Final = 0.1
LUCK: Final = 0.01
"""How likely it may be that chance alone makes up a difference that is told."""


class ExplainedCall(NamedTuple):
    """One call with what may be the reason. features: (kind, value)."""

    trace_id: str
    took: float
    outcome: str
    features: frozenset[tuple[str, str]]


def calls_in(read: Read, service: str, method: str) -> Iterator[ExplainedCall]:
    """The calls of a method in a trace, each with all that its sides tell of it. A call that was tried again
    is one, with the outcome of its last attempt. service: as its caller or its server calls it.
    """
    tags: dict[str, frozenset[tuple[str, str]]] = {}
    for span in Tree(read).spans:
        ends = [side for side in (span.caller, span.callee, *span.others) if side is not None]
        if not span.is_open and any((side.service, side.method) == (service, method) for side in ends):
            features = {feature for side in (*ends, *span.hubs) for feature in _features(side, read)}
            features |= _tags(span, tags)
            yield ExplainedCall(read.trace_id, span.took, span.outcome, frozenset(features))


def _features(side: Side, read: Read) -> Iterator[tuple[str, str]]:
    _, about = read.processes[side.process]
    if side.kind == Kind.SERVER:
        yield "worker", f"{about.name}@{about.host}:{about.pid}"
        yield "host", about.host
        yield "release", about.release
    elif side.kind == Kind.CLIENT:
        yield "caller", f"{about.name}@{about.host}:{about.pid}"
        yield "caller's host", about.host
        yield "endpoint", side.peer
        yield "attempts", str((side.detail or {}).get(ATTEMPTS, 1))
    elif side.kind == Kind.HUB:
        yield "hub", f"{about.name}@{about.host}:{about.pid}"


_NO_TAGS: Final[frozenset[tuple[str, str]]] = frozenset()


def _tags(span: Span, known: dict[str, frozenset[tuple[str, str]]]) -> frozenset[tuple[str, str]]:
    """Those of the call, and of all that caused it: a user is tagged where the trace begins. known: of the
    spans of this trace that were looked at.
    """
    way: list[Span] = []
    cause: Span | None = span
    while cause is not None and cause.span_id not in known:
        way.append(cause)
        cause = cause.parent
    found = known[cause.span_id] if cause is not None else _NO_TAGS
    for one in reversed(way):
        if own := frozenset(_own_tags(one)):
            found = found | own
        known[one.span_id] = found
    return found


def _own_tags(span: Span) -> Iterator[tuple[str, str]]:
    for side in (span.caller, span.callee):
        if side is not None and side.detail is not None:
            for key, value in (side.detail.get(TAGS) or {}).items():
                yield f"tag {key}", str(value)[:100]


def common(calls: Iterable[ExplainedCall], slower: float | None) -> dict[str, Any]:
    """See `Collector.why`. slower: seconds from which a call counts as slow; None: the slowest tenth."""
    every = list(calls)
    took = sorted(call.took for call in every)
    if slower is None and took:
        slower = took[min(int(len(took) * (1 - SLOWEST_SHARE)), len(took) - 1)]
    groups = {
        "failing": [call for call in every if call.outcome != GOOD],
        "slow": [call for call in every if call.outcome == GOOD and call.took >= (slower or 0.0)],
    }
    return {
        "calls": len(every),
        "slower": slower or 0.0,
        **{
            name: {
                "calls": len(bad),
                "common": _compare(bad, every),
                "examples": [call.trace_id for call in sorted(bad, key=lambda one: -one.took)[:3]],
                "outcomes": dict(Counter(call.outcome for call in bad).most_common(5)),
            }
            for name, bad in groups.items()
        },
    }


def _compare(bad: list[ExplainedCall], every: list[ExplainedCall]) -> list[dict[str, Any]]:
    """Features that are more frequent among the bad ones than among the others, the most telling first.

    What chance alone would bring about as well is left out: many features are looked at, and with few calls
    one of them always differs.
    """
    others = len(every) - len(bad)
    if len(bad) < FEWEST or not others:
        return []
    of_bad = Counter(feature for call in bad for feature in call.features)
    of_all = Counter(feature for call in every for feature in call.features)
    rows = []
    for feature, number in of_bad.items():
        share, share_others = number / len(bad), (of_all[feature] - number) / others
        if number >= FEWEST and feature[1] and share - share_others >= 0.1:
            rows.append((share - share_others, feature, share, share_others))
    rows.sort(reverse=True)
    return [
        {
            "what": what,
            "value": value,
            "share": share,
            "others": share_others,
            "number": of_bad[what, value],
            "of_all": of_all[what, value],
        }
        for _, (what, value), share, share_others in rows[:MOST]
        if chance(of_bad[what, value], len(bad), of_all[what, value], len(every)) * len(of_bad) < LUCK
    ]


def chance(number: int, bad: int, of_all: int, every: int) -> float:
    """How likely it is that at least `number` of `bad` calls, taken blindly out of `every`, have what
    `of_all` of them have: the hypergeometric distribution's tail.
    """
    most = min(bad, of_all)
    whole = _ways(every, bad)
    return min(
        sum(
            exp(_ways(of_all, some) + _ways(every - of_all, bad - some) - whole)
            for some in range(number, most + 1)
            if bad - some <= every - of_all
        ),
        1.0,
    )


def _ways(every: int, some: int) -> float:
    """The logarithm of in how many ways some can be taken out of all."""
    return lgamma(every + 1) - lgamma(some + 1) - lgamma(every - some + 1)
