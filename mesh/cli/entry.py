"""Where the commands begin: a signal waits from the first moment for whoever knows what it is to do.

Python's own start apart, most of a command's start is what it imports, and a Ctrl-C in the midst of that
would show a traceback. So this imports next to nothing before the signals are held back.
"""

from __future__ import annotations

import signal
import sys
from typing import Final

HELD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold() -> None:
    """Keep the signals that end a server until `release`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def release() -> None:
    """Let those come that were kept, and all later ones."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def mesh() -> int:
    """The `mesh` command; gives the exit code. All but what serves do nothing at a signal but end."""
    subcommand = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    hold()
    from mesh.cli.main import main
    from mesh.cli.reporting import EXIT_INTERRUPTED

    if subcommand not in ("serve", "collect"):
        try:
            release()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return main()


def mesh_register() -> int:
    """The `mesh-register` command; gives the exit code."""
    hold()
    from mesh.cli.register import main

    return main()
