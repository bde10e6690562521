"""The `mesh ping` command: whether a service answers, outside of its pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import debug_option, json_option, seconds_option, service_argument, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import EXIT_NOBODY, complain, one_line
from mesh.errors import MeshError, TimeoutExpired

if TYPE_CHECKING:
    from mesh.cli.pinger import Pinger, Pong

PATIENCE = 5.0
"""Seconds for an answer: more than the second thread of a server needs to step in for a blocked loop."""
HEAD = ("ENDPOINT", "NAME", "MS", "RUNNING", "WAITING")


@click.command()
@service_argument
@json_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 5.")
@services_option
@debug_option
def ping(service: str, as_json: bool, timeout: float | None, services_file: str | None) -> None:
    """Ask whether SERVICE answers, which it does outside of its pool: exit code 0, else 3.

    SERVICE is a name of the registry or an endpoint such as tcp://127.0.0.1:4242. Each of its endpoints is
    asked, a hub for a worker of it; one answer is enough. RUNNING is the calls that run, of those that
    may at once, WAITING those that wait for their turn; - where an old server, or a hub for one, does not
    tell. With --json there is a line for each endpoint, also for one that does not answer.
    """
    from mesh.cli.client import quiet_interrupt
    from mesh.cli.pinger import Pinger
    from mesh.names.catalog import Catalog
    from mesh.names.endpoints import is_endpoint
    from mesh.names.resolver import parts_of, resolve
    from mesh.transport.client_target import check_takes_calls
    from mesh.transport.dns_names import DnsSource

    quiet_interrupt()
    sources = () if is_endpoint(service) else (Catalog(services_file), DnsSource())
    parts = parts_of(resolve(service, *sources), *sources)
    for part in parts:
        check_takes_calls(part)
    pingers = [Pinger(one, part.name if one.hub else None) for part in parts for one in part.endpoints]
    try:
        pongs = _ask(pingers, timeout or PATIENCE)
    finally:
        for pinger in pingers:
            pinger.close()
    _show(Printer(as_json), pongs)
    errors = [pong.error for pong in pongs if pong.error is not None]
    if len(errors) == len(pongs):
        raise _nobody(errors)
    for error in errors:
        complain("mesh", str(error))


def _ask(pingers: Sequence[Pinger], patience: float) -> list[Pong]:
    import gevent

    asked = [gevent.spawn(pinger.ask, patience) for pinger in pingers]
    gevent.joinall(asked, raise_error=True)
    return [one.get() for one in asked]


def _nobody(errors: Sequence[MeshError]) -> MeshError:
    """The error of a service of which nobody has answered."""
    if len(errors) == 1 and errors[0].exit_code == EXIT_NOBODY:
        return errors[0]
    return TimeoutExpired("; ".join(map(str, errors)))


def _show(printer: Printer, pongs: Sequence[Pong]) -> None:
    if printer.as_json:
        for pong in pongs:
            printer.value(_jsonable(pong))
        return
    rows = [_row(pong) for pong in pongs if pong.error is None]
    if rows:
        for line in printer.table(HEAD, rows):
            printer.line(line)


def _row(pong: Pong) -> Sequence[str]:
    load = pong.load
    return (
        pong.endpoint,
        one_line(pong.name) or "-",
        f"{pong.ms:.1f}",
        f"{load.running}/{load.most}" if load else "-",
        str(load.waiting) if load else "-",
    )


def _jsonable(pong: Pong) -> dict[str, Any]:
    if pong.error is not None:
        return {"endpoint": pong.endpoint, "error": str(pong.error)}
    load = pong.load
    return {
        "endpoint": pong.endpoint,
        "name": pong.name,
        "ms": pong.ms,
        "running": load and load.running,
        "most": load and load.most,
        "waiting": load and load.waiting,
    }
