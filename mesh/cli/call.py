"""The `mesh call` command: arguments in, the result or the stream out.

Owns the reading of ARGs and `--kw`, and how a stream is printed and ended.
"""

from __future__ import annotations

import re
from typing import Any

import click

from mesh.cli.client import open_client
from mesh.cli.describe import describe
from mesh.cli.inspection import list_methods
from mesh.cli.options import debug_option, seconds_option, service_argument, services_option
from mesh.cli.output import Printer, from_json
from mesh.errors import RemoteError

_NEGATIVE = re.compile(r"-\.?\d")


class CallCommand(click.Command):
    """Lets negative numbers pass as ARGs, and still refuses an option that does not exist."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        after_dashes = len(args) - args.index("--") - 1 if "--" in args else 0
        rest = super().parse_args(ctx, list(args))
        given = [ctx.params.get("service"), ctx.params.get("method"), *(ctx.params.get("args") or ())]
        texts = [text for text in given if text is not None]
        for text in texts[: len(texts) - after_dashes]:
            if text.startswith("-") and text != "-" and not _NEGATIVE.match(text):
                raise self._no_such_option(ctx, text.partition("=")[0])
        return rest

    def _no_such_option(self, ctx: click.Context, name: str) -> click.UsageError:
        from difflib import get_close_matches

        options = [opt for param in self.params for opt in param.opts if opt.startswith("--")]
        near = get_close_matches(name, options, n=1)
        hint = f"did you mean {near[0]}?" if near else "an ARG that begins with - goes after --"
        return click.UsageError(f"no option {name}: {hint}", ctx)


@click.command(cls=CallCommand, context_settings={"ignore_unknown_options": True})
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
@click.option(
    "--retries", type=click.IntRange(min=0), metavar="N", help="How often to try again, with --idempotent."
)
@click.option("--idempotent", is_flag=True, help="The call may be sent twice; so it is after a lost server.")
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
    services_file: str | None,
) -> None:
    """Call METHOD of SERVICE with ARGs and print what comes back; without METHOD, list the methods.

    SERVICE is a name of the registry or an endpoint such as tcp://127.0.0.1:4242. ARGs are strings;
    with -j they are JSON, as in: mesh call users add -j '"Ann"' --kw admin=true

    A stream prints item by item as it comes, with -j one JSON value a line. None prints nothing,
    bytes go to a pipe as they are.
    """
    values = [_value(text, as_json, f"argument {n}") for n, text in enumerate(args, start=1)]
    named = _keywords(keywords, as_json)
    if method is None and named:
        raise click.UsageError("--kw needs a METHOD to go to", ctx)
    printer = Printer(as_json)
    with open_client(service, services_file, timeout=timeout, heartbeat=heartbeat) as client:
        if method is None:
            list_methods(printer, service, describe(client))
            return
        options: dict[str, Any] = {"idempotent": True} if idempotent else {}
        if retries is not None:
            options["retries"] = retries
        ctx.obj.subject = f"{service}: {method} raised"
        _call(printer, client.with_options(**options) if options else client, method, values, named)


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


def _value(text: str, as_json: bool, what: str) -> Any:
    if not as_json:
        return _utf8(text, what)
    try:
        return from_json(text)
    except ValueError as error:
        raise click.UsageError(
            f"{what} is not JSON: {text} ({error}); a string needs quotes: '\"{text}\"', or leave out -j"
        ) from None


def _utf8(text: str, what: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise click.UsageError(
            f'{what} is not UTF-8 text; bytes go as -j \'{{"$bytes": "BASE64"}}\''
        ) from None
    return text


def _keywords(given: tuple[str, ...], as_json: bool) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--kw {text!r} is not of the form NAME=VALUE")
        if name in keywords:
            raise click.UsageError(f"--kw {name} is given twice")
        keywords[name] = _value(value, as_json, f"--kw {name}")
    return keywords
