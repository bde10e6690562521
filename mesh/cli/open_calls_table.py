"""Shows open calls: a line for each, those that a handler makes below its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh.cli.hub_status import age
from mesh.cli.open_calls import OpenCall, each, jsonable
from mesh.cli.output import Printer, columns_of, cut, padded, to_json
from mesh.cli.reporting import one_line

SHORT: Final = 4
"""Digits of a trace's id that a terminal shows: `mesh trace` takes the beginning of one."""
LEAST: Final = 18
"""Columns that what a call waits for has at the least; before that others are left out."""
WIDEST: Final = 32
"""Columns of a method in a terminal."""
OPTIONAL: Final = (2, 3, 4)
"""What a narrow terminal can do without, the first to go first: the trace, the caller, who has it."""
BEFORE: Final = {4: "→ "}
"""What stands before a cell."""


def show_calls(printer: Printer, calls: Sequence[OpenCall]) -> None:
    """All of these, and what they make."""
    if printer.as_json:
        lines = [to_json(jsonable(call, parent)) for call, parent in _with_parents(calls, "")]
    else:
        rows = [_row(printer, call, depth) for call, depth in each(calls)]
        lines = aligned(rows, printer.width if printer.tty else None)
    if lines:
        printer.line("\n".join(lines))


def _with_parents(calls: Sequence[OpenCall], parent: str) -> Iterator[tuple[OpenCall, str]]:
    for call in calls:
        yield call, parent
        yield from _with_parents(call.made, call.id)


def _row(printer: Printer, call: OpenCall, depth: int) -> list[str]:
    trace = call.trace_id
    if printer.tty and len(trace) > SHORT + 1:
        trace = f"{trace[:SHORT]}…"
    tree = "  " * (depth - 1) + "└ " if depth else ""
    method = cut(_harmless(call.method), WIDEST) if printer.tty else _harmless(call.method)
    caller = "" if depth else _harmless(call.caller) or "-"
    to = _harmless(call.to) or "-"
    return [age_of(call), tree + method, _harmless(trace), caller, to, _harmless(call.waits)]


def _harmless(text: str) -> str:
    """As one_line, which takes longer."""
    return text if text.isascii() and text.isprintable() else one_line(text)


def age_of(call: OpenCall) -> str:
    """In seconds with a digit up to a minute and some, else in two units."""
    return f"{call.age:.1f}s" if call.age < 100 else age(call.age)


def aligned(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table without a head, the last column cut to what is left of the width; None for any."""
    if not rows:
        return []
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    kept = [i for i in range(1, len(widths) - 1) if widths[i]]
    spare = list(OPTIONAL)
    while width is not None and spare and _taken(widths, kept) + LEAST > width:
        number = spare.pop(0)
        kept = [i for i in kept if i != number]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0]), *(BEFORE.get(i, "") + padded(row[i], widths[i]) for i in kept)]
        line = "  ".join((*cells, row[-1])).rstrip()
        lines.append(line if width is None else cut(line, width))
    return lines


def _taken(widths: Sequence[int], kept: Sequence[int]) -> int:
    return widths[0] + sum(2 + len(BEFORE.get(i, "")) + widths[i] for i in kept) + 2
