"""The `mesh` command: the group and its table of subcommands.

Owns which subcommands exist. A subcommand's module is imported when it is used, so that
`mesh --help` needs nothing but click.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from mesh.cli.options import debug_option, version_option
from mesh.cli.reporting import EXIT_USAGE, run

# name -> module under mesh.cli, attribute, the line in `mesh --help`
COMMANDS = {
    "serve": ("mesh.cli.serve", "serve", "Expose a module, class or object."),
    "call": ("mesh.cli.call", "call", "Call a method, or list the methods."),
    "inspect": ("mesh.cli.inspection", "inspect", "Show methods, signatures and docstrings."),
    "ping": ("mesh.cli.ping", "ping", "Ask whether a service answers."),
    "ps": ("mesh.cli.ps", "ps", "Show the calls that are open now, and what they wait for."),
    "status": ("mesh.cli.status", "status", "Show what one server or hub does now."),
    "publish": ("mesh.cli.send", "publish", "Publish one event to subscribers."),
    "push": ("mesh.cli.send", "push", "Hand one job to a puller."),
    "hub-status": ("mesh.cli.hub_status", "hub_status", "Show a hub's services, workers and queues."),
    "collect": ("mesh.cli.collect", "collect", "Collect the traces of all programs."),
    "trace": ("mesh.cli.trace", "trace", "Show one trace."),
    "traces": ("mesh.cli.traces", "traces", "Search for traces."),
    "top": ("mesh.cli.top", "top", "Show rates and latencies, live."),
    "graph": ("mesh.cli.graph", "graph", "Show which service calls which."),
    "tap": ("mesh.cli.tap", "tap", "Show calls as they pass."),
    "why": ("mesh.cli.why", "why", "Show what slow or failing calls have in common."),
    "dashboard": ("mesh.cli.dashboard", "dashboard", "Show all of it in a browser."),
    "services": ("mesh.cli.services", "services", "Show every known service and its health."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is first asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the remote call failed, 2 wrong usage or configuration, 3 nobody there.",
)
@version_option("mesh")
@debug_option
@click.pass_context
def mesh(ctx: click.Context) -> None:
    """Call services by name, and serve code unmodified, over ZeroMQ."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(EXIT_USAGE)


def main() -> int:
    """The entry point; returns the exit code."""
    if "_MESH_COMPLETE" in os.environ:
        mesh.main(prog_name="mesh")
    return run(mesh, "mesh", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
