"""Shows the services that the registry knows, and what answers.

Owns the looks and their refreshing. The pings are health.py's, the table services_table.py's.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import complete_service, debug_option, json_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import EXIT_NOBODY, complain
from mesh.errors import ServiceNotFound

if TYPE_CHECKING:
    from mesh.cli.client_view import ClientView
    from mesh.cli.health import Checker
    from mesh.cli.services_table import Shown
    from mesh.names.catalog import Catalog
    from mesh.names.model import Service, Source

WORDS = ("check", "export")
"""Commands of their own; `mesh services -- WORD` shows a service of that name."""
REFRESH = 2.0  # seconds between two looks of --watch


class _Services(click.Command):
    """A command whose first word may be one of WORDS, and is the name of a service else."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in WORDS:
            module = importlib.import_module(f"mesh.cli.services_{args[0]}")
            command: click.Command = getattr(module, args[0])
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_Services)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_service)
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
@services_option
@debug_option
@click.pass_context
def services(
    ctx: click.Context, names: tuple[str, ...], watch: bool, as_json: bool, services_file: str | None
) -> None:
    """Show the services of the registry: health, type, workers, shares, endpoints and source.

    Without a NAME all of them. With NAMEs those, and the exit code is 3 if one has no endpoint that is up
    or full, or neither the registry nor DNS has it.

    Each endpoint is asked for a ping, and a hub for its status. HEALTH is up, down, silent where a
    connection stands but no answer comes, or - where there is nothing to ask: only servers of calls
    (router) and hubs are. full is up as well: all places are taken, and calls wait. A hub that is up may
    have no workers of the service, or only such as take no calls now: paused. MS is the round trip.
    WORKERS is how many of the service a hub has. TTL is how long an answer of DNS holds, in seconds.

    SHARE, and "ejected" with the seconds that are left of it, are what a client would do that saw what this
    command sees: it knows of no calls but the pings of --watch, and takes all servers to be equally quick.
    Other clients have seen other things.

    `mesh services check` says what is wrong with the registry, and `mesh services export` writes it as a DNS
    zone; a service of such a name is shown by `mesh services -- check`.
    """
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.client_view import ClientView
    from mesh.cli.health import Checker
    from mesh.cli.services_table import show_all
    from mesh.names.catalog import Catalog
    from mesh.transport.dns_names import DnsSource

    quiet_interrupt()
    catalog, dns = Catalog(services_file), DnsSource()
    asked = [_known(name, catalog, dns) for name in dict.fromkeys(names)]
    if not names and not catalog.services():
        complain("mesh services", _nothing(catalog))
    view = ClientView(random.random)
    with Checker() as checker:
        shown = _look(checker, view, asked or catalog.services(), catalog, dns)
        show_all(Printer(as_json), shown, watch)
        while watch:
            checker.sleep(REFRESH)
            catalog.refresh(monotonic())
            still_known = [*_still_known(names, catalog, dns)] if names else catalog.services()
            shown = _look(checker, view, still_known, catalog, dns)
            show_all(Printer(as_json), shown, watch)
    missed = [f"{one.service.name} ({one.states})" for one in shown if not one.is_up]
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


def _look(
    checker: Checker, view: ClientView, services: Sequence[Service], *sources: Source
) -> Sequence[Shown]:
    """What is found of these services, in their order."""
    from mesh.cli.services_table import Shown, place_of, place_of_part

    parts = {name for one in services if one.split is not None for name in one.split.names}
    found = {one.name: one for one in (*services, *_still_known([*parts], *sources)) if one.split is None}
    looked: dict[str, Shown] = {}
    for service, healths in zip(found.values(), checker.check(found.values()), strict=True):
        outlooks = view.look(service, healths, monotonic())
        rows = zip(service.endpoints, healths, outlooks, strict=True)
        looked[service.name] = Shown(service, [place_of(service, *row) for row in rows])
    for service in services:
        if service.split is not None:
            total = sum(weight for _, weight in service.split.parts)
            looked[service.name] = Shown(
                service,
                [
                    place_of_part(name, weight, total, looked.get(name), service.source)
                    for name, weight in service.split.parts
                ],
            )
    return [looked[service.name] for service in services]


def _nothing(catalog: Catalog) -> str:
    if catalog.path:
        return f"{catalog.path} has no services: add one, as in users: tcp://127.0.0.1:4242"
    return (
        "no services.yml in this folder or the configuration folders: write one, "
        "as in users: tcp://127.0.0.1:4242, or give another with --services"
    )
