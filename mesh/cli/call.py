"""The `mesh call` command: arguments in, the result or the stream out.

Owns how a stream is printed and ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from mesh.cli.arguments import ArgsCommand, read_keywords, read_values
from mesh.cli.client import open_client
from mesh.cli.describe import describe
from mesh.cli.inspection import list_methods
from mesh.cli.options import debug_option, seconds_option, service_argument, services_option, whole
from mesh.cli.output import Printer
from mesh.cli.reporting import remark
from mesh.errors import RemoteError


@click.command(cls=ArgsCommand, context_settings={"ignore_unknown_options": True})
@service_argument
@click.argument("method", required=False)
@click.argument("args", nargs=-1)
@click.option(
    "--kw", "keywords", multiple=True, metavar="NAME=VALUE", help="A keyword argument; may be repeated."
)
@click.option(
    "-j", "--json", "as_json", is_flag=True, help="ARGs and --kw values are JSON, and so is the output."
)
@seconds_option("--timeout", "Seconds to wait for an answer; else the registry's, or 30.")
@seconds_option("--heartbeat", "Seconds between heartbeats; else 5.")
@click.option("--retries", type=whole(0), metavar="N", help="Further attempts, if surely nothing was done.")
@click.option("--idempotent", is_flag=True, help="The call may be sent twice; so it is after a lost server.")
@click.option("--trace", is_flag=True, help="Begin a trace; standard error says its id.")
@click.option("--key", metavar="KEY", help="Through a sharded hub: calls of one KEY go to one worker.")
@services_option
@debug_option
@click.pass_context
def call(
    ctx: click.Context,
    service: str,
    method: str | None,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    as_json: bool,
    timeout: float | None,
    heartbeat: float | None,
    retries: int | None,
    idempotent: bool,
    trace: bool,
    key: str | None,
    services_file: str | None,
) -> None:
    """Call METHOD of SERVICE with ARGs and print what comes back; without METHOD, list the methods.

    SERVICE is a name of the registry or an endpoint such as tcp://127.0.0.1:4242. ARGs are strings;
    with -j they are JSON, as in: mesh call users add -j '"Ann"' --kw admin=true

    A stream prints item by item as it comes, with -j one JSON value a line. None prints nothing,
    bytes go to a pipe as they are.
    """
    values = read_values(args, as_json)
    named = read_keywords(keywords, as_json)
    if method is None:
        given = {
            "--kw": bool(named),
            "--retries": retries is not None,
            "--idempotent": idempotent,
            "--trace": trace,
            "--key": key is not None,
        }
        for option in filter(given.get, given):
            raise click.UsageError(f"{option} needs a METHOD to call", ctx)
    printer = Printer(as_json)
    with open_client(service, services_file, timeout=timeout, heartbeat=heartbeat) as client:
        if method is None:
            list_methods(printer, service, describe(client))
            return
        options: dict[str, Any] = {"idempotent": True} if idempotent else {}
        if retries is not None:
            options["retries"] = retries
        if key is not None:
            options["key"] = key
        ctx.obj.subject = f"{service}: {method} raised"
        target = client.with_options(**options) if options else client
        with _traced() if trace else nullcontext():
            _call(printer, target, method, values, named)


@contextmanager
def _traced() -> Iterator[None]:
    from mesh import trace

    with trace() as span:
        remark(f"TraceID: {span.trace_id}")
        yield


def _call(printer: Printer, client: Any, method: str, args: list[Any], keywords: dict[str, Any]) -> None:
    from mesh.cli.client import stopping_with_reader
    from mesh.green.stream import Stream, ThreadStream

    try:
        result = client(method, *args, **keywords)
    except RemoteError:
        raise
    except TypeError as error:
        # What can't travel, or a server that takes no keyword arguments.
        raise click.UsageError(str(error)) from error
    if not isinstance(result, (Stream, ThreadStream)):
        printer.value(result)
        return
    # Left on the way out of any kind, so that the server's generator ends too.
    with result, stopping_with_reader():
        for item in result:
            printer.value(item, of_stream=True)
