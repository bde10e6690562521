"""The `mesh why` command: what the slow or failing calls of a method have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from mesh.cli.collector import collector_option, open_collector
from mesh.cli.options import FiniteRange, debug_option, json_option, seconds, seconds_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import one_line, remark
from mesh.cli.screen import folded

HEAD = ("WHAT", "VALUE", "THESE", "ALL")


@click.command(epilog="Exit codes: 0 done, 2 wrong usage or configuration, 3 nobody there.")
@click.argument("service")
@click.argument("method")
@click.option(
    "--minutes",
    type=FiniteRange(0.1, 10_080.0),
    default=60.0,
    metavar="N",
    help="Of the calls of the last N minutes; else 60.",
)
@click.option(
    "--slower",
    type=seconds,
    metavar="S",
    help="What takes so many seconds is slow; else the slowest tenth.",
)
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
def why(
    service: str,
    method: str,
    minutes: float,
    slower: float | None,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show what the slow and the failing calls of METHOD have that all its calls have not.

    Looked at are the worker process, its host and release, the hub, the caller and its host, the endpoint,
    how many attempts it took, and tags, of the calls in the newest 500 recorded traces. What chance would
    bring about as well is not told, nor anything of fewer than three calls.
    """
    from mesh.tracing import explained

    with open_collector(collector, services_file, timeout) as client:
        answer = client.why(service, method, minutes, slower)
    printer = Printer(as_json)
    if as_json:
        sentences = list(explained.says(answer))
        printer.value({"service": service, "method": method, **answer, "says": sentences})
        return
    if not answer["calls"]:
        remark(f"no call of {service}.{method} was recorded in the last {minutes:g} min")
        return
    for line in folded(printer, one_line(explained.summary(answer, service, method, minutes))):
        printer.line(printer.paint(line, bold=True))
    for group in explained.GROUPS:
        for line in _group(printer, answer, group):
            printer.line(line)


def _group(printer: Printer, answer: Mapping[str, Any], group: str) -> Iterator[str]:
    from mesh.tracing import explained

    yield ""
    outcomes = explained.outcomes(answer, group)
    yield from folded(printer, one_line(f"{group}: {outcomes}" if outcomes else f"{group}:"), "  ")
    little = explained.too_little(answer, group)
    if little:
        yield from folded(printer, f"  {little}", "  ")
    found = explained.reasons(answer, group)
    for reason in found:
        yield from folded(printer, f"  {one_line(reason.sentence)}", "    ")
    if found:
        yield from printer.table(HEAD, [_row(answer, group, row) for row in answer[group]["common"]])
    examples = answer[group]["examples"]
    if examples and (group == "failing" or found):
        yield from folded(printer, f"  as in: mesh trace {one_line(examples[0])}", "    ")


def _row(answer: Mapping[str, Any], group: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Both shares of a feature."""
    these, all_ = row["number"] / answer[group]["calls"], row["of_all"] / answer["calls"]
    return one_line(row["what"]), one_line(row["value"]), f"{these:.0%}", f"{all_:.0%}"
