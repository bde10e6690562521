"""The collector that the commands ask: where it is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mesh.core.trace_record import COLLECTOR
from mesh.errors import ConfigError, ServiceNotFound

if TYPE_CHECKING:
    from mesh import Client

PATIENCE: Final = 20.0
"""Seconds for an answer: it may search much."""

F = TypeVar("F", bound=Callable[..., Any])


def collector_option(command: F) -> F:
    """Add `--collector`."""
    return click.option(
        "--collector",
        metavar="EP",
        help="The collector, an endpoint or a service; else MESH_TRACE, else `collector` of the registry.",
    )(command)


def open_collector(where: str | None, services_file: str | None, timeout: float | None = None) -> Client:
    """A client of the collector; to be used in `with`. MESH_TRACE=off is for programs' own calls: who looks
    at what others tell does so all the same. Raises ConfigError where nothing says where it is, and
    ServiceNotFound for a name that leads nowhere.
    """
    from mesh.cli.client import open_client
    from mesh.transport.collector_names import ENV, named_collector
    from mesh.transport.recording import recording

    recording.keep_out()
    if where:
        return open_client(where, services_file, timeout=timeout or PATIENCE)
    if named := named_collector():
        try:
            return open_client(named, services_file, timeout=timeout or PATIENCE)
        except (ServiceNotFound, ConfigError) as error:
            raise type(error)(f"{ENV} is {named!r:.80}: {error}") from None
    try:
        return open_client(COLLECTOR, services_file, timeout=timeout or PATIENCE)
    except (ServiceNotFound, ConfigError) as error:
        raise ConfigError(
            f"nothing says where the collector is ({error}): give --collector EP, set MESH_TRACE=EP, or add "
            "`collector` to services.yml; `mesh collect` starts one"
        ) from None


def why_no_calls(client: Client, lately: str) -> str:
    """What to say where the collector tells of no calls. lately: the time that was asked for, as "10 s"."""
    known = len(client.status()["processes"])
    if not known:
        return "nobody has told of calls: see MESH_TRACE"
    programs = "the one program" if known == 1 else f"the {known:,} programs"
    return f"no calls in the last {lately} by {programs} that the collector knows"
