"""What a worker tells a hub of the program that it is, and of what it serves."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from mesh.core.wire import VERSION

MAX_NAMES: Final = 2_500
"""Bytes of the names of methods that are told: the rest of what a hub reads is for the others."""


@cache
def _release() -> str:
    try:
        return version("zeromesh")
    except PackageNotFoundError:
        return "unknown"


def myself() -> dict[str, Any]:
    """The release, the protocol's version, host and process."""
    return {"version": _release(), "protocol": VERSION, "host": socket.gethostname(), "pid": os.getpid()}


def serves(methods: Iterable[str]) -> dict[str, Any]:
    """The names of all methods, by which a hub knows that there is none of another name; nothing where they
    are too much to tell, or one can't travel."""
    names = list(methods)
    try:
        size = sum(len(name.encode()) + 3 for name in names)
    except UnicodeEncodeError:
        return {}
    return {"methods": names} if size <= MAX_NAMES else {}
