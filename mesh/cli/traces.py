"""The `mesh traces` command: looks for traces."""

from __future__ import annotations

import re
import time

import click

from mesh.cli.collector import collector_option, open_collector
from mesh.cli.hub_status import age
from mesh.cli.options import debug_option, json_option, seconds, seconds_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import one_line, remark

HEAD = ("ID", "BEGAN", "TOOK", "CALL", "OUTCOME", "SPANS", "ERRORS", "BY")
OPTIONAL = ("BY", "ERRORS", "SPANS", "BEGAN")
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def since_when(text: str) -> float:
    """A time of day from `10m` (ago), or 2024-05-01T12:00, as a click type."""
    from datetime import datetime

    match = _AGO.fullmatch(text)
    if match:
        return time.time() - float(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a time ago, as 10m or 2h, nor one as 2024-05-01T12:00"
        ) from None


@click.command()
@click.option("--service", metavar="NAME", help="With a call of this service.")
@click.option("--method", metavar="NAME", help="With a call of this method.")
@click.option("--error", metavar="NAME", is_flag=False, flag_value="", help="With this error, or with any.")
@click.option("--slower", type=seconds, metavar="S", help="That took longer than so many seconds.")
@click.option(
    "--since", type=since_when, metavar="WHEN", help="That began since then, as 10m or 2024-05-01T12:00."
)
@click.option("--tag", metavar="KEY[=VALUE]", help="With this tag.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, metavar="N", help="So many; else 20.")
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
def traces(
    service: str | None,
    method: str | None,
    error: str | None,
    slower: float | None,
    since: float | None,
    tag: str | None,
    limit: int,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Search for traces: the newest first. `mesh trace ID` shows one.

    CALL and TOOK are those of the call with which the trace began. With --json there is a line for each.
    """
    with open_collector(collector, services_file, timeout) as client:
        answer = client.traces(service, method, error, slower, since, tag, limit)
    found = answer["traces"]
    printer = Printer(as_json)
    if as_json:
        for one in found:
            printer.value(one)
    elif found:
        now = time.time()
        rows = [
            (
                one_line(one["id"]),
                f"{age(max(now - one['began'], 0.0))} ago",
                f"{one['took'] * 1000:,.1f}ms",
                one_line(f"{one['service']}.{one['method']}") if one["method"] else "-",
                one_line(one["outcome"]) or "-",
                str(one["spans"]),
                str(one["errors"]),
                one_line(one["process"]) or "-",
            )
            for one in found
        ]
        for line in printer.table(HEAD, rows, OPTIONAL):
            printer.line(line)
    else:
        remark("no trace is like that")
    if answer["dropped"]:
        remark(
            f"programs dropped {answer['dropped']:,} records in that time, for lack of room: some of these "
            "may not be whole, as `mesh trace ID` tells"
        )
    if not answer["all"]:
        remark("only the newest were looked at: --since, or a shorter --ttl of the collector, makes it fewer")
