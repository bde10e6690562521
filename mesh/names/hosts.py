"""Whether the host of an endpoint has an address at all.

libzmq looks names up by itself and tells nobody that it found nothing, so that a host which is spelt
wrong looks like one where no program runs. Who waits for a connection looks them up once more, for the
sake of what is said alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any


def host_of(endpoint: str) -> str:
    """The name that has to be looked up to connect; "" where there is none."""
    transport, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0]
    numeric = host.startswith("[") or not host.strip("0123456789.")
    return "" if transport != "tcp" or numeric else host


def problem_of(host: str, getaddrinfo: Callable[..., Any] = socket.getaddrinfo) -> str:
    """Why the host can't be reached by its name, "" where it can. A name server may take half a minute."""
    try:
        # As libzmq does for an endpoint without brackets.
        getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as exc:
        return f"its host {host!r} can't be resolved ({exc.strerror})"
    except (OSError, UnicodeError) as exc:
        return f"its host {host!r} can't be resolved ({exc})"
    return ""
