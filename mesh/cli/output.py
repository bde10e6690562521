"""Values, tables and texts on standard output, for people and for programs.

Owns what a remote value looks like as JSON, in a terminal and in a pipe, and how text fits the
terminal's width. It must not know services or calls.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import lru_cache
from typing import Any

import click

from mesh.cli.reporting import UNSAFE, colourful

BYTES_KEY = "$bytes"
_DEEPEST = 10_000
# Lines that begin so stand by themselves in a docstring.
_ITEM = ("-", "*", "•", ">>>", ":", "@", *"0123456789")


def to_json(value: Any) -> str:
    """One line of JSON: bytes become {"$bytes": BASE64}, times ISO 8601 text, keys text, NaN null."""
    with _deeply():
        return json.dumps(_jsonable(value), ensure_ascii=not shows_all())


def shows_all() -> bool:
    """Whether standard output has all characters; of those that it lacks JSON has escapes of its own."""
    encoding = str(getattr(sys.stdout, "encoding", None) or "")
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"


def from_json(text: str) -> Any:
    """The value of a JSON text; {"$bytes": BASE64} becomes bytes. Raises ValueError."""
    with _deeply():
        try:
            return json.loads(text, object_hook=_bytes_hook)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


@contextmanager
def _deeply() -> Iterator[None]:
    """Let a value be as deep as one that travels: each level takes several calls."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return {BYTES_KEY: base64.b64encode(value).decode("ascii")}
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return repr(value)


def _key(key: Any) -> Any:
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    return key if key is None or isinstance(key, (str, int, float)) else str(key)


def _bytes_hook(found: dict[str, Any]) -> Any:
    if list(found) != [BYTES_KEY]:
        return found
    try:
        return base64.b64decode(found[BYTES_KEY], validate=True)
    except (TypeError, binascii.Error, ValueError) as error:
        raise ValueError(f"{BYTES_KEY} is not base64: {error}") from None


class Printer:
    """Writes to standard output; every write is flushed, so that a reader sees items as they come.

    tty: a person reads: colours where they are wanted, layout to the terminal's width. Else: no
    escape sequences, nothing cut short, one line a value.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.tty = sys.stdout.isatty() and not as_json
        self.colour = self.tty and colourful(sys.stdout)
        size = shutil.get_terminal_size()
        self.width, self.height = max(size.columns, 20), size.lines

    def line(self, text: str = "") -> None:
        """Write one line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def paint(self, text: str, **style: Any) -> str:
        """`text` in a style of `click.style`, where colours are wanted."""
        return click.style(text, **style) if self.colour else text

    def value(self, value: Any, of_stream: bool = False) -> None:
        """Write what a call returned, or one item of a stream. A lone None writes nothing."""
        if self.as_json:
            self.line(to_json(value))
        elif isinstance(value, bytes) and not self.tty:
            sys.stdout.flush()
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.flush()
        elif isinstance(value, str):
            self.line(self.safe(value))
        elif isinstance(value, date):
            self.line(value.isoformat())
        elif value is not None or of_stream:
            self.line(self._laid_out(value))

    def safe(self, text: str) -> str:
        """`text` from elsewhere: in a terminal its control characters are shown, not obeyed."""
        return text.translate(UNSAFE) if self.tty else text

    def _laid_out(self, value: Any) -> str:
        with _deeply():
            if not self.tty:
                return repr(value)
            from pprint import pformat

            return pformat(value, width=self.width, sort_dicts=False)

    def wrapped(self, text: str, indent: str) -> None:
        """Write a text under `indent`, its paragraphs folded where the terminal is too narrow."""
        for paragraph in paragraphs(self.safe(text)):
            if not self.tty or max(columns_of(indent + line) for line in paragraph) <= self.width:
                self.line("\n".join((indent + line).rstrip() for line in paragraph))
                continue
            first = paragraph[0]
            own = indent + first[: len(first) - len(first.lstrip())]
            joined = " ".join(line.strip() for line in paragraph)
            self.line(textwrap.fill(joined, self.width, initial_indent=own, subsequent_indent=own))

    def columns(self, left: str, width: int, right: str) -> None:
        """Write two columns of a list, the second cut to the terminal's width."""
        name = cut(self.safe(left), width)
        text = cut(self.safe(right), self.width - width - 4)
        self.line(f"  {self.paint(name, fg='cyan')}{' ' * (width - columns_of(name))}  {text}".rstrip())

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        optional: Sequence[str] = (),
        colours: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The lines of a table: tab-separated in a pipe, else aligned and fitted to the width.

        optional: columns to leave out where the terminal is too narrow, the first to go first.
        colours: cells of this text get that colour.
        """
        if not self.tty:
            return ["\t".join(row) for row in (head, *rows)]
        kept = fitting_columns(head, rows, optional, self.width)
        lines = [[head[i] for i in kept], *([self.safe(row[i]) for i in kept] for row in rows)]
        widths = fit([max(map(columns_of, column)) for column in zip(*lines, strict=True)], self.width)
        top, *others = (
            [padded(cut(cell, width), width) for cell, width in zip(line, widths, strict=True)]
            for line in lines
        )
        painted = [[self._cell(cell, colours or {}) for cell in line] for line in others]
        return [
            self.paint("  ".join(top).rstrip(), bold=True),
            *("  ".join(line).rstrip() for line in painted),
        ]

    def _cell(self, cell: str, colours: Mapping[str, str]) -> str:
        colour = colours.get(cell.strip())
        return self.paint(cell, fg=colour) if colour else cell


def fitting_columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str], total: int, gap: int = 2
) -> list[int]:
    """The numbers of the columns that are shown: without as many optional ones as are too many."""
    kept = list(range(len(head)))
    spare = [head.index(name) for name in optional]
    while spare and sum(max(columns_of(row[i]) for row in (head, *rows)) + gap for i in kept) - gap > total:
        kept.remove(spare.pop(0))
    return kept


def fit(widths: Sequence[int], total: int, gap: int = 2) -> list[int]:
    """Column widths that fit into `total`: the widest give way first, none goes below 4."""
    fitted = list(widths)
    over = sum(fitted) + gap * (len(fitted) - 1) - total
    while over > 0 and max(fitted) > 4:
        fitted[fitted.index(max(fitted))] -= 1
        over -= 1
    return fitted


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with … where something is missing."""
    if columns_of(text) <= width:
        return text
    if text.isascii():
        return text[: max(width - 1, 0)] + "…"
    kept, room = "", width - 1
    for char in text:
        room -= columns_of(char)
        if room < 0:
            break
        kept += char
    return kept + "…"


def padded(text: str, width: int) -> str:
    """`text` and the blanks that it lacks of `width` columns."""
    return text + " " * (width - columns_of(text))


def columns_of(text: str) -> int:
    """The columns of a terminal that `text` takes: two for each wide character, none for an accent."""
    return len(text) if text.isascii() else sum(map(_columns, text))


@lru_cache(1_000)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # drawn on the one before, or not at all
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def paragraphs(text: str) -> list[list[str]]:
    """The lines that may be folded together: of one indentation, up to an empty line or list item."""
    found: list[list[str]] = []
    last = None
    for line in text.splitlines():
        bare = line.lstrip()
        indentation = len(line) - len(bare)
        if last is None or indentation != last or not bare or bare.startswith(_ITEM):
            found.append([])
        found[-1].append(line)
        last = indentation if bare else None
    return found


def summary(text: str) -> str:
    """What a docstring says first, on one line: up to the end of a sentence, or of the paragraph."""
    said: list[str] = []
    for line in text.strip().splitlines():
        if not line.strip():
            break
        said.append(line.strip())
        if line.rstrip().endswith((".", ":", "!", "?")):
            break
    return " ".join(said)
