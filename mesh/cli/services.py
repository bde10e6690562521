"""The `mesh services` command: what the registry knows, and what answers.

Owns the table and its refreshing. The pings are health.py's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import complete_service, debug_option, json_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import EXIT_NOBODY, complain
from mesh.cli.screen import show
from mesh.errors import ServiceNotFound

if TYPE_CHECKING:
    from mesh.cli.health import Checker, Health
    from mesh.names.catalog import Catalog
    from mesh.names.model import Endpoint, Service, Source

REFRESH = 2.0  # seconds between two looks of --watch
HEAD = ("NAME", "HEALTH", "MS", "TYPE", "WORKERS", "ENDPOINT", "SOURCE")
# What a narrow terminal can do without, the first to go first.
OPTIONAL = ("SOURCE", "WORKERS", "TYPE")
COLOURS = {
    "up": "green",
    "down": "red",
    **dict.fromkeys(("full", "silent", "no workers", "paused"), "yellow"),
}

Checked = tuple["Service", Sequence["Health"]]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_service)
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
@services_option
@debug_option
@click.pass_context
def services(
    ctx: click.Context, names: tuple[str, ...], watch: bool, as_json: bool, services_file: str | None
) -> None:
    """Show the services of the registry: health, type, workers, endpoints and source.

    Without a NAME all of them. With NAMEs those, and the exit code is 3 if one has no endpoint that is up
    or full, or neither the registry nor DNS has it.

    Each endpoint is asked for a ping, and a hub for its status. HEALTH is up, down, silent where a
    connection stands but no answer comes, or - where there is nothing to ask: only servers of calls
    (router) and hubs are. full is up as well: all places are taken, and calls wait. A hub that is up may
    have no workers of the service, or only such as take no calls now: paused. MS is the round trip.
    WORKERS is how many of the service a hub has.
    """
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.health import Checker
    from mesh.names.catalog import Catalog
    from mesh.transport.dns_names import DnsSource

    quiet_interrupt()
    catalog, dns = Catalog(services_file), DnsSource()
    asked = [_known(name, catalog, dns) for name in dict.fromkeys(names)]
    if not names and not catalog.services():
        complain("mesh services", _nothing(catalog))
    with Checker() as checker:
        checked = _check(checker, asked or catalog.services())
        _show(Printer(as_json), checked, watch)
        while watch:
            checker.sleep(REFRESH)
            catalog.refresh(monotonic())
            still_known = [*_still_known(names, catalog, dns)] if names else catalog.services()
            _show(Printer(as_json), _check(checker, still_known), watch)
    missed = [f"{service.name} ({_states(healths)})" for service, healths in checked if not _is_up(healths)]
    if names and missed:
        complain("mesh", f"not up: {', '.join(missed)}")
        ctx.exit(EXIT_NOBODY)


def _known(name: str, *sources: Source) -> Service:
    """The service of this name. Raises ServiceNotFound, with the nearest names, for one that nobody has."""
    from mesh.names.endpoints import is_endpoint
    from mesh.names.resolver import resolve

    if is_endpoint(name):
        raise click.UsageError(f"{name!r:.80} is no name of a service: for an endpoint there is mesh ping")
    return resolve(name, *sources)


def _still_known(names: Sequence[str], *sources: Source) -> Iterator[Service]:
    """Without those that are gone."""
    for name in dict.fromkeys(names):
        with suppress(ServiceNotFound):
            yield _known(name, *sources)


def _check(checker: Checker, services: Sequence[Service]) -> list[Checked]:
    """The health of these services, in their order."""
    return list(zip(services, checker.check(services), strict=True))


def _is_up(healths: Sequence[Health]) -> bool:
    """Whether a service can be called, by one of its endpoints at least."""
    from mesh.cli.health import UP

    return any(health.state in UP for health in healths)


def _states(healths: Sequence[Health]) -> str:
    """What its endpoints are, each state once."""
    states = ["can't be asked" if health.state == "-" else health.state for health in healths]
    return ", ".join(dict.fromkeys(states))


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
        pairs = zip(service.endpoints, healths, strict=True)
        for number, (endpoint, health) in enumerate(pairs):
            first = repeat or number == 0
            yield (
                service.name if first else "",
                health.state,
                "-" if health.ms is None else f"{health.ms:.1f}",
                _kind(endpoint) if first else "",
                "-" if health.workers is None else str(health.workers),
                health.endpoint,
                _short(service.source, repeat) if first else "",
            )


def _kind(endpoint: Endpoint) -> str:
    return "hub" if endpoint.hub else endpoint.type


def _short(source: str, whole: bool) -> str:
    return source if whole else source.removeprefix(os.getcwd() + os.sep)


def _jsonable(service: Service, healths: Sequence[Health]) -> dict[str, Any]:
    return {
        "name": service.name,
        "source": service.source,
        "type": _kind(service.endpoints[0]),
        # A worker may have registered with several of the hubs.
        "workers": max((h.workers for h in healths if h.workers is not None), default=None),
        "endpoints": [
            {"endpoint": h.endpoint, "health": h.state, "ms": h.ms, "workers": h.workers} for h in healths
        ],
    }
