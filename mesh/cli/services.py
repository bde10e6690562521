"""The `mesh services` command: what the registry knows, and what answers.

Owns the table and its refreshing. The pings are health.py's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import debug_option, json_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import complain
from mesh.cli.screen import show

if TYPE_CHECKING:
    from mesh.cli.health import Health
    from mesh.names.catalog import Catalog
    from mesh.names.model import Service

REFRESH = 2.0  # seconds between two looks of --watch
HEAD = ("NAME", "HEALTH", "MS", "TYPE", "WORKERS", "ENDPOINT", "SOURCE")
# What a narrow terminal can do without, the first to go first.
OPTIONAL = ("SOURCE", "WORKERS", "TYPE")
COLOURS = {"up": "green", "down": "red", "silent": "yellow", "no workers": "yellow", "paused": "yellow"}

Checked = tuple["Service", Sequence["Health"]]


@click.command()
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
@services_option
@debug_option
def services(watch: bool, as_json: bool, services_file: str | None) -> None:
    """Show every service of the registry: health, type, workers, endpoints and source.

    Each endpoint is asked for a ping, and a hub for its status. HEALTH is up, down, silent where a
    connection stands but no answer comes, or - where there is nothing to ask: only servers of calls
    (router) and hubs are. A hub that is up may have no workers of the service, or only such as take no
    calls now: paused. MS is the round trip. WORKERS is how many of the service a hub has.
    """
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.health import Checker
    from mesh.names.catalog import Catalog

    quiet_interrupt()
    catalog = Catalog(services_file)
    known = catalog.services()
    if not known:
        complain("mesh services", _nothing(catalog))
    with Checker() as checker:
        _show(Printer(as_json), [(s, h) for s, h in zip(known, checker.check(known), strict=True)], watch)
        while watch:
            checker.sleep(REFRESH)
            catalog.refresh(monotonic())
            known = catalog.services()
            checked = [(s, h) for s, h in zip(known, checker.check(known), strict=True)]
            _show(Printer(as_json), checked, watch)


def _nothing(catalog: Catalog) -> str:
    if catalog.path:
        return f"{catalog.path} has no services: add one, as in users: tcp://127.0.0.1:4242"
    return (
        "no services.yml in this folder or the configuration folders: write one, "
        "as in users: tcp://127.0.0.1:4242, or give another with --services"
    )


def _show(printer: Printer, checked: Sequence[Checked], watch: bool) -> None:
    if printer.as_json:
        printer.value([_jsonable(service, healths) for service, healths in checked])
        return
    rows = list(_rows(checked, repeat=not printer.tty))
    show(printer, printer.table(HEAD, rows, optional=OPTIONAL, colours=COLOURS), watch)


def _rows(checked: Sequence[Checked], repeat: bool) -> Iterator[Sequence[str]]:
    """One row an endpoint. repeat: name the service in each row, not only in its first."""
    for service, healths in checked:
        for number, health in enumerate(healths):
            first = repeat or number == 0
            yield (
                service.name if first else "",
                health.state,
                "-" if health.ms is None else f"{health.ms:.1f}",
                ("hub" if service.hub else service.type) if first else "",
                "-" if health.workers is None else str(health.workers),
                health.endpoint,
                _short(service.source, repeat) if first else "",
            )


def _short(source: str, whole: bool) -> str:
    return source if whole else source.removeprefix(os.getcwd() + os.sep)


def _jsonable(service: Service, healths: Sequence[Health]) -> dict[str, Any]:
    return {
        "name": service.name,
        "source": service.source,
        "type": "hub" if service.hub else service.type,
        # A worker may have registered with several of the hubs.
        "workers": max((h.workers for h in healths if h.workers is not None), default=None),
        "endpoints": [
            {"endpoint": h.endpoint, "health": h.state, "ms": h.ms, "workers": h.workers} for h in healths
        ],
    }
