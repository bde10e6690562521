"""The frames of a traceback's text, as Python prints it.

Of what other languages print nothing is made; nor of the exceptions within a group, whose frames would seem
to have called each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_FRAMES: Final = 200
"""Of one exception; of more the first and the last."""
MOST_RAISED: Final = 20
"""Exceptions of one traceback that have led to each other; the last ones of more."""
_HEAD: Final = "Traceback (most recent call last):"
_FILE: Final = re.compile(r'\s*(?:\| +)?File "(.*)", line (\d{1,9})(?:, in (.*))?')
_LINKS: Final = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_REMOTE: Final = "The remote traceback:"
"""Below it stands what a call has raised at its server, in the traceback of whoever made that call."""
_LIBRARY: Final = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|^<frozen ")
_NAME: Final = re.compile(r"(?:\w+\.)*\w+", re.ASCII)


class Frame(NamedTuple):
    """code: the line's text, "" where it isn't known."""

    file: str
    line: int
    function: str
    code: str

    @property
    def in_library(self) -> bool:
        """Whether it is of an installed package, or of Python's own."""
        return bool(_LIBRARY.search(self.file))

    @property
    def short(self) -> str:
        """The file as it is imported, where that can be told."""
        parts = re.split(r"/(?:site|dist)-packages/|/lib(?:64)?/python[\d.]+/", self.file)
        return parts[-1]


class Raised(NamedTuple):
    """name: of the class, with its module where that is told. message: its first line. frames: the outermost
    first.
    """

    name: str
    message: str
    frames: list[Frame]


def raised_in(traceback: str) -> list[Raised]:
    """The exceptions that a traceback tells of, the one that came first at the beginning; none where there
    are no frames.
    """
    found = []
    for told in reversed(traceback.split(f"{_REMOTE}\n")):
        for part in _parts(told.splitlines()):
            frames = list(_frames(part))
            if frames:
                found.append(Raised(*_last_words(part), _cut(frames)))
    return found[-MOST_RAISED:]


def passed_on(traceback: str) -> bool:
    """Whether a call of the handler has raised it, so that another server may have told of it, too."""
    return f"{_REMOTE}\n" in traceback


def _parts(lines: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in lines:
        if line.strip() in _LINKS:
            yield part
            part = []
        else:
            part.append(line)
    yield part


def _frames(lines: list[str]) -> Iterator[Frame]:
    for number, line in enumerate(lines):
        if line.lstrip().startswith("+-+---"):
            return  # from here on those of a group
        if found := _FILE.fullmatch(line):
            after = lines[number + 1] if number + 1 < len(lines) else ""
            code = "" if _FILE.fullmatch(after) or not after.startswith((" ", "\t")) else after
            yield Frame(found[1], int(found[2]), found[3] or "", code.strip().removeprefix("| ").strip())


def _last_words(lines: list[str]) -> tuple[str, str]:
    """Name and message in the line after the frames."""
    for line in lines:
        plain = line.removeprefix("  | ")
        if plain and not plain.startswith((" ", "\t")) and not plain.lstrip("+ ").startswith(_HEAD[:9]):
            name, _, message = plain.partition(": ")
            if _NAME.fullmatch(name) and plain != _HEAD:
                return name, message
    return "", ""


def _cut(frames: list[Frame]) -> list[Frame]:
    if len(frames) <= MOST_FRAMES:
        return frames
    first = MOST_FRAMES // 4
    return frames[:first] + frames[first - MOST_FRAMES :]
