"""The `mesh collect` command: the collector of traces, as a server."""

from __future__ import annotations

import gc
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

import click

from mesh.cli.options import FiniteRange, debug_option, log_options, seconds, size

if TYPE_CHECKING:
    from mesh import Server
    from mesh.tracing.collector import Collector

DEFAULT_BIND = "tcp://127.0.0.1:4747"


DRAIN = 2.0
"""Seconds that calls have to finish at the end: those that wait for something are let go of sooner."""


class Ending:
    """The server as `Stop` has it: nobody goes on waiting for a question, or looking on, once it stops."""

    def __init__(self, server: Server, collector: Collector) -> None:
        self._server = server
        self._collector = collector

    @property
    def cut_off(self) -> int:
        return self._server.cut_off

    def begin_to_stop(self, timeout: float | None) -> None:
        self._collector._end_soon()
        self._server.begin_to_stop(timeout)

    def unfinished(self) -> str:
        return self._server.unfinished()


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
    "--most", type=size, metavar="SIZE", help="Bytes that are kept, as 10GiB; else 2GiB, in memory 96MiB."
)
@click.option(
    "--rate",
    type=FiniteRange(0.0, 1.0),
    metavar="SHARE",
    help="Have all programs record this share of traces, 0 to 1; else each as MESH_TRACE_RATE says.",
)
@click.option(
    "--slow", type=seconds, metavar="S", help="Have them record calls that took longer; else a second."
)
@click.option("--sentry", metavar="DSN", help="Send errors of handlers to Sentry; else SENTRY_DSN says so.")
@click.option(
    "--otlp",
    metavar="URL",
    help="Send spans there by OTLP, as http://HOST:4318; else OTEL_EXPORTER_OTLP_ENDPOINT says so.",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics for Prometheus there.")
@log_options
@debug_option
@click.pass_context
def collect(
    ctx: click.Context,
    bind: str,
    store: str | None,
    ttl: float,
    most: int | None,
    rate: float | None,
    slow: float | None,
    sentry: str | None,
    otlp: str | None,
    metrics: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Collect the traces of all programs that have MESH_TRACE=EP in their environment, or find the service
    `collector` in their registry.

    The line "collecting on ENDPOINT into STORE" on standard output tells that it is ready; the log goes to
    standard error. What is older than --ttl goes, and the oldest where there is more than --most. A store
    that can't be written to is told of in the log, and what is lost is counted: `mesh call ENDPOINT status`.
    So is what another system does not take. What --rate and --slow say programs go by from their next
    records on, until a collector without them is there again.
    """
    from mesh.cli.serving import begin

    start = begin(log_level, log_format)
    import mesh
    from mesh.cli.collected_metrics import metrics_endpoint, serve_metrics
    from mesh.cli.loops import GEVENT, run
    from mesh.cli.reporting import tell
    from mesh.cli.stopping import Stop
    from mesh.core.trace_record import COLLECTOR
    from mesh.names.endpoints import check_endpoint
    from mesh.tracing.collector import EXPECTED, Collector
    from mesh.tracing.exports.opening import open_exports
    from mesh.tracing.store import Bounds
    from mesh.tracing.stores import memory
    from mesh.tracing.stores.opening import DEFAULT, open_store

    # What its methods refuse is counted, and told by the collector itself, not with a traceback for each.
    server_log = logging.getLogger("mesh.server")
    server_log.setLevel(max(logging.WARNING, server_log.getEffectiveLevel()))
    check_endpoint(bind, bind=True)
    kind = DEFAULT if store is None else store
    bytes_ = most or (memory.MEMORY if kind == "memory" else Bounds().bytes)
    port = None if metrics is None else metrics_endpoint(metrics)
    exports, totals = open_exports(sentry, otlp, os.environ, metrics=port is not None)
    collector = Collector(open_store(kind, Bounds(ttl, bytes_)), exports=exports, rate=rate, slow=slow)
    try:
        if port and totals:
            serve_metrics(port, partial(collector._metrics, totals))
        server = mesh.Server(collector, name=COLLECTOR, expected=EXPECTED)
        endpoint = server.bind(bind)
        stop = Stop(Ending(server, collector), DRAIN, start=start)
        tell([f"collecting on {endpoint} into {kind.rpartition('@')[2]}"])
        # Each batch makes some thousand tuples, none of them in a cycle: to look for cycles every 700 of them
        # takes an eighth of the collector's time.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        run(server, GEVENT, stop.share_wakeup)
    finally:
        collector._close()
    ctx.exit(stop.exit_code)
