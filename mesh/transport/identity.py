"""What a worker tells a hub of the program that it is."""

from __future__ import annotations

import os
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mesh.core.wire import VERSION


@cache
def _release() -> str:
    try:
        return version("zeromesh")
    except PackageNotFoundError:
        return "unknown"


def myself() -> dict[str, Any]:
    """The release, the protocol's version, host and process."""
    return {"version": _release(), "protocol": VERSION, "host": socket.gethostname(), "pid": os.getpid()}
