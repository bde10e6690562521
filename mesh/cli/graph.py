"""The `mesh graph` command: which service calls which, in the terminal or as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mesh.cli.collector import collector_option, open_collector, why_no_calls
from mesh.cli.options import FiniteRange, debug_option, json_option, seconds_option, services_option
from mesh.cli.output import Printer, columns_of, cut, padded, to_json
from mesh.cli.reporting import remark
from mesh.errors import ConfigError
from mesh.tracing.call_graph import Branch, Graph, dot, figures, mermaid, tree

FORMATS = ("text", "dot", "mermaid", "svg")
SUFFIXES = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}
NARROWEST = 12
"""Columns that a name has at least."""


@click.command(epilog="Exit codes: 0 done, 2 wrong usage or configuration, 3 nobody there.")
@click.option(
    "--minutes",
    type=FiniteRange(0.1, 60.0),
    default=5.0,
    metavar="N",
    help="Of the calls of the last N minutes, up to 60; else 5.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Else as FILE is called, and text.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to FILE.",
)
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
def graph(
    minutes: float,
    form: str | None,
    output: Path | None,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show which service calls which, how often, with which p99, and which share of the calls fails.

    As text each service stands below those that call it: "(as above)" where what it calls was told already,
    "↻ cycle" where it is one of its own callers. dot is for Graphviz, mermaid for pages that draw it, svg is
    a picture by itself. With --json all edges and services are one value.
    """
    if as_json and form:
        raise click.UsageError("--format and --json exclude each other")
    suffix = output.suffix.lower() if output else ""
    chosen = "json" if as_json else form or SUFFIXES.get(suffix, "text")
    with open_collector(collector, services_file, timeout) as client:
        answer = client.graph(minutes)
        found = Graph.of(answer)
        nothing = "" if found.services else why_no_calls(client, f"{minutes:g} min")
    printer = Printer()
    lines = [to_json(answer)] if chosen == "json" else list(_lines(found, chosen, printer))
    if output is not None:
        _write(output, lines)
    else:
        for line in lines:
            printer.line(line)
    if nothing:
        remark(nothing)
    if found.more and chosen != "json":
        remark(f"{found.more:,} more edges, of the fewest calls, are left out")


def _lines(found: Graph, form: str, printer: Printer) -> Iterable[str]:
    if form == "svg":
        from mesh.tracing.graph_svg import svg

        return svg(found)
    if form == "text":
        return _tree(list(tree(found)), printer)
    return dot(found) if form == "dot" else mermaid(found)


def _tree(branches: list[Branch], printer: Printer) -> Iterator[str]:
    """The names, and the figures of the edges in columns behind them."""
    rows = [(branch, figures(branch.edge) if branch.edge else ("", "", "")) for branch in branches]
    widths = [max((len(told[place]) for _, told in rows), default=0) for place in range(3)]
    widest = max((columns_of(branch.name) for branch in branches), default=0)
    mark = max((len(branch.mark) for branch in branches), default=0)
    if printer.tty:
        widest = min(widest, max(printer.width - sum(widths) - mark - 5, NARROWEST))
    for branch, (rate, p99, failing) in rows:
        name = padded(cut(branch.name, widest), widest)
        marked = printer.paint(failing.ljust(widths[2]), fg="red") if failing else " " * widths[2]
        line = f"{name}  {rate.rjust(widths[0])} {p99.ljust(widths[1])} {marked} {branch.mark}"
        yield line.rstrip()


def _write(path: Path, lines: Iterable[str]) -> None:
    """Raises ConfigError."""
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
