"""What a process tells of itself: a worker to a hub, also of what it serves, and a client to its servers."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from mesh.core.wire import VERSION
from mesh.transport import process

MAX_NAME: Final = 64
"""Characters of a host's name, and of a program's, that are told."""
MAX_NAMES: Final = 2_500
"""Bytes of the names of methods that are told: the rest of what a hub reads is for the others."""


@cache
def _release() -> str:
    # Imported late, as it takes as long as all of ZeroMQ, and a client that only calls tells no release.
    with process.importing():
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("zeromesh")  # which imports more
        except PackageNotFoundError:
            return "unknown"


def myself() -> dict[str, Any]:
    """The release, the protocol's version, host and process."""
    return {"version": _release(), "protocol": VERSION, "host": socket.gethostname(), "pid": os.getpid()}


def host_and_pid() -> tuple[str, int]:
    """Where this process runs, and its id there."""
    return socket.gethostname(), os.getpid()


def program() -> tuple[str, int, str]:
    """Host and id of this process, and the name of the program that was started in it, "" for none."""
    path = (sys.argv or [""])[0]
    folder, name = os.path.split(path)
    if name == "__main__.py":
        name = os.path.basename(folder)  # as `python -m PACKAGE` has it
    host, pid = host_and_pid()
    return host[:MAX_NAME], pid, name[:MAX_NAME].encode("utf-8", "replace").decode()


def serves(methods: Iterable[str]) -> dict[str, Any]:
    """The names of all methods, by which a hub knows that there is none of another name; nothing where they
    are too much to tell, or one can't travel."""
    names = list(methods)
    try:
        size = sum(len(name.encode()) + 3 for name in names)
    except UnicodeEncodeError:
        return {}
    return {"methods": names} if size <= MAX_NAMES else {}
