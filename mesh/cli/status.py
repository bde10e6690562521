"""The `mesh status` command: what one server or hub does now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mesh.cli.options import debug_option, json_option, seconds_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import one_line
from mesh.cli.screen import folded

if TYPE_CHECKING:
    from mesh.cli.open_calls_told import Told


@click.command()
@click.argument("endpoint")
@json_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 5.")
@services_option
@debug_option
def status(endpoint: str, as_json: bool, timeout: float | None, services_file: str | None) -> None:
    """Show what the server or hub at ENDPOINT does now: the open calls with method, age and caller.

    ENDPOINT may be a name of the registry, too: then each of its endpoints is asked. It is answered outside
    of the pool, also while a handler blocks the loop. Of a hub these are the calls that wait there,
    or that it has given to workers; what those do with them `mesh ps ENDPOINT` asks them.

    With --json there is one line for each endpoint, with all that it tells.
    """
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.open_calls import gathered
    from mesh.cli.open_calls_asked import ask_all
    from mesh.cli.open_calls_table import show_calls
    from mesh.cli.ping import PATIENCE
    from mesh.cli.ps import endpoints_of, tell_unheard

    quiet_interrupt()
    answers = ask_all(endpoints_of([endpoint], services_file), timeout or PATIENCE, workers=False)
    printer = Printer(as_json)
    heard = [told for told in answers if told.values is not None]
    for told in heard:
        if as_json:
            printer.value({"endpoint": told.place, **(told.values or {})})
            continue
        for line in folded(printer, one_line(_heading(told)), indent="  "):
            printer.line(line)
        show_calls(printer, gathered([told]))
    tell_unheard(printer, answers)


def _heading(told: Told) -> str:
    """Who it is, and how much it does."""
    from mesh.cli.open_calls_told import count, rows_of, text
    from mesh.core.labels import told_labels

    values = told.values or {}
    at = f"{text(values, 'host') or '-'}:{count(values, 'pid')}"
    total = count(values, "total")
    calls = f"{total} open call{'' if total == 1 else 's'}"
    if told.is_hub:
        workers = len(rows_of(values, "workers"))
        has = f"{workers} worker{'' if workers == 1 else 's'}"
        return f"hub {text(values, 'hub')} ({text(values, 'type')}) at {at}: {has}, {calls}"
    running, most, waiting = (count(values, key) for key in ("running", "most", "waiting"))
    name = text(values, "server") or "a server"
    labels = ", ".join(f"{key}={value}" for key, value in told_labels(values.get("labels")))
    name += f" ({labels})" if labels else ""
    load = f"{running} of {most} handlers run, {waiting} waiting"
    return f"{name} at {at}: {load}, {calls}"
