"""The `mesh serve` command: TARGET behind a server, in this process or in several.

Owns the order of the steps, what is printed, and the signals. Loading is target.py's, endpoints
are binding.py's, the processes are processes.py's.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import debug_option, seconds_option, services_option
from mesh.cli.reporting import EXIT_INTERRUPTED, State, report, tell_draining

if TYPE_CHECKING:
    from mesh import Server
    from mesh.cli.binding import Binds
    from mesh.cli.processes import Lifeline

DRAIN = 30.0  # seconds that running calls have to finish
DRAIN_MARGIN = 5.0  # what the parent gives its children on top


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for."""

    target: str
    binds: Binds
    connect: tuple[str, ...]
    service: str | None
    pool_size: int | None
    heartbeat: float | None
    threads: int


@click.command()
@click.argument("target")
@click.option("--bind", multiple=True, metavar="EP", help="Listen here, as on tcp://*:4242; may be repeated.")
@click.option(
    "--connect",
    multiple=True,
    metavar="EP",
    help="Connect to a device or client that has bound; may be repeated.",
)
@click.option("--service", metavar="NAME", help="The service's name; else TARGET's own.")
@click.option("--hub", multiple=True, metavar="EP", help="Not in this release yet.")
@click.option("--pool-size", type=click.IntRange(min=1), metavar="N", help="Calls that run at once.")
@seconds_option("--heartbeat", "Seconds between heartbeats; else 5.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Serve in N processes; connections, not calls, are spread over them.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run calls in N native threads, for code that blocks without gevent's knowledge.",
)
@services_option
@debug_option
@click.pass_context
def serve(
    ctx: click.Context,
    target: str,
    bind: tuple[str, ...],
    connect: tuple[str, ...],
    service: str | None,
    hub: tuple[str, ...],
    pool_size: int | None,
    heartbeat: float | None,
    processes: int,
    threads: int | None,
    services_file: str | None,
) -> None:
    """Serve TARGET, unmodified code: a module, a class or an object.

    TARGET is urllib.parse, myapp:Users (an object is made of a class) or myapp.users:service. The
    current folder is on the import path.

    Without --bind and --connect it listens on an address that services.yml has for --service NAME,
    else on tcp://127.0.0.1:4242. The line "serving NAME on ENDPOINT" on standard output tells the
    real endpoint; the log goes to standard error. SIGTERM and Ctrl-C let the running calls finish,
    a second Ctrl-C does not.

    The standard library is patched by gevent, so that a call that waits lets others run; with
    --threads it is not.
    """
    from mesh.cli.binding import choose_binds

    if hub:
        raise click.UsageError("--hub: registration is not in this release yet; use --bind or --connect", ctx)
    binds = choose_binds(bind, connect, service, services_file)
    plan = Plan(target, binds, connect, service, pool_size, heartbeat, threads or 0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code = _serve_here(plan) if processes == 1 else _serve_in_processes(plan, processes, ctx.obj)
    ctx.exit(code)


def _serve_here(plan: Plan) -> int:
    server = _make_server(plan)
    endpoints = plan.binds.each(server.bind)
    _connect(server, plan)
    stop = _Stop(server, tell=True)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _announce(server.name, endpoints, plan.connect)
    server.run()
    return EXIT_INTERRUPTED if stop.received == signal.SIGINT else 0


def _serve_in_processes(plan: Plan, count: int, state: State) -> int:
    from mesh.cli.binding import listen
    from mesh.cli.processes import Supervisor

    listening = plan.binds.each(listen)

    def work(lifeline: Lifeline) -> int:
        try:
            return _serve_in_child(plan, listening, lifeline)
        except BaseException as error:  # noqa: BLE001 - a child's last stop
            return report(error, "mesh", state)

    def on_ready(name: str) -> None:
        _announce(name, [endpoint for endpoint, _ in listening], plan.connect)

    return Supervisor(count, work, on_ready, DRAIN + DRAIN_MARGIN).run()


def _serve_in_child(plan: Plan, listening: list[tuple[str, socket.socket]], lifeline: Lifeline) -> int:
    server = _make_server(plan)
    for endpoint, sock in listening:
        # libzmq closes the descriptor that it is given.
        server.bind(endpoint, fd=os.dup(sock.fileno()))
    _connect(server, plan)
    stop = _Stop(server, tell=False)
    signal.signal(signal.SIGTERM, stop)
    _stop_with_parent(lifeline, stop)
    lifeline.ready(server.name)
    server.run()
    return 0


def _make_server(plan: Plan) -> Server:
    if not plan.threads:
        from gevent import monkey

        monkey.patch_all()

    import mesh
    from mesh.cli.target import load

    target = load(plan.target)
    heartbeat: dict[str, Any] = {} if plan.heartbeat is None else {"heartbeat": plan.heartbeat}
    return mesh.Server(
        target.methods,
        name=plan.service or target.name,
        pool_size=plan.pool_size,
        threads=plan.threads,
        **heartbeat,
    )


def _connect(server: Server, plan: Plan) -> None:
    for endpoint in plan.connect:
        server.connect(endpoint)


def _announce(name: str, bound: list[str], connected: tuple[str, ...]) -> None:
    for endpoint in bound:
        print(f"serving {name} on {endpoint}")
    for endpoint in connected:
        print(f"serving {name} through {endpoint}")
    sys.stdout.flush()


class _Stop:
    """The signal handler: the first signal drains, a Ctrl-C after it ends the process at once."""

    def __init__(self, server: Server, tell: bool) -> None:
        self._server = server
        self._tell = tell
        self.received: int | None = None

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        if self.received is None:
            self.received = number
            if self._tell:
                tell_draining()
            self._drain()
        elif number == signal.SIGINT:
            os._exit(EXIT_INTERRUPTED)

    def _drain(self) -> None:
        """Begin to drain, from wherever the signal has interrupted the program."""
        import gevent

        gevent.get_hub().loop.run_callback_threadsafe(gevent.spawn, self._server.stop, DRAIN)


def _stop_with_parent(lifeline: Lifeline, stop: _Stop) -> None:
    """Drain when the parent is gone, however it went."""
    import gevent

    watcher = gevent.get_hub().loop.io(lifeline.leash, 1)

    def gone() -> None:
        watcher.stop()
        stop(signal.SIGTERM)

    watcher.start(gone)
