"""The collector that the commands ask: where it is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mesh.core.trace_record import COLLECTOR
from mesh.errors import ConfigError, MeshError, ServiceNotFound

if TYPE_CHECKING:
    from mesh import Client
    from mesh.names.model import Endpoint

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
    from mesh.transport.collector_names import named_collector
    from mesh.transport.recording import recording

    recording.keep_out()
    named = named_collector()
    try:
        return open_client(where or named or COLLECTOR, services_file, timeout=timeout or PATIENCE)
    except (ServiceNotFound, ConfigError) as error:
        raise _not_found(error, where, named) from None


def collector_endpoints(where: str | None, services_file: str | None) -> Sequence[Endpoint]:
    """Where all collectors are: a program answers by way of the one that it tells. Raises ServiceNotFound and
    ConfigError; may wait for DNS.
    """
    from mesh.cli.ps import endpoints_of
    from mesh.transport.collector_names import named_collector
    from mesh.transport.recording import recording

    recording.keep_out()
    named = named_collector()
    try:
        return list(endpoints_of([where or named or COLLECTOR], services_file))
    except (ServiceNotFound, ConfigError) as error:
        raise _not_found(error, where, named) from None


def _not_found(error: ServiceNotFound | ConfigError, where: str | None, named: str | None) -> MeshError:
    """The same, with who has named that collector, or how to."""
    from mesh.transport.collector_names import ENV

    if where:
        return error
    if named:
        return type(error)(f"{ENV} is {named!r:.80}: {error}")
    return ConfigError(
        f"nothing says where the collector is ({error}): give --collector EP, set {ENV}=EP, or add "
        "`collector` to services.yml; `mesh collect` starts one"
    )


@contextmanager
def client_of(endpoint: Endpoint, timeout: float) -> Iterator[Client]:
    """A client of the one collector at this endpoint. timeout: seconds for an answer."""
    from mesh.cli.endpoint_client import connections_to
    from mesh.core.call import Options
    from mesh.green.client import Client
    from mesh.transport.client_target import ClientTarget

    connections = connections_to(endpoint, {"service": COLLECTOR})
    try:
        yield Client(ClientTarget(connections, Options(timeout=timeout, retries=0)))
    finally:
        connections.close()


def why_no_calls(client: Client, lately: str) -> str:
    """What to say where the collector tells of no calls. lately: the time that was asked for, as "10 s"."""
    known = len(client.status()["processes"])
    if not known:
        return "nobody has told of calls: see MESH_TRACE"
    programs = "the one program" if known == 1 else f"the {known:,} programs"
    return f"no calls in the last {lately} by {programs} that the collector knows"
