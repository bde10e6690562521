"""What a page may ask: the query of an address, looked at, and carried to the collector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from mesh.tracing.dashboard import export
from mesh.tracing.dashboard.feeds import HISTORY, Ask, History
from mesh.tracing.dashboard.packed import packed
from mesh.tracing.dashboard.source import Source, in_thread, to_json

MOST_TEXT: Final = 200
WINDOWS: Final = (10, 60, 300, 3600)
"""Seconds over which a page may have rates."""
MINUTES: Final = (1, 5, 60)
"""The same for the graph."""
MOST_FOUND: Final = 500
FORMATS: Final[Mapping[str, tuple[Callable[[Any], Any], str]]] = {
    "perfetto": (export.chrome, "perfetto.json"),
    "speedscope": (export.speedscope, "speedscope.json"),
}

Query = Mapping[str, str]


class BadQuestion(ValueError):
    """An address that asks for nothing that there is."""


def query_of(text: str) -> Query:
    """The parameters of an address. Raises BadQuestion."""
    try:
        found = dict(parse_qsl(text, max_num_fields=20))
    except ValueError:
        raise BadQuestion("too many parameters") from None
    for key, value in found.items():
        if len(value) > MOST_TEXT:
            raise BadQuestion(f"{key:.40} is longer than {MOST_TEXT} characters")
    return found


def topics(source: Source, history: History, clock: Callable[[], float]) -> dict[str, Ask]:
    """What each topic of a page asks the collector. clock: the time of day."""

    def rates(seconds: int) -> Ask:
        return lambda: source.ask("rates", float(seconds))

    def graph(minutes: int) -> Ask:
        return lambda: source.ask("graph", float(minutes))

    return {
        HISTORY: lambda: history.add(clock(), source.ask("rates", float(WINDOWS[0]))),
        "status": source.status,
        "calls": lambda: source.ask("open_calls", None, True),
        **{f"rates-{seconds}": rates(seconds) for seconds in WINDOWS},
        **{f"graph-{minutes}": graph(minutes) for minutes in MINUTES},
    }


def traces(source: Source, query: Query) -> bytes:
    """A search: service, method, error ("*" for any), slower, since, tag, limit."""
    error = query.get("error")
    limit = int(_number(query, "limit") or 100)
    found = source.ask(
        "traces",
        query.get("service") or None,
        query.get("method") or None,
        "" if error == "*" else error or None,
        _number(query, "slower"),
        _number(query, "since"),
        query.get("tag") or None,
        min(max(limit, 1), MOST_FOUND),
    )
    return to_json(found)


def trace(source: Source, query: Query) -> bytes:
    """One trace, by its id or the beginning of it."""
    tree = source.tree(_id(query))
    return in_thread(lambda: to_json(packed(tree)))


def exported(source: Source, query: Query) -> tuple[str, bytes]:
    """A trace in another format: the name of the file, and what is in it."""
    form = query.get("format", "")
    if form not in FORMATS:
        raise BadQuestion(f"format must be one of {', '.join(FORMATS)}")
    make, suffix = FORMATS[form]
    tree = source.tree(_id(query))
    # The id may be any text of another program.
    name = "".join(char for char in tree.trace_id if char.isalnum() and char.isascii())[:32]
    return f"trace-{name or 'other'}.{suffix}", in_thread(lambda: to_json(make(tree)))


def why(source: Source, query: Query) -> bytes:
    """What slow and failing calls of a method have in common."""
    service, method = query.get("service", ""), query.get("method", "")
    if not service or not method:
        raise BadQuestion("service and method must be given")
    return to_json(source.ask("why", service, method, _number(query, "minutes") or 60.0))


def _id(query: Query) -> str:
    trace_id = query.get("id", "")
    if not trace_id:
        raise BadQuestion("id must be given")
    return trace_id


def _number(query: Query, key: str) -> float | None:
    text = query.get(key, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e11:
        raise BadQuestion(f"{key} must be a number, 0 or more, not {text:.40}")
    return number
