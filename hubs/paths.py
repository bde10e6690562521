"""What stands in the way of an ipc:// endpoint in the file system. Loads no libzmq."""

from __future__ import annotations

import os
import stat


def path_problem(endpoint: str) -> str:
    """Why nobody may bind there, "" where one may: libzmq removes whatever it finds at the path."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or path[:1] in ("@", "*"):
        return ""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISSOCK(mode):
        return ""
    what = "a folder" if stat.S_ISDIR(mode) else "a file"
    return f"{path!r} is {what}, not a socket: take another path or remove it"
