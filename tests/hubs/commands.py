"""`mesh-hub` as a process."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.commands import environment
from tests.helpers.processes import Process, Result, eventually

MESH_HUB = [sys.executable, "-m", "hubs.command"]
LINE = re.compile(r"^hub (\S+) \((\w+)\) in (.+) out (.+)$", re.MULTILINE)


class Shown(NamedTuple):
    """What the command says of a hub."""

    type: str
    in_: str
    out: str


def start(*arguments: str | Path, cwd: Path, fresh: bool = False) -> Process:
    """fresh: that of Process; for who measures memory, of which a fork has that of its parent."""
    return Process([*MESH_HUB, *arguments], cwd=cwd, env=environment(), fresh=fresh)


def mesh_hub(*arguments: str | Path, cwd: Path) -> Result:
    """Run `mesh-hub ARGUMENTS` in a folder to its end."""
    with start(*arguments, cwd=cwd) as process:
        return Result(process.wait(), process.stdout, process.stderr)


@contextmanager
def hub(text: str, folder: Path) -> Iterator[tuple[Process, Shown]]:
    """A running hub with that file, hub.yml, and what it said."""
    (folder / "hub.yml").write_text(text)
    with start("hub.yml", cwd=folder) as process:
        yield process, shown(process)["hub"]


def shown(process: Process, count: int = 1) -> dict[str, Shown]:
    """The last line about each hub, as soon as there are `count` lines."""
    lines = eventually(
        lambda: found if len(found := LINE.findall(process.stdout)) >= count or process.returncode else None,
        what=lambda: f"{count} hubs of {process.describe()}",
    )
    assert process.returncode is None, process.describe()
    return {name: Shown(*rest) for name, *rest in lines}


def reload(process: Process, text: str, folder: Path, *, says: str) -> None:
    """Write hub.yml anew and wait for what the log says of it."""
    (folder / "hub.yml").write_text(text)
    process.signal(signal.SIGHUP)
    process.wait_for(says)


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing before somebody reads the NULs in it: the end to read, and that to write."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer
