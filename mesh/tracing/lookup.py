"""One trace, as a collector is asked for it: by its id or the beginning of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mesh.errors import ConfigError, ServiceNotFound
from mesh.tracing.pieces import Read, read

WHOLE: Final = 32
"""Characters of an id that needs no looking for."""
MOST_ASKED: Final = 1_000
"""Processes of a trace of which is asked whether they have dropped records."""
MOST_NAMED: Final = 10

Ask = Callable[..., Any]


def look_up(ask: Ask, trace_id: str) -> dict[str, Any]:
    """What `Collector.trace` answers. ask: calls a method of the collector, by its name. Raises
    ServiceNotFound where there is no such trace, ConfigError where several begin so.
    """
    answer = ask("trace", trace_id)
    if not answer["pieces"] and len(trace_id) < WHOLE:
        found = ask("find", trace_id)
        if len(found) > 1:
            ids = ", ".join(found[:MOST_NAMED])
            raise ConfigError(f"{len(found)} traces or more begin with {trace_id!r}: {ids}")
        if found:
            answer = ask("trace", found[0])
    if not answer["pieces"]:
        raise ServiceNotFound(
            f"the collector has no trace {trace_id!r}: it was not sampled, is too old, or still to come"
        )
    return dict(answer)


def whole(answer: dict[str, Any]) -> Read:
    """The trace of such an answer. Of a large one that takes a second."""
    found = read(answer["id"], answer["pieces"])
    return found._replace(cut=found.cut + answer["cut"])


def with_dropped(ask: Ask, found: Read) -> Read:
    """The same, with how many records each of its processes had no room for while it ran."""
    identities = [identity for identity, _ in found.processes[:MOST_ASKED]]
    began = min((side.began for side in found.sides), default=0.0)
    ended = max((side.ended for side in found.sides), default=0.0)
    return found._replace(dropped=ask("dropped", identities, max(began, 0.0), max(ended, 0.0)))
