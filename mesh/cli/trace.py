"""The `mesh trace` command: one trace, as its talk, as a tree, or by what made it slow."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from mesh.cli.collector import collector_option, open_collector
from mesh.cli.options import debug_option, json_option, seconds_option, services_option
from mesh.cli.output import shows_all, to_json
from mesh.cli.reporting import one_line, remark

if TYPE_CHECKING:
    from mesh.tracing.tree import Tree

AT_ONCE = 2_000
"""Lines that are written together."""


@click.command()
@click.argument("trace_id", metavar="ID")
@click.option("--tree", "as_tree", is_flag=True, help="Show calls below those that made them.")
@click.option("--critical", is_flag=True, help="Show what made it slow.")
@click.option("--raw", is_flag=True, help="Leave times as each process told them.")
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
def trace(
    trace_id: str,
    as_tree: bool,
    critical: bool,
    raw: bool,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show the trace ID, or the one whose id begins so: a line for each call, and one for its answer.

    (pending) is a call that has not ended, and [Not Received] one that nobody has told to have received.
    lag is the time on the way, exec that of the handler. Clocks of hosts that are apart are corrected as far
    as the calls tell by how much: ±0.2 says how many milliseconds a lag may be wrong. Many equal calls are
    one line. --tree and --critical may be given together.
    """
    import gc

    from mesh.core.span import as_id

    if not as_id(trace_id):
        raise click.BadParameter(
            f"{trace_id!r:.80} is no id of a trace, nor the beginning of one", param_hint="ID"
        )
    # What is made here lives as long as the command: to look through it again and again takes a third of
    # the time of a large trace.
    gc.disable()
    with open_collector(collector, services_file, timeout) as client:
        from mesh.tracing.trace_lookup import completed, look_up, whole

        found = completed(client, whole(look_up(client, trace_id)))
    from mesh.tracing.tree import Tree

    tree = Tree(found, raw)
    _tell_dropped(tree)
    if as_json:
        from mesh.tracing.views import jsonable, jsonable_critical

        values = jsonable(tree, raw)
        if critical:
            values["critical"] = jsonable_critical(tree)
        # Not by Printer, which looks at each value of what may be a million.
        try:
            text = json.dumps(values, ensure_ascii=not shows_all(), allow_nan=False)
        except ValueError:  # a tag is no finite number
            text = to_json(values)
        sys.stdout.write(text + "\n")
        return
    _write(_lines(tree, as_tree, critical, raw))
    if tree.cut:
        remark(f"{tree.cut:,} more records of this trace were not kept")
    if tree.clocks.steps and not raw:
        remark(
            "a clock was set while this trace ran: times of the hosts may not fit; --raw shows what was told"
        )


def _tell_dropped(tree: Tree) -> None:
    """That records of it may be missing, as a program had no room for them."""
    lost = tree.lost
    if lost:
        some = ", ".join(f"{one_line(label)} {number:,}" for label, number in lost[:5])
        more = f", and {len(lost) - 5:,} more programs theirs" if len(lost) > 5 else ""
        remark(f"this trace may not be whole: records were dropped while it ran, by {some}{more}")


def _lines(tree: Tree, as_tree: bool, critical: bool, raw: bool) -> Iterable[str]:
    from mesh.tracing import talk, views

    if as_tree:
        yield from views.tree_lines(tree, raw)
    if critical:
        yield from views.critical_lines(tree)
    if not as_tree and not critical:
        yield from talk.lines(tree, raw)


def _write(lines: Iterable[str]) -> None:
    """Write them by and by. Names in them are texts of other programs: nothing of them is obeyed."""
    waiting: list[str] = []
    for line in lines:
        waiting.append(line if line.isprintable() else _harmless(line))
        if len(waiting) == AT_ONCE:
            sys.stdout.write("\n".join(waiting) + "\n")
            waiting.clear()
    if waiting:
        sys.stdout.write("\n".join(waiting) + "\n")
    sys.stdout.flush()


def _harmless(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)
