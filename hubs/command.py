"""The `mesh-hub` command: the hubs of one or more files in one process.

Owns what is printed, the signals and the limit of open files. What the files say is the business of
files.py, what runs is runner.py's.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

import click

from mesh.cli.entry import hold, release
from mesh.cli.options import debug_option, log_options, version_option
from mesh.cli.reporting import EXIT_INTERRUPTED, run
from mesh.errors import ConfigError

if TYPE_CHECKING:
    from hubs.hub import Endpoints
    from hubs.spec import HubSpec

LOOK_EVERY = 0.2
"""Seconds between two looks whether file descriptors run short."""
TEND_EVERY = 1.0
"""Seconds between two looks for hubs that have failed."""
SOON = 0.05
"""Seconds between two looks whether hubs that drain have done so."""
LAST_LINES = 0.5
"""Seconds that the last lines have to be read, where somebody reads."""
WAITED_FOR = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("hubs")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 wrong usage or configuration, 130 ended by Ctrl-C.",
)
@click.argument("files", nargs=-1, required=True, metavar="HUB.yml...")
@click.option("--check", is_flag=True, help="Read the files, show their hubs, and exit.")
@log_options
@version_option("mesh-hub")
@debug_option
@click.pass_context
def mesh_hub(
    ctx: click.Context, files: tuple[str, ...], check: bool, log_level: str, log_format: str
) -> None:
    """Run the hubs of the files.

    A hub has clients, publishers or pushers on its in side, and workers, subscribers or pullers on
    its out side.

    The line "hub NAME (TYPE) in ENDPOINT out ENDPOINT" on standard output tells the real endpoints
    of each; the log goes to standard error.

    SIGHUP reads the files again: what has not changed keeps its sockets, and a file with an error
    changes nothing. SIGTERM and Ctrl-C let the hubs finish what is under way, for the time that
    their `drain` says; a second Ctrl-C does not.
    """
    from hubs.files import load

    if check:
        release()
        for spec in load(files):
            _check_paths(spec)
            _check_key(spec)
            print(_line(spec, (*spec.in_.bind, *spec.in_.connect), (*spec.out.bind, *spec.out.connect)))
        return
    from hubs.log_output import Output

    output = Output(log_level, log_format)
    try:
        code = _run(partial(load, files), output.print)
    finally:
        output.end(LAST_LINES)
    ctx.exit(code)


def _run(load: Callable[[], list[HubSpec]], say: Callable[[str], None]) -> int:
    from hubs.hub_types import make_hub
    from hubs.memory import of_this_process
    from hubs.runner import Runner
    from mesh.transport import descriptors
    from mesh.transport.accepting import Accepting, describe

    def announce(spec: HubSpec, real: Endpoints) -> None:
        say(_line(spec, real.in_, real.out))

    # Modules stay for good: without them a full collection stops a hub of 1,000 workers for 3 ms, not for 15.
    gc.collect()
    gc.freeze()
    if not descriptors.raise_limit():
        log.warning("the limit of open files, and with it of connections, can't be raised")
    signals = SignalQueue()
    runner = Runner(load, make_hub, announce)
    try:
        runner.start()
    except ConfigError:
        signals.give_back()
        raise
    memory, accepting, tend_at = of_this_process(), Accepting(), 0.0
    while (number := signals.wait(SOON if runner.reloading else LOOK_EVERY)) in (None, signal.SIGHUP):
        if number:
            runner.reload()
        if accepting.look():
            log.warning("%s", describe(accepting.stopped))
        if number or runner.reloading or time.monotonic() >= tend_at:
            tend_at = min(time.monotonic() + TEND_EVERY, runner.tend())
            memory.look()
    log.info("finishing what is under way; Ctrl-C stops at once")
    runner.stop()
    return EXIT_INTERRUPTED if number == signal.SIGINT else 0


def _check_paths(spec: HubSpec) -> None:
    from mesh.transport import ipc

    for side in (spec.in_, spec.out):
        for endpoint in side.bind:
            if problem := ipc.bind_problem(endpoint):
                raise ConfigError(f"{side.at[endpoint]}: {problem}")
        if side.access and side.access.group is not None:
            try:
                ipc.group_id(side.access.group)
            except ConfigError as error:
                raise ConfigError(f"{spec.source}: hub {spec.name}: {error}") from None


def _check_key(spec: HubSpec) -> None:
    if spec.publish is not None:
        from hubs.publisher import check_keys

        check_keys([spec])


class SignalQueue:
    """The signals that the command waits for; a Ctrl-C while it stops ends the process at once."""

    def __init__(self) -> None:
        # Its put may interrupt its get, which no other queue allows.
        self._received: SimpleQueue[int] = SimpleQueue()
        self._stopping = False
        self._before = {number: signal.signal(number, self._receive) for number in WAITED_FOR}
        release()

    def give_back(self) -> None:
        """Leave them to whoever had them before: nobody waits for them any more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> int | None:
        """The next signal, None where none came in that time."""
        try:
            return self._received.get(timeout=seconds)
        except Empty:
            return None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._stopping:
            os._exit(EXIT_INTERRUPTED)
        self._stopping |= number != signal.SIGHUP
        self._received.put(number)


def _line(spec: HubSpec, in_: Iterable[str], out: Iterable[str]) -> str:
    return f"hub {spec.name} ({spec.type}) in {' '.join(in_)} out {' '.join(out)}"


def main() -> int:
    """The entry point; returns the exit code."""
    # What comes before the hubs stand waits for whoever can do what it says.
    hold()
    return run(mesh_hub, "mesh-hub", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
