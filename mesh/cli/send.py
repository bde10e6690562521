"""The commands `mesh publish` and `mesh push`: one event, and the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mesh.cli.arguments import ArgsCommand, read_keywords, read_values
from mesh.cli.options import debug_option, seconds_option, service_argument, services_option

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 5.0  # seconds that subscribers have to come
LEAVE = 5.0  # seconds that the event has to leave this process


def _event_arguments(command: F) -> F:
    """Add SERVICE METHOD [ARG]… and what both commands know besides."""
    for add in (
        debug_option,
        services_option,
        click.option("-j", "--json", "as_json", is_flag=True, help="ARGs and --kw values are JSON."),
        click.option(
            "--kw",
            "keywords",
            multiple=True,
            metavar="NAME=VALUE",
            help="A keyword argument, which only mesh receivers get; an old zerorpc drops it.",
        ),
        click.argument("args", nargs=-1),
        click.argument("method"),
        service_argument,
    ):
        command = add(command)
    return command


def _topic(text: str) -> str:
    from mesh.core.events import topic_bytes

    try:
        topic_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


@click.command(cls=ArgsCommand, context_settings={"ignore_unknown_options": True})
@_event_arguments
@click.option(
    "--topic", type=_topic, metavar="TEXT", help="Goes before the event, for subscribers to choose by."
)
@seconds_option("--timeout", "Seconds to wait for a subscriber; else 5.")
def publish(
    service: str,
    method: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    as_json: bool,
    services_file: str | None,
    topic: str | None,
    timeout: float | None,
) -> None:
    """Publish one event METHOD with ARGs to the subscribers of SERVICE.

    SERVICE is a name of the registry or an endpoint. ARGs are strings; with -j they are JSON.

    The event is sent as soon as one subscriber for it is known, here or at the hub that SERVICE is.
    Others that come later don't get it, and nobody confirms anything. Exit code 3: there was none.
    """
    values, named = read_values(args, as_json), read_keywords(keywords, as_json)
    import mesh
    from mesh.cli.client import quiet_interrupt

    quiet_interrupt()

    try:
        publisher = mesh.Publisher(service, topic=topic, keywords=True, services=services_file)
        try:
            publisher.wait_for_subscriber(timeout or PATIENCE)
            publisher(method, *values, **named)
        finally:
            publisher.close(LEAVE)
    except TypeError as error:
        raise click.UsageError(str(error)) from error


@click.command(cls=ArgsCommand, context_settings={"ignore_unknown_options": True})
@_event_arguments
@seconds_option("--timeout", "Seconds to wait for a puller that takes it; else the registry's, or 30.")
def push(
    service: str,
    method: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    as_json: bool,
    services_file: str | None,
    timeout: float | None,
) -> None:
    """Hand one job METHOD with ARGs to one of the pullers of SERVICE.

    SERVICE is a name of the registry or an endpoint. ARGs are strings; with -j they are JSON.

    Exit code 3: no puller or hub is connected; 1: those that are take no more. Exit code 0 says
    that the job has left this host, not that it was done: nobody confirms that.
    """
    values, named = read_values(args, as_json), read_keywords(keywords, as_json)
    import mesh
    from mesh.cli.client import quiet_interrupt

    quiet_interrupt()

    options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    try:
        pusher = mesh.Pusher(service, keywords=True, services=services_file, **options)
        left = True
        try:
            pusher(method, *values, **named)
        finally:
            left = pusher.close(LEAVE)
        if not left:
            raise mesh.TimeoutExpired(f"the job had not left this host after {LEAVE:g} s")
    except TypeError as error:
        raise click.UsageError(str(error)) from error
