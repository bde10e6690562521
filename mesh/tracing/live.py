"""Rates of calls as rows to look at: of which edges or methods, in which order, and how they are written.

What goes in is the answer of `Collector.rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

EDGE: Final = "edge"
METHOD: Final = "method"
EVERYBODY: Final = "*"
"""The caller in a row of all callers."""
SLOW: Final = 1.0
"""Seconds from which a time is worth a colour."""


class Row(NamedTuple):
    """One method as one service calls it. rate, errors: calls/s, and those of them that failed. open: calls
    that have not ended. slowest: seconds of the slowest that was recorded, and the id of its trace, "".
    The other times are seconds, too.
    """

    caller: str
    service: str
    method: str
    rate: float
    errors: float
    p50: float
    p95: float
    p99: float
    open: int
    slowest: float
    trace_id: str

    @property
    def call(self) -> str:
        return f"{self.service}.{self.method}"

    @property
    def names(self) -> tuple[str, str, str]:
        """What tells it from other rows."""
        return self.caller, self.service, self.method


SORTS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "rate": lambda row: -row.rate,
    "errors": lambda row: -row.errors,
    "p50": lambda row: -row.p50,
    "p95": lambda row: -row.p95,
    "p99": lambda row: -row.p99,
    "open": lambda row: -row.open,
    "slowest": lambda row: -row.slowest,
    "name": lambda row: (row.service, row.method, row.caller),
}
"""What rows may be ordered by: the largest first, names from a to z."""


def rows_of(rates: Iterable[Mapping[str, Any]], by: str = EDGE) -> list[Row]:
    """by: EDGE for what callers tell, a row for each of them; METHOD for what servers tell, all callers
    together. Where only the other side tells of a method, its rows stand for it.
    """
    told: dict[str, list[Row]] = {"client": [], "server": []}
    for rate in rates:
        side = rate["side"]
        if side in told and (rate["rate"] or rate["open"] or rate["slowest"]):
            told[side].append(_row(rate))
    first, second = ("client", "server") if by == EDGE else ("server", "client")
    known = {(row.service, row.method) for row in told[first]}
    return told[first] + [row for row in told[second] if (row.service, row.method) not in known]


def _row(rate: Mapping[str, Any]) -> Row:
    caller = rate["caller"] if rate["side"] == "client" else EVERYBODY
    names = (name for name in Row._fields if name not in ("caller", "trace_id"))
    return Row(caller=caller, trace_id=rate["slowest_id"], **{name: rate[name] for name in names})


def shown(
    rows: Iterable[Row], services: Collection[str] = (), text: str = "", sort: str = "rate"
) -> list[Row]:
    """The rows that call one of these services or are called by it, all for none, and have the text in their
    names, in that order.
    """
    wanted = text.lower()
    kept = [
        row
        for row in rows
        if (not services or row.service in services or row.caller in services)
        and (not wanted or wanted in f"{row.caller} {row.call}".lower())
    ]
    by_name = SORTS["name"]
    return sorted(kept, key=lambda row: (SORTS[sort](row), by_name(row)))


class RateTable:
    """What is looked at, and how; a live screen changes it. by: EDGE or METHOD. sort: one of SORTS. text:
    that names have. services: those whose rows are kept, () for all.
    """

    def __init__(self, by: str, sort: str, text: str, services: Collection[str]) -> None:
        self.by = by
        self.sort = sort
        self.text = text
        self.services = services

    def rows(self, rates: Iterable[Mapping[str, Any]]) -> list[Row]:
        """The rows to show of what a collector has told."""
        return shown(rows_of(rates, self.by), self.services, self.text, self.sort)


def told(row: Row) -> dict[str, Any]:
    """As a value of JSON; the caller of a row of all callers is null."""
    values = row._asdict()
    values["caller"] = None if row.caller == EVERYBODY else row.caller
    values["trace"] = values.pop("trace_id") or None
    return values


HEAD: Final = ("CALLER", "CALL", "RATE", "ERRORS", "P50", "P95", "P99", "OPEN", "SLOWEST", "TRACE")
OPTIONAL: Final = ("TRACE", "P95", "P50", "SLOWEST")
"""Columns that a narrow terminal does without, the first to go first."""


def cells(row: Row) -> tuple[str, ...]:
    """What a table has of a row, in the order of HEAD. Names are as they came."""
    return (
        row.caller or "-",
        row.call,
        per_second(row.rate),
        per_second(row.errors) if row.errors else "-",
        *(brief(value) if row.rate else "-" for value in (row.p50, row.p95, row.p99)),
        str(row.open) if row.open else "-",
        brief(row.slowest) if row.slowest else "-",
        row.trace_id or "-",
    )


def per_second(rate: float) -> str:
    """As 4,812 or 0.05."""
    if rate >= 99.95:
        return f"{rate:,.0f}"
    return f"{rate:.1f}" if rate >= 0.095 or not rate else f"{rate:.2f}"


def brief(seconds: float) -> str:
    """A time in few characters: 85µs, 2.4ms, 51ms, 1.2s, 3m05s."""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 0.00995:
        return f"{seconds * 1e3:.1f}ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,}m{rest:02}s"
