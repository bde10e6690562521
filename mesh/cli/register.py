"""The `mesh-register` command: a worker of a service, announced to hubs.

TARGET is code, served here as `mesh serve` does, or the endpoint of a server that runs already,
which a sidecar stands beside.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.options import (
    debug_option,
    drain_option,
    each_once,
    labels_option,
    log_options,
    loop_option,
    mdp_option,
    seconds_option,
    service_name,
    size_options,
    version_option,
    whole,
)
from mesh.cli.reporting import run, tell
from mesh.errors import ConfigError

if TYPE_CHECKING:
    from mesh.cli.starting import Start


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 calls were cut off, 2 wrong usage or configuration, 130 ended by Ctrl-C.",
)
@click.argument("name", type=service_name)
@click.argument("target")
@click.option(
    "--hub",
    "hubs",
    multiple=True,
    required=True,
    callback=each_once,
    metavar="EP",
    help="The out side of a hub; may be repeated.",
)
@seconds_option("--heartbeat", "Seconds between signs of life to the hubs; else 2.5.")
@mdp_option
@click.option("--address", metavar="EP", help="Listen here, too, and let the hubs tell; for code only.")
@click.option("--pool-size", type=whole(1), metavar="N", help="Calls that run at once; else 1,000.")
@click.option("--processes", type=whole(1), metavar="N", help="Serve in N processes; for code only.")
@click.option(
    "--threads",
    type=whole(1),
    metavar="N",
    help="Run calls in N native threads, for code that blocks without gevent's knowledge; for code only.",
)
@loop_option
@size_options
@drain_option
@labels_option
@log_options
@version_option("mesh-register")
@debug_option
@click.pass_context
def mesh_register(
    ctx: click.Context,
    name: str,
    target: str,
    hubs: tuple[str, ...],
    heartbeat: float | None,
    mdp: str,
    address: str | None,
    pool_size: int | None,
    processes: int | None,
    threads: int | None,
    loop: str | None,
    max_message: int | None,
    max_elements: int | None,
    drain: float | None,
    labels: dict[str, str],
    log_level: str,
    log_format: str,
) -> None:
    """Announce a worker of NAME to hubs, and serve.

    TARGET is code as for mesh serve: urllib.parse, myapp:Users, myapp.users:service. Or it is the
    endpoint of a server that runs already, as tcp://127.0.0.1:4242, of any language that has
    zerorpc: then this command stands beside it, watches its health and carries its calls.

    It registers as soon as a hub is there, and again whenever a hub has come back. SIGTERM,
    Ctrl-C and a terminal that closes let the running calls finish, for --drain seconds; a second Ctrl-C
    does not. The log goes to standard error.
    """
    if "://" not in target:
        from mesh.cli.binding import choose_binds
        from mesh.cli.serving import Plan, serve
        from mesh.cli.stopping import DRAIN

        plan = Plan(
            target=target,
            binds=choose_binds([] if address is None else [address], hubs, name, None),
            service=name,
            hubs=hubs,
            hub_heartbeat=heartbeat,
            mdp=mdp,
            announce=address is not None,
            pool_size=pool_size,
            threads=threads or 0,
            loop=loop,
            max_message=max_message,
            max_elements=max_elements,
            drain=DRAIN if drain is None else drain,
            labels=labels,
            log_level=log_level,
            log_format=log_format,
        )
        ctx.exit(serve(plan, processes or 1, ctx.obj))
    _code_only(ctx, {"--address": address, "--processes": processes, "--threads": threads, "--loop": loop})
    from mesh.cli.serving import begin

    given = {
        "heartbeat": heartbeat,
        "mdp": mdp,
        "capacity": pool_size,
        "max_message": max_message,
        "max_elements": max_elements,
        "labels": labels,
    }
    options = {name: value for name, value in given.items() if value is not None}
    start = begin(log_level, log_format)
    ctx.exit(_stand_beside(name, target, hubs, options, drain, start))


def _code_only(ctx: click.Context, options: dict[str, object]) -> None:
    given = next((option for option, value in options.items() if value is not None), None)
    if given:
        raise click.UsageError(
            f"{given} is for code; TARGET is an endpoint, whose server runs by itself", ctx
        )


def _stand_beside(
    name: str,
    endpoint: str,
    hubs: tuple[str, ...],
    options: dict[str, Any],
    drain: float | None,
    start: Start,
) -> int:
    from mesh.cli.stopping import DRAIN, Stop
    from mesh.green.sidecar import Sidecar

    sidecar = Sidecar(name, endpoint, hubs, **options)
    stop = Stop(sidecar, DRAIN if drain is None else drain, start=start)
    tell(f"serving {name}, which is at {endpoint}, through {hub}" for hub in hubs)
    sidecar.run(signals=False)
    if sidecar.problem:
        raise ConfigError(sidecar.problem)
    return stop.exit_code


def main() -> int:
    """Run the command with the arguments of this process; gives the exit code."""
    return run(mesh_register, "mesh-register", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
