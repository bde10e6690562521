"""Shows open calls: a line for each, those that a handler makes below its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh.cli.hub_status import age
from mesh.cli.open_calls import OpenCall, each, jsonable
from mesh.cli.output import Printer, columns_of, cut, padded
from mesh.cli.reporting import one_line

SHORT: Final = 4
"""Digits of a trace's id that a terminal shows: `mesh trace` takes the beginning of one."""
LEAST: Final = 18
"""Columns that what a call waits for has at the least; before that others are left out."""
WIDEST: Final = 32
"""Columns of a method in a terminal."""
OPTIONAL: Final = (2, 3, 4)
"""What a narrow terminal can do without, the first to go first: the trace, the caller, who has it."""


def show_calls(printer: Printer, calls: Sequence[OpenCall]) -> None:
    """All of these, and what they make."""
    if printer.as_json:
        for call, parent in _with_parents(calls, ""):
            printer.value(jsonable(call, parent))
        return
    rows = [_row(printer, call, depth) for call, depth in each(calls)]
    for line in aligned(rows, printer.width if printer.tty else None):
        printer.line(line)


def _with_parents(calls: Sequence[OpenCall], parent: str) -> Iterator[tuple[OpenCall, str]]:
    for call in calls:
        yield call, parent
        yield from _with_parents(call.made, call.id)


def _row(printer: Printer, call: OpenCall, depth: int) -> list[str]:
    trace = call.trace_id
    if printer.tty and len(trace) > SHORT + 1:
        trace = f"{trace[:SHORT]}…"
    tree = "  " * (depth - 1) + "└ " if depth else ""
    method = cut(one_line(call.method), WIDEST) if printer.tty else one_line(call.method)
    caller = "" if depth else call.caller or "-"
    to = f"→ {one_line(call.to or '-')}"
    return [age_of(call), tree + method, one_line(trace), one_line(caller), to, one_line(call.waits)]


def age_of(call: OpenCall) -> str:
    """In seconds with a digit up to a minute and some, else in two units."""
    return f"{call.age:.1f}s" if call.age < 100 else age(call.age)


def aligned(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table without a head, the last column cut to what is left of the width; None for any."""
    if not rows:
        return []
    widths = [max(columns_of(row[i]) for row in rows) for i in range(len(rows[0]))]
    kept = [i for i in range(len(widths) - 1) if widths[i]]
    spare = list(OPTIONAL)
    while width is not None and spare and _taken(widths, kept) + LEAST > width:
        number = spare.pop(0)
        kept = [i for i in kept if i != number]
    lines = []
    for row in rows:
        first = row[0].rjust(widths[0])
        cells = [first, *(padded(row[i], widths[i]) for i in kept if i)]
        line = "  ".join(cells).rstrip() if not row[-1] else "  ".join([*cells, row[-1]])
        lines.append(line if width is None else cut(line, width))
    return lines


def _taken(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[i] + 2 for i in kept)
