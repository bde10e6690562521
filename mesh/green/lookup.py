"""Whether the hosts that calls wait for have an address at all.

libzmq looks names up by itself and tells nobody that it found nothing, so that a host which is spelt
wrong looks like one where no server runs. Here they are looked up once more, for the error's sake
alone, and in a native thread: a name server that keeps still holds its asker for half a minute.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from gevent import monkey

from mesh.green import process

AGAIN: Final = 5.0
"""Seconds from the end of one look to the next."""

# The real one: this runs outside of any loop.
getaddrinfo: Any = monkey.get_original("socket", "getaddrinfo")


class LookUp:
    """One look at a time. tell: gets a host and what is wrong with it, or "", in the native thread."""

    __slots__ = ("_busy", "_due", "_tell")

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._busy = False
        self._due = 0.0

    def begin(self, endpoints: Iterable[str]) -> None:
        """Look for the hosts of these endpoints, unless that was done just now."""
        if self._busy or monotonic() < self._due:
            return
        hosts = {host for endpoint in endpoints if (host := host_of(endpoint))}
        if hosts:
            self._busy = True
            process.start_new_thread(self._run, (sorted(hosts),))

    def _run(self, hosts: list[str]) -> None:
        try:
            for host in hosts:
                self._tell(host, _problem(host))
        finally:
            self._due = monotonic() + AGAIN
            self._busy = False


def host_of(endpoint: str) -> str:
    """The name that has to be looked up to connect; "" where there is none."""
    transport, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0]
    numeric = host.startswith("[") or not host.strip("0123456789.")
    return "" if transport != "tcp" or numeric else host


def _problem(host: str) -> str:
    try:
        # As libzmq does for an endpoint without brackets.
        getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as exc:
        return f"its host {host!r} can't be resolved ({exc.strerror})"
    except (OSError, UnicodeError) as exc:
        return f"its host {host!r} can't be resolved ({exc})"
    return ""
