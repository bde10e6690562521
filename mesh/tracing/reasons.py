"""What the slow or failing calls of a method have in common that all others have not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from mesh.core.trace_record import ATTEMPTS, GOOD, TAGS, Kind
from mesh.tracing.pieces import Read, Side

MOST: Final = 20
FEWEST: Final = 3
"""Bad calls that must have something in common before it is told."""
SLOWEST_SHARE: Final = 0.1


class Call(NamedTuple):
    """One call with what may be the reason. features: (kind, value)."""

    trace_id: str
    took: float
    outcome: str
    features: frozenset[tuple[str, str]]


def calls_in(read: Read, service: str, method: str) -> Iterator[Call]:
    """The calls of a method in a trace, each with all that its sides tell of it."""
    spans: dict[str, list[Side]] = {}
    for side in read.sides:
        if (side.service, side.method) == (service, method) and not side.is_open:
            spans.setdefault(side.span_id, []).append(side)
    for sides in spans.values():
        first = min(sides, key=lambda side: side.kind)
        outcome = next((side.outcome for side in sides if side.outcome != GOOD), GOOD)
        features = frozenset(feature for side in sides for feature in _features(side, read))
        yield Call(read.trace_id, first.ended - first.began, outcome, features)


def _features(side: Side, read: Read) -> Iterator[tuple[str, str]]:
    _, about = read.processes[side.process]
    detail = side.detail or {}
    if side.kind == Kind.SERVER:
        yield "worker", f"{about.name}@{about.host}:{about.pid}"
        yield "host", about.host
        yield "release", about.release
    elif side.kind == Kind.CLIENT:
        yield "caller", f"{about.name}@{about.host}:{about.pid}"
        yield "caller's host", about.host
        yield "endpoint", side.peer
        yield "attempts", str(detail.get(ATTEMPTS, 1))
    elif side.kind == Kind.HUB:
        yield "hub", f"{about.name}@{about.host}:{about.pid}"
    for key, value in (detail.get(TAGS) or {}).items():
        yield f"tag {key}", str(value)[:100]


def common(calls: Iterable[Call], slower: float | None) -> dict[str, Any]:
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


def _compare(bad: list[Call], every: list[Call]) -> list[dict[str, Any]]:
    """Features that are more frequent among the bad ones than among the others, the most telling first."""
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
        {"what": what, "value": value, "share": share, "others": share_others}
        for _, (what, value), share, share_others in rows[:MOST]
    ]
