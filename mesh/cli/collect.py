"""The `mesh collect` command: the collector of traces, as a server."""

from __future__ import annotations

import click

from mesh.cli.options import debug_option, seconds, size

DEFAULT_BIND = "tcp://127.0.0.1:4747"


@click.command(epilog="Exit codes: 0 done, 2 wrong usage or configuration, 130 ended by Ctrl-C.")
@click.option("--bind", default=DEFAULT_BIND, metavar="EP", help=f"Listen here; else {DEFAULT_BIND}.")
@click.option(
    "--store",
    metavar="STORE",
    help="A file, redis://HOST:PORT/NUMBER, or memory; else the file mesh-traces.db in the current folder.",
)
@click.option(
    "--ttl", type=seconds, default=86_400.0, metavar="S", help="Seconds that a trace is kept; else a day."
)
@click.option(
    "--most", type=size, metavar="SIZE", help="Bytes that are kept, as 10GiB; else 2GiB, in memory 128MiB."
)
@debug_option
@click.pass_context
def collect(ctx: click.Context, bind: str, store: str | None, ttl: float, most: int | None) -> None:
    """Collect the traces of all programs that have MESH_TRACE=EP in their environment, or find the service
    `collector` in their registry.

    The line "collecting on ENDPOINT into STORE" on standard output tells that it is ready; the log goes to
    standard error. What is older than --ttl goes, and the oldest where there is more than --most. A store
    that can't be written to is told of in the log, and what is lost is counted: `mesh traces --status`.
    """
    from mesh.cli.serving import begin

    start = begin()
    import mesh
    from mesh.cli.loops import GEVENT, run
    from mesh.cli.reporting import tell
    from mesh.cli.stopping import Stop
    from mesh.names.endpoints import check_endpoint
    from mesh.tracing.collector import SERVICE, Collector
    from mesh.tracing.store import Bounds
    from mesh.tracing.stores import memory
    from mesh.tracing.stores.opening import DEFAULT, open_store

    check_endpoint(bind, bind=True)
    kind = store or DEFAULT
    bytes_ = most or (memory.MEMORY if kind == "memory" else Bounds().bytes)
    collector = Collector(open_store(kind, Bounds(ttl, bytes_)))
    try:
        server = mesh.Server(collector, name=SERVICE)
        endpoint = server.bind(bind)
        stop = Stop(server, 2.0, start=start)
        tell([f"collecting on {endpoint} into {kind.rpartition('@')[2]}"])
        run(server, GEVENT, stop.share_wakeup)
    finally:
        collector._close()
    ctx.exit(stop.exit_code)
