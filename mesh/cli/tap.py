"""The `mesh tap` command: calls as they pass, for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.collector import client_of, collector_endpoints, collector_option
from mesh.cli.options import FiniteRange, debug_option, json_option, seconds_option, services_option, whole
from mesh.cli.output import Printer
from mesh.cli.reporting import complain, one_line, remark
from mesh.cli.screen import folded
from mesh.errors import LostRemote, MeshError
from mesh.tracing.live import brief
from mesh.tracing.passing import Joined, Passed

if TYPE_CHECKING:
    from mesh import Client

LOOK = 0.2
"""Seconds between two looks for calls whose other side has not come."""
WAITING = 1_000
"""Records that wait to be shown; the collector counts what it then does not send."""
PATIENCE = 20.0
"""Seconds that the collector's last word may take."""
EARLY = 1.0
"""Seconds before its time in which a stream has ended in time."""


@click.command(epilog="Exit codes: 0 done, 2 wrong usage, 3 nobody there, 130 ended by Ctrl-C.")
@click.argument("service")
@click.argument("method", required=False)
@click.option(
    "--seconds",
    type=FiniteRange(0.1, 3_600.0),
    default=60.0,
    metavar="S",
    help="Look on for so long, up to an hour; else 60.",
)
@click.option("--limit", type=whole(1), metavar="N", help="End after N calls.")
@json_option
@collector_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 20.")
@services_option
@debug_option
def tap(
    service: str,
    method: str | None,
    seconds: float,
    limit: int | None,
    as_json: bool,
    collector: str | None,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show the recorded calls of SERVICE as they pass, or those of one METHOD, a line for each.

    A line has when it began, how long it took, of that at its server, what came of it, who called whom, and
    its trace. "?" is a side that did not tell. Calls that are not recorded are not seen: MESH_TRACE_RATE of
    the programs says which share is.
    """
    from mesh.cli.client import quiet_interrupt, stopping_with_reader

    quiet_interrupt()
    printer = Printer(as_json)
    joined = Joined(method)
    number = 0
    method_name = f".{method}" if method else ""
    with ExitStack() as stack:
        endpoints = collector_endpoints(collector, services_file)
        clients = [stack.enter_context(client_of(one, timeout or PATIENCE)) for one in endpoints]
        stack.enter_context(stopping_with_reader())
        for call in _passing(clients, joined, service, method, seconds):
            _show(printer, call)
            number += 1
            if number == limit:
                break
    if not number:
        remark(f"no recorded call of {service}{method_name} passed in {seconds:g} s")
    if joined.lost:
        remark(f"{joined.lost:,} records were too fast to be shown")


def _passing(
    clients: Sequence[Client], joined: Joined, service: str, method: str | None, seconds: float
) -> Iterator[Passed]:
    """The calls that pass in so many seconds, each when all is known of it.

    clients: of the collectors, each of which knows of the programs that tell it. Raises what has ended them
    all.
    """
    import gevent
    from gevent.queue import Queue

    records: Queue[dict[str, Any] | None] = Queue(WAITING)

    def read(client: Client) -> MeshError | None:
        # Nothing may pass for long; that the collector lives its heartbeats tell.
        patient = client.with_options(timeout=seconds + PATIENCE)
        try:
            client("_zerorpc_ping")
            began = time.monotonic()
            with patient.tap(service, method, seconds) as stream:
                for record in stream:
                    records.put(record)
            if time.monotonic() - began < seconds - EARLY:
                return LostRemote(f"the collector has ended after {time.monotonic() - began:.0f} s")
        except MeshError as error:  # gevent would print its traceback
            return error
        return None

    def look() -> None:
        """Have calls looked for whose other side has not come, and whether there is an end."""
        while True:
            gevent.sleep(LOOK)
            records.put(None)

    reading, looking = [gevent.spawn(read, client) for client in clients], gevent.spawn(look)
    try:
        while not (all(one.ready() for one in reading) and records.empty()):
            record = records.get()
            now = time.monotonic()
            if record is not None:
                yield from joined.add(record, now)
            yield from joined.due(now)
        yield from joined.due(time.monotonic(), 0.0)
        errors = [error for one in reading if (error := one.get()) is not None]
        if len(errors) == len(clients):
            raise errors[0]
        for error in errors:
            complain("mesh", str(error))
    finally:
        gevent.killall([*reading, looking], block=False)


def _show(printer: Printer, call: Passed) -> None:
    if printer.as_json:
        printer.value(call.told())
        return
    now = time.strftime("%H:%M:%S", time.localtime(call.began)) + f".{int(call.began % 1 * 1000):03}"
    took = brief(call.took) if call.took is not None else "?"
    served = f" (server {brief(call.served)})" if call.served is not None else ""
    parts = [
        now,
        one_line(f"{call.service}.{call.method or '?'}"),
        took + served,
        one_line(call.outcome),
        one_line(f"{call.caller or '?'} → {call.callee or '?'}"),
        *([one_line(f"by hub {call.hub}")] if call.hub else []),
        one_line(call.trace_id),
    ]
    for line in folded(printer, "  ".join(parts), "    "):
        printer.line(line)
