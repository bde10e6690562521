"""The `mesh hub-status` command: what a hub tells of its services, workers and queues.

Owns the tables. The question is hub_client.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import debug_option, json_option, seconds_option, service_argument, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import complain, one_line
from mesh.cli.screen import folded, show
from mesh.errors import ConfigError, TimeoutExpired

if TYPE_CHECKING:
    from mesh.cli.hub_client import HubAnswer, HubControl
    from mesh.names.model import Endpoint

REFRESH = 1.0  # seconds between two looks of --watch
SERVICES = ("SERVICE", "WORKERS", "BUSY", "WAITING", "OLDEST", "CALLS/S", "CALLS", "ERRORS", "REFUSED")
WORKERS = ("WORKER", "SERVICE", "BUSY", "CALLS", "ERRORS", "OLDEST", "SINCE", "HEARD", "KIND")
# What a narrow terminal can do without, the first to go first.
OPTIONAL_OF_SERVICES = ("REFUSED", "CALLS", "OLDEST", "ERRORS")
OPTIONAL_OF_WORKERS = ("KIND", "OLDEST", "CALLS", "SINCE", "ERRORS")

Values = Mapping[str, Any]


@click.command("hub-status")
@service_argument
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@json_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 2.")
@services_option
@debug_option
def hub_status(
    service: str, watch: bool, as_json: bool, timeout: float | None, services_file: str | None
) -> None:
    """Show a hub's services, workers, queues and rates, asked of the hub itself.

    SERVICE is the endpoint of a hub's in side, such as tcp://127.0.0.1:1111, or a name that the registry
    reaches through hubs: then each of them is asked. Only hubs with registered workers can be.

    BUSY is the calls that workers have, of those that they take at once. OLDEST is how long the
    oldest call waits, or takes. CALLS/S is of the last five seconds. With --json there is a line
    for each hub, also one that does not answer. The exit code is 3 where none does, but for --watch,
    which waits.
    """
    import gevent

    from mesh.cli.client import quiet_interrupt
    from mesh.cli.hub_client import PATIENCE, HubControl

    quiet_interrupt()
    printer = Printer(as_json)
    hubs = [HubControl(endpoint, timeout or PATIENCE) for endpoint in hubs_of(service, services_file)]
    try:
        answers = _ask(hubs)
        errors = [answer.error for answer in answers if answer.error is not None]
        # A hub that is not there yet is waited for; what is no hub will not become one.
        waits = watch and any(isinstance(error, TimeoutExpired) for error in errors)
        failed = len(errors) == len(answers) and not waits
        if as_json or not failed:
            _show(printer, answers, watch)
        if failed:
            raise errors[0]
        while watch:
            gevent.sleep(REFRESH)
            _show(printer, _ask(hubs), watch)
    finally:
        for hub in hubs:
            hub.close()


def hubs_of(target: str, services_file: str | None) -> Sequence[Endpoint]:
    """The hubs that `target` means. Raises ConfigError for a service that is reached without one."""
    from mesh.names.catalog import Catalog
    from mesh.names.endpoints import is_endpoint
    from mesh.names.resolver import parts_of, resolve
    from mesh.transport.dns_names import DnsSource

    if is_endpoint(target):
        return resolve(target).endpoints
    sources = (Catalog(services_file), DnsSource())
    found = resolve(target, *sources)
    parts = parts_of(found, *sources)
    hubs = list(dict.fromkeys(one for part in parts for one in part.endpoints if one.hub))
    if not hubs:
        raise ConfigError(
            f"{target} is not reached through a hub ({found.source}): give the endpoint of a hub's in side"
        )
    return hubs


def _ask(hubs: Sequence[HubControl]) -> list[HubAnswer]:
    import gevent

    asked = [gevent.spawn(hub.ask) for hub in hubs]
    gevent.joinall(asked, raise_error=True)
    return [one.get() for one in asked]


def _show(printer: Printer, answers: Sequence[HubAnswer], watch: bool) -> None:
    if printer.as_json:
        for answer in answers:
            told = {"error": str(answer.error)} if answer.values is None else answer.values
            printer.value({"endpoint": answer.endpoint, **told})
        return
    lines: list[str] = []
    for answer in answers:
        if answer.error is not None and not watch:
            complain("mesh", str(answer.error))
            continue
        lines += [""] if lines else []
        lines += _hub(printer, answer)
    show(printer, lines, watch)


def _hub(printer: Printer, answer: HubAnswer) -> Iterator[str]:
    values = answer.values
    if values is None:
        yield from folded(printer, str(answer.error))
        return
    title = one_line(f"hub {values.get('name')} ({values.get('type')})")
    yield printer.paint(title, bold=True) + (" is stopping" if values.get("draining") else "")
    facts = [
        f"up {age(values.get('uptime'))}",
        f"release {values.get('version') or '-'}",
        f"pid {values.get('pid')}",
        f"{_plural(values.get('open'), 'open call')} of {_plural(values.get('clients'), 'client')}",
        *_counts("refused", values.get("refused")),
        *_counts("dropped", values.get("dropped")),
    ]
    for side in ("in", "out"):
        yield from folded(printer, one_line(f"{side} {' '.join(map(str, values.get(side) or ()))}"))
    yield from folded(printer, one_line(", ".join(facts)))
    services = sorted(values["services"], key=lambda one: str(one.get("name")))
    if services:
        yield ""
        yield from printer.table(SERVICES, list(map(_service, services)), OPTIONAL_OF_SERVICES)
    else:
        yield "no services: no worker has registered"
    if values["workers"]:
        yield ""
        rows = sorted(map(_worker, values["workers"]), key=lambda row: (row[1], row[0]))
        yield from printer.table(WORKERS, rows, OPTIONAL_OF_WORKERS)
    if values.get("unlisted"):
        yield f"… and {values['unlisted']} more workers"


def _counts(what: str, counts: Any) -> list[str]:
    """As ["refused 3 Overloaded"]."""
    return [f"{what} {number} {kind}" for kind, number in (counts or {}).items()]


def _service(one: Values) -> Sequence[str]:
    return (
        one_line(str(one.get("name"))),
        _number(one.get("workers")),
        _load(one),
        _number(one.get("waiting")),
        age(one.get("oldest_waiting")) if one.get("waiting") else "-",
        _number(one.get("rate")),
        _number(one.get("calls")),
        _number(one.get("errors")),
        _number(one.get("refused")),
    )


def _worker(one: Values) -> Sequence[str]:
    return (
        one_line(_name(one)),
        one_line(str(one.get("service"))),
        _load(one),
        _number(one.get("calls")),
        _number(one.get("errors")),
        age(one.get("oldest_call")) if one.get("busy") else "-",
        age(one.get("since")),
        age(one.get("last_heard")),
        one_line(_kind(one)),
    )


def _load(one: Values) -> str:
    return f"{_number(one.get('busy'))}/{_number(one.get('capacity'))}"


def _name(worker: Values) -> str:
    """What a person would look for it by: its address, else host and process."""
    if worker.get("address"):
        return str(worker["address"])
    parts = [str(worker[key]) for key in ("host", "pid") if worker.get(key)]
    return ":".join(parts) or "-"


def _kind(worker: Values) -> str:
    if not worker.get("mesh"):
        return f"MDP {worker.get('protocol')}"
    from mesh.core.labels import told_labels

    told = [f"{name}={value}" for name, value in told_labels(worker.get("labels"))]
    parts = ["mesh", worker.get("version"), worker.get("kind"), *told]
    return " ".join(str(part) for part in parts if part)


def _plural(number: Any, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(value: Any) -> str:
    return f"{value:g}" if type(value) is float else str(value) if type(value) is int else "-"


def age(seconds: Any) -> str:
    """A time span in two units at most, such as 0.2s, 12s, 3m05s, 5h20m or 2d07h."""
    if type(seconds) not in (int, float):
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{rest:02}s"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m"
