"""The `mesh dashboard` command: a web page over what the collector knows."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from mesh.cli.collector import collector_option, open_collector
from mesh.cli.options import debug_option, services_option
from mesh.cli.reporting import EXIT_INTERRUPTED, remark, tell
from mesh.core.trace_record import COLLECTOR
from mesh.errors import MeshError

if TYPE_CHECKING:
    from gevent.event import AsyncResult

    from mesh import Client

DEFAULT_BIND = "127.0.0.1:4748"
PATIENCE = 5.0
"""Seconds that the collector has to answer, before the page says that it doesn't."""
FIRST_LOOK = 2.0
"""The same for the question whether it is there at all."""


@click.command(
    epilog="Exit codes: 0 done, 2 wrong usage or configuration, or the port is in use, 130 ended by Ctrl-C."
)
@click.option("--bind", default=DEFAULT_BIND, metavar="HOST:PORT", help=f"Listen here; else {DEFAULT_BIND}.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may ask for it, beside localhost and addresses; may be given again.",
)
@collector_option
@services_option
@debug_option
@click.pass_context
def dashboard(
    ctx: click.Context, bind: str, hosts: tuple[str, ...], collector: str | None, services_file: str | None
) -> None:
    """Show rates, latencies, the call graph, open calls and traces in a browser.

    The line "dashboard on ADDRESS" on standard output tells that it is ready. It need not be started after
    the collector: where that is away, the page says so until it is back. Whoever reaches the address sees
    all that the collector knows, so it is this machine alone unless --bind says otherwise.
    """
    from mesh.tracing.dashboard.application import Application
    from mesh.tracing.dashboard.guard import Hosts
    from mesh.tracing.dashboard.server import Server, address_of, listen
    from mesh.transport.collector_names import named_collector

    host, port = address_of(bind)
    with open_collector(collector, services_file, timeout=PATIENCE) as client:
        listener, page = listen(host, port)
        name = collector or named_collector() or COLLECTOR
        application = Application(client, name, Hosts({host, *hosts}))
        server = Server(listener, application)
        ended = _ended_by_signal()
        try:
            server.start()
            tell([f"dashboard on {page}"])
            _say_if_away(client, name)
            ended.wait()
        finally:
            application.close()
            server.stop()
    ctx.exit(ended.get() or 0)


def _ended_by_signal() -> AsyncResult[int]:
    """The exit code, once a signal has come that ends the command."""
    import gevent
    from gevent.event import AsyncResult

    from mesh.cli.stopping import is_ignored

    ended: AsyncResult[int] = AsyncResult()
    for number, code in ((signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, 0), (signal.SIGHUP, 0)):
        if not is_ignored(number):
            gevent.signal_handler(number, ended.set, code)
    return ended


def _say_if_away(client: Client, name: str) -> None:
    try:
        client.with_options(timeout=FIRST_LOOK)("status")
    except MeshError as error:
        remark(f"no collector answers at {name} yet ({error}); `mesh collect` starts one, and the page waits")
