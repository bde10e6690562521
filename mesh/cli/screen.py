"""Shows lines once, or again and again in the same place of a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from mesh.cli.output import Printer
from mesh.cli.reporting import dumb

CLEAR = "\x1b[H\x1b[2J"


def folded(printer: Printer, text: str, indent: str = "") -> list[str]:
    """`text` as lines of the terminal's width, all but the first under `indent`; as it is in a pipe."""
    if not printer.tty:
        return [text]
    return textwrap.wrap(
        printer.safe(text), printer.width, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]


def show(printer: Printer, lines: Sequence[str], watch: bool) -> None:
    """Write the lines. watch: there will be others in their place; in a pipe, and where a terminal has no
    way to put them there, they are set apart.
    """
    if not printer.tty or (watch and dumb()):
        printer.line("\n".join(lines) + ("\n" if watch else ""))
        return
    if watch:
        # What is below the last line of the screen would scroll the rest away.
        height = max(printer.height - 1, 3)
        if len(lines) > height:
            lines = [*lines[: height - 1], f"… {len(lines) - height + 1} more"]
        sys.stdout.write(CLEAR)
    printer.line("\n".join(lines))
