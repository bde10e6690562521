"""The `mesh top` command: rates and latencies as they are now, in a screen of its own or as a table."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any

import click

from mesh.cli.collector import collector_option, open_collector, why_no_calls
from mesh.cli.options import FiniteRange, debug_option, json_option, seconds_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import dumb, one_line, remark
from mesh.errors import ConfigError
from mesh.tracing import live

EVERY = 1.0
"""Seconds between two looks."""
OVER = 10.0
PATIENCE = 5.0
"""Seconds for an answer while the screen is shown."""


@click.command(epilog="Exit codes: 0 done, 2 wrong usage, 3 nobody there, 130 ended by Ctrl-C.")
@click.argument("services", metavar="[SERVICE]…", nargs=-1)
@click.option("--once", is_flag=True, help="Print one table, and end.")
@click.option(
    "--by",
    type=click.Choice((live.EDGE, live.METHOD)),
    default=live.EDGE,
    help="edge: a row for each caller of a method, as callers tell; method: one, as its servers tell.",
)
@click.option("--sort", type=click.Choice(tuple(live.SORTS)), default="rate", help="The order; else rate.")
@click.option("--filter", "text", metavar="TEXT", default="", help="Only rows with that in their names.")
@click.option(
    "--seconds",
    type=FiniteRange(5.0, 3_600.0),
    default=OVER,
    metavar="S",
    help="Of the last S seconds, 5 to 3,600; else 10.",
)
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
@click.pass_context
def top(
    ctx: click.Context,
    services: tuple[str, ...],
    once: bool,
    by: str,
    sort: str,
    text: str,
    seconds: float,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show how often each method is called, how long that takes and how much fails: live, once a second.

    With SERVICE only what it calls, and what calls it. Figures are of all calls, not of those alone that
    were recorded; TRACE is that of the slowest that was. The live screen needs the extra zeromesh[top];
    --once does without it. With --json there is a line for each row, every second.
    """
    import gevent

    from mesh.cli.client import stopping_with_reader

    look = live.RateTable(by, sort, text, services)
    if not (once or as_json):
        _require_screen()
    with open_collector(collector, services_file, timeout) as client:
        rates = client.rates(seconds)
        if once or as_json:
            _show(Printer(as_json), look, rates)
            if not rates and not as_json:
                remark(why_no_calls(client, f"{seconds:g} s"))
        if as_json and not once:
            with stopping_with_reader():
                while True:
                    gevent.sleep(EVERY)
                    _show(Printer(as_json), look, client.rates(seconds))
    if not (once or as_json):
        from mesh.cli.top_screen import Top

        app = Top(look, rates, lambda: open_collector(collector, services_file, timeout or PATIENCE), seconds)
        app.run()
        ctx.exit(app.return_code or 0)


def _require_screen() -> None:
    """Raises ConfigError where no live screen can be shown."""
    if not sys.stdout.isatty() or not sys.stdin.isatty() or dumb():
        what = "a terminal that can draw, and TERM is dumb" if dumb() else "a terminal"
        raise ConfigError(f"the live screen needs {what}: --once prints one table, -j lines of JSON")
    if find_spec("textual") is None:
        raise ConfigError(
            "the live screen needs textual, which is an extra: pip install 'zeromesh[top]'; --once prints "
            "one table without it"
        )


def _show(printer: Printer, look: live.RateTable, rates: list[dict[str, Any]]) -> None:
    rows = look.rows(rates)
    if printer.as_json:
        now = time.time()
        for row in rows:
            printer.value({"at": now, **live.told(row)})
    elif rows:
        lines = [[one_line(cell) for cell in live.cells(row)] for row in rows]
        for line in printer.table(live.HEAD, lines, live.OPTIONAL):
            printer.line(line)
    elif rates:
        remark("nobody has told of such calls")
