"""The options and types that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mesh.transport.ipc import MODE_RULE, parse_mode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A number within bounds, which click takes "nan" for as well."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number within bounds", param, ctx)
        return number


def seconds(text: str) -> float:
    """A finite number of seconds above zero, as a click type."""
    number = _number(text)
    if not number > 0:
        raise click.BadParameter(f"{text!r} is not a number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """As seconds, or 0, which says that there is no time."""
    number = _number(text)
    if not number >= 0:
        raise click.BadParameter(f"{text!r} is not a number of seconds, 0 or more")
    return number


def _number(text: str) -> float:
    """NaN for what is no finite number."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def file_mode(text: str) -> int:
    """A click type: the permissions of a file, as chmod takes them."""
    mode = parse_mode(text)
    if mode is None:
        raise click.BadParameter(f"{text!r} is not {MODE_RULE}")
    return mode


def whole(least: int) -> Callable[[str], int]:
    """A click type: a whole number that is not below `least`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise click.BadParameter(f"{text!r} is not a whole number from {least} up")
        return number

    return convert


def size(text: str) -> int:
    """A number of bytes, as 65536 or 64MiB, as a click type."""
    from mesh.core.settings import MOST_BYTES, size_of

    number = size_of(text)
    if not 0 < number <= MOST_BYTES:
        raise click.BadParameter(f"{text!r} is no number of bytes, such as 65536 or 64MiB")
    return number


def size_options(command: F) -> F:
    """Add `--max-message` and `--max-elements`, what one message may be; None where they are not given."""
    command = click.option(
        "--max-elements",
        type=whole(1),
        metavar="N",
        help="Values in one message, each item, key and value counted; else 1,000,000.",
    )(command)
    return click.option(
        "--max-message", type=size, metavar="SIZE", help="Bytes of one message, as 64MiB; else 128MiB."
    )(command)


def seconds_option(name: str, help_text: str) -> Callable[[F], F]:
    """Add an option that takes seconds; None where it is not given."""
    return click.option(name, type=seconds, metavar="S", help=help_text)


def drain_option(command: F) -> F:
    """Add `--drain S`."""
    return click.option(
        "--drain",
        type=seconds_or_none,
        metavar="S",
        help="Seconds that running calls have to finish at the end, 0 for none; else 25.",
    )(command)


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and ctx.obj is not None:
        ctx.obj.debug = True


def debug_option(command: F) -> F:
    """Add `--debug`, on the group and on each command alike."""
    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_debug,
        help="Show tracebacks, also the remote one.",
    )(command)


def version_option(prog: str) -> Callable[[F], F]:
    """Add `--version` to the command that is called `prog`."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if not value or ctx.resilient_parsing:
            return
        from importlib import metadata

        try:
            version = metadata.version("zeromesh")
        except metadata.PackageNotFoundError:
            version = "(run from its source, not installed)"
        click.echo(f"{prog} {version}")
        ctx.exit()

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the version and exit.",
    )


def service_name(text: str) -> str:
    """The name that a server gives its service, as a click type."""
    from mesh.core.majordomo import MANAGEMENT
    from mesh.names.model import NAME_RULE, is_service_name

    if not is_service_name(text):
        raise click.BadParameter(f"{text!r:.80} is no name of a service: {NAME_RULE}")
    if text.startswith(MANAGEMENT):
        raise click.BadParameter(
            f"{text!r}: names that begin with {MANAGEMENT!r} belong to the hubs themselves"
        )
    return text


def each_once(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The callback of an option that may be repeated, but not with the same value."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise click.BadParameter(f"{value} is given twice")
    return values


def labels_option(command: F) -> F:
    """Add `--label KEY=VALUE`, which may be repeated; gives a dict."""
    return click.option(
        "--label",
        "labels",
        multiple=True,
        callback=_labels,
        metavar="KEY=VALUE",
        help="What tells it from others, as version=2 or zone=eu, which hubs tell; may be repeated.",
    )(command)


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    from mesh.core.labels import check_labels
    from mesh.errors import ConfigError

    labels: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r:.80} is not KEY=VALUE, such as version=2")
        if key in labels:
            raise click.BadParameter(f"{key!r:.80} is given twice")
        labels[key] = value
    try:
        return check_labels(labels)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS: Final = ("text", "json")


def log_options(command: F) -> F:
    """Add `--log-level` and `--log-format`, for whatever has a log."""
    command = click.option(
        "--log-format",
        type=click.Choice(LOG_FORMATS),
        default="text",
        help="Lines of text, or a JSON object a line; else text.",
    )(command)
    return click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        default="info",
        help="Leave out of the log what matters less; else info.",
    )(command)


LOOPS: Final = ("gevent", "asyncio", "uvloop")


def loop_option(command: F) -> F:
    """Add `--loop`, for whatever serves code."""
    return click.option(
        "--loop",
        type=click.Choice(LOOPS),
        help="The event loop of the calls; else asyncio where TARGET has coroutine methods, and gevent.",
    )(command)


def mdp_option(command: F) -> F:
    """Add `--mdp`, for whatever registers with hubs."""
    return click.option(
        "--mdp",
        type=click.Choice(("0.1", "0.2")),
        default="0.2",
        help="The Majordomo that the hubs speak; else 0.2. With 0.1 one call at a time and no streams.",
    )(command)


def services_option(command: F) -> F:
    """Add `--services FILE`."""
    return click.option(
        "--services",
        "services_file",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="The registry file; else MESH_SERVICES, ./services.yml, the configuration folders.",
    )(command)


def json_option(command: F) -> F:
    """Add `-j`/`--json` for output that programs parse."""
    return click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")(command)


def complete_service(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names in the registry that begin with `incomplete`."""
    from click.shell_completion import CompletionItem

    from mesh.errors import MeshError
    from mesh.names.catalog import Catalog

    try:
        names = [service.name for service in Catalog(ctx.params.get("services_file")).services()]
    except (MeshError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def service_argument(command: F) -> F:
    """Add the SERVICE argument: a name of the registry, or an endpoint."""
    return click.argument("service", shell_complete=complete_service)(command)
