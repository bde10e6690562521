"""The `mesh ps` command: the calls that are open now, and what each waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mesh.cli.options import complete_service, debug_option, json_option, seconds_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import complain, one_line
from mesh.errors import MeshError, ServiceNotFound, TimeoutExpired

if TYPE_CHECKING:
    from mesh.cli.open_calls_told import Told
    from mesh.names.model import Endpoint, Service, Source


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_service)
@click.option("--stuck", "only_stuck", is_flag=True, help="Only those that wait for more than a second.")
@json_option
@seconds_option("--timeout", "Seconds that each has to answer; else 1.")
@services_option
@debug_option
def ps(
    services: tuple[str, ...],
    only_stuck: bool,
    as_json: bool,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show the calls that are open now, the oldest first, and what each waits for.

    SERVICE is a name of the registry or an endpoint; without one all services of the registry are asked, but
    for the collector.
    Hubs and servers answer outside of their pools, also while a handler blocks the loop, and a hub asks its
    workers. Nothing is inferred: who does not answer is named on standard error, with the reason, and the
    exit code is 3 where nobody does.

    A line has a call's age, method, trace, caller, who has it, and what it waits for: a place in a pool, a
    worker, a call of its own, which stands below it, its client, or the line of code at which its handler is.
    With a collector (`mesh collect`) programs that serve nothing are asked, too, for what they call.
    --stuck leaves out those whose handlers are merely at work, and what waits for at most a second.

    With --json there is a line for each call, and for each that does not answer.
    """
    import gc

    # Of ten thousand calls hundreds of thousands of objects are made, which live as long as the command.
    gc.disable()
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.open_calls import gathered, stuck
    from mesh.cli.open_calls_asked import PATIENCE, ask_all, ask_collector
    from mesh.cli.open_calls_table import show_calls

    quiet_interrupt()
    endpoints = endpoints_of(services, services_file)
    asked = ask_collector(services_file, timeout or PATIENCE)
    answers = ask_all(endpoints, timeout or PATIENCE, workers=True)
    printer = Printer(as_json)
    calls = gathered(answers, asked.rows(services))
    show_calls(printer, stuck(calls) if only_stuck else calls)
    if asked.problem:
        complain("mesh", asked.problem)
    tell_unheard(printer, answers)


def endpoints_of(names: Sequence[str], services_file: str | None) -> dict[Endpoint, list[str]]:
    """Where these services are, or all of the registry, each with those that are asked for there: nothing for
    all of a hub's.

    Raises ServiceNotFound and ConfigError.
    """
    from mesh.core.trace_record import COLLECTOR
    from mesh.names.catalog import Catalog
    from mesh.names.endpoints import is_endpoint
    from mesh.names.resolver import parts_of, resolve
    from mesh.transport.client_target import check_takes_calls
    from mesh.transport.dns_names import DnsSource

    catalog = Catalog(services_file) if not names or not all(map(is_endpoint, names)) else None
    sources: tuple[Source, ...] = () if catalog is None else (catalog, DnsSource())
    if names:
        found = [resolve(name) if is_endpoint(name) else resolve(name, *sources) for name in names]
        parts = [part for one in found for part in parts_of(one, *sources)]
        for part in parts:
            check_takes_calls(part)
    else:
        # Not the collector: programs wait there for questions, a call for each.
        parts = [one for one in catalog.services() if one.name != COLLECTOR] if catalog is not None else []
    endpoints = _of_parts(parts, all_of_hubs=not names)
    if not endpoints:
        raise ServiceNotFound("the registry has no service that takes calls: name one, or an endpoint")
    return endpoints


def _of_parts(parts: Sequence[Service], *, all_of_hubs: bool) -> dict[Endpoint, list[str]]:
    """Each address once: that of a hub may serve many."""
    from mesh.names.endpoints import is_endpoint

    by_address: dict[str, tuple[Endpoint, list[str]]] = {}
    for part in parts:
        for endpoint in part.endpoints:
            if endpoint.type == "router" and endpoint.key is None:
                _, asked_for = by_address.setdefault(endpoint.address, (endpoint, []))
                if not is_endpoint(part.name) and not (endpoint.hub and all_of_hubs):
                    asked_for.append(part.name)
    return dict(by_address.values())


def tell_unheard(printer: Printer, answers: Sequence[Told]) -> None:
    """Name those that have not told, and what was left out. Raises TimeoutExpired where nobody has."""
    from mesh.cli.open_calls_told import count, rows_of

    unheard = [told for told in answers if told.error is not None]
    if printer.as_json:
        for told in unheard:
            printer.value({"place": told.place, "service": told.service, "error": str(told.error)})
    if len(unheard) == len(answers):
        raise _nobody([told.error for told in unheard if told.error is not None])
    for told in unheard:
        complain("mesh", str(told.error))
    listed = Counter[str]()
    for told in answers:
        listed[told.hub] += len(rows_of(told.values or {}, "calls"))
    for told in answers:
        values = told.values or {}
        rows = len(rows_of(values, "calls"))
        # What a hub leaves out its workers may have told.
        more = count(values, "total") - (max(rows, listed[told.place]) if told.is_hub else rows)
        if more > 0:
            complain("mesh", one_line(f"{told.place}: {more} more calls are open there, which are younger"))


def _nobody(errors: Sequence[MeshError]) -> MeshError:
    return TimeoutExpired("; ".join(map(str, errors)))
