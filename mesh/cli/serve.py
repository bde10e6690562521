"""The `mesh serve` command: TARGET behind a server. The serving itself is serving.py's."""

from __future__ import annotations

import click
from click.core import ParameterSource

from mesh.cli.options import (
    debug_option,
    drain_option,
    each_once,
    file_mode,
    labels_option,
    log_options,
    loop_option,
    mdp_option,
    seconds_option,
    service_name,
    services_option,
    size_options,
    whole,
)
from mesh.cli.reporting import complain


@click.command(
    epilog="Exit codes: 0 done, 1 calls were cut off, 2 wrong usage or configuration, 130 ended by Ctrl-C."
)
@click.argument("target")
@click.option("--bind", multiple=True, metavar="EP", help="Listen here, as on tcp://*:4242; may be repeated.")
@click.option(
    "--mode", type=file_mode, metavar="MODE", help="Who may connect to a --bind ipc://PATH, such as 0660."
)
@click.option("--group", metavar="NAME", help="The group of that path; with it --mode is 0660.")
@click.option(
    "--connect",
    multiple=True,
    callback=each_once,
    metavar="EP",
    help="Connect to a device or client that has bound; may be repeated.",
)
@click.option("--service", type=service_name, metavar="NAME", help="The service's name; else TARGET's own.")
@click.option(
    "--hub",
    multiple=True,
    callback=each_once,
    metavar="EP",
    help="Register with this hub's out side as a worker of --service; may be repeated.",
)
@mdp_option
@click.option("--pool-size", type=whole(1), metavar="N", help="Calls that run at once; else 10,000.")
@seconds_option("--heartbeat", "Seconds between heartbeats; else 5.")
@click.option(
    "--processes",
    type=whole(1),
    default=1,
    metavar="N",
    help="Serve in N processes; connections, not calls, are spread over them.",
)
@click.option(
    "--threads",
    type=whole(1),
    metavar="N",
    help="Run calls in N native threads, for code that blocks without gevent's knowledge.",
)
@loop_option
@size_options
@drain_option
@labels_option
@log_options
@services_option
@debug_option
@click.pass_context
def serve(
    ctx: click.Context,
    target: str,
    bind: tuple[str, ...],
    mode: int | None,
    group: str | None,
    connect: tuple[str, ...],
    service: str | None,
    hub: tuple[str, ...],
    mdp: str,
    pool_size: int | None,
    heartbeat: float | None,
    processes: int,
    threads: int | None,
    loop: str | None,
    max_message: int | None,
    max_elements: int | None,
    drain: float | None,
    labels: dict[str, str],
    log_level: str,
    log_format: str,
    services_file: str | None,
) -> None:
    """Serve TARGET, unmodified code: a module, a class or an object.

    TARGET is urllib.parse, myapp:Users (an object is made of a class) or myapp.users:service. The
    current folder is on the import path.

    Without --bind, --connect and --hub it listens on an address that services.yml has for --service NAME,
    else on tcp://127.0.0.1:4242. The line "serving NAME on ENDPOINT" on standard output tells the
    real endpoint; the log goes to standard error. SIGTERM, Ctrl-C and a terminal that closes let the running
    calls finish, for --drain seconds; a second Ctrl-C does not.

    The standard library is patched by gevent, so that a call that waits lets others run; with
    --threads it is not. A TARGET with coroutine methods (async def) is served by asyncio, and nothing is
    patched.
    """
    from mesh.cli.binding import choose_access, choose_binds
    from mesh.cli.serving import Plan
    from mesh.cli.serving import serve as carry_out
    from mesh.cli.stopping import DRAIN

    if not hub and ctx.get_parameter_source("mdp") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--mdp is for hubs: give --hub EP, too", ctx)
    binds = choose_binds(bind, (*connect, *hub), service, services_file)
    access = choose_access(binds, mode, group)
    if binds.note:
        complain("mesh", binds.note)
    plan = Plan(
        target=target,
        binds=binds,
        access=access,
        service=service,
        connect=connect,
        hubs=hub,
        mdp=mdp,
        pool_size=pool_size,
        heartbeat=heartbeat,
        threads=threads or 0,
        loop=loop,
        max_message=max_message,
        max_elements=max_elements,
        drain=DRAIN if drain is None else drain,
        labels=labels,
        log_level=log_level,
        log_format=log_format,
    )
    ctx.exit(carry_out(plan, processes, ctx.obj))
