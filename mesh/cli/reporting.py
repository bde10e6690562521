"""How a command ends: its exit code, and the one line on standard error that says why.

Owns the exit codes, Ctrl-C, the closed pipe and `--debug`. It must not know any one command.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import click

from mesh.cli.lines import takes_more
from mesh.cli.streams import OutputError, discard_output, prepare
from mesh.errors import MeshError, MethodNotFound, RemoteError
from mesh.transport import descriptors

PATIENCE = 1.0
"""Seconds that whoever reads a server's lines has to make room for them."""
UNSAFE = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""What a terminal would obey, as it is shown; not tabs and the ends of lines."""
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOBODY = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # 128 + SIGPIPE: what the shell shows for any program whose reader has gone


@dataclass(slots=True)
class State:
    """What the whole command line shares; it is the `obj` of every click context.

    subject: what a remote error is about, such as "users: get raised"; it opens the error line.
    """

    debug: bool = False
    subject: str = ""


class EndedEarly(KeyboardInterrupt):
    """A signal has asked a server to end before it served; as Ctrl-C it ends also what catches errors."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name} before anything was served"


def run(command: click.Command, prog: str, args: Sequence[str]) -> int:
    """Run `command` and return its exit code; everything that goes wrong becomes one line."""
    state = State()
    prepare()
    try:
        descriptors.require(descriptors.COMMAND)
        with command.make_context(prog, list(args), obj=state) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last stop: what is left here has no other reader
        return report(error, prog, state)
    return 0


def one_line(text: str) -> str:
    """`text` with line breaks and other control characters made harmless."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def complain(prog: str, text: str) -> None:
    """Write the error line."""
    prefix = click.style(f"{prog}:", fg="red") if colourful(sys.stderr) else f"{prog}:"
    _write_error(f"{prefix} {one_line(text)}\n")


def remark(text: str) -> None:
    """Write a line on standard error that tells of no error."""
    _write_error(f"{one_line(text)}\n")


def tell_draining(number: int, line: Callable[[str], str] = "mesh: {}".format) -> None:
    """Say that a server finishes its calls. Safe in a signal handler, which interrupts anything.

    number: the signal that asked for it. line: gives the line that has this text, "" for none.
    """
    at_once = "Ctrl-C again" if number == signal.SIGINT else "SIGINT (Ctrl-C)"
    told = line(f"finishing the running calls; {at_once} stops at once")
    if not told or not takes_more(2):
        return
    try:
        os.write(2, f"{told}\n".encode())
    except OSError:
        pass


def colourful(stream: object) -> bool:
    """Whether colours belong on `stream`: a terminal that knows them, and NO_COLOR is not set."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not (os.environ.get("NO_COLOR") or dumb())


def dumb() -> bool:
    """Whether the terminal knows no escape sequences, as it says itself."""
    return os.environ.get("TERM") == "dumb"


def tell(lines: Iterable[str]) -> None:
    """Print what a server tells about itself; one whose output nobody can read serves all the same."""
    try:
        if not takes_more(1, PATIENCE):
            raise BrokenPipeError
        for line in lines:
            print(line)
        sys.stdout.flush()
    except (OutputError, BrokenPipeError) as error:
        discard_output()
        why = error if isinstance(error, OutputError) else "nobody reads standard output any more"
        complain("mesh", f"{why}; serving without it")


def report(error: BaseException, prog: str, state: State) -> int:
    """Say on standard error what ended a command; gives the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, EndedEarly):
        complain(prog, str(error))
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_FAILED
    if isinstance(error, MeshError):
        _show_traceback(error, state)
        complain(prog, _text(error, state))
        return error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.exceptions.Abort)):
        _abandon_output()
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _abandon_output()
        return EXIT_PIPE
    if isinstance(error, OutputError):
        _show_traceback(error, state)
        _abandon_output()
        complain(prog, str(error))
        return EXIT_USAGE
    if isinstance(error, click.ClickException):
        _show_traceback(error, state)
        complain(prog, _usage_text(error))
        return EXIT_USAGE
    _show_traceback(error, state)
    hint = "" if state.debug else " (unexpected: --debug shows the traceback)"
    complain(prog, f"{type(error).__name__}: {error}{hint}")
    return EXIT_FAILED


def _text(error: MeshError, state: State) -> str:
    text = str(error) or type(error).__name__
    if not isinstance(error, RemoteError) or isinstance(error, MethodNotFound):
        return text
    hint = " (--debug shows the remote traceback)" if error.traceback and not state.debug else ""
    return f"{state.subject} {text}{hint}".strip()


def _usage_text(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.UsageError) and context is not None:
        return f"{text} (see {context.command_path} --help)"
    return text


def _show_traceback(error: BaseException, state: State) -> None:
    if state.debug:
        import traceback

        # A remote traceback is part of it, as a note of the error.
        text = "".join(traceback.format_exception(error))
        _write_error(text.translate(UNSAFE) if sys.stderr.isatty() else text)


def _abandon_output() -> None:
    """Let nothing more reach standard output, not even the flush when Python ends, where that would wait for
    a reader who has stopped.
    """
    try:
        if takes_more(sys.stdout.fileno()):
            sys.stdout.flush()
            return
    except (OSError, ValueError):
        pass
    try:
        discard_output()
    except (OSError, ValueError):
        pass


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
