"""Looks up the hosts that somebody waits for: see mesh/names/hosts.py.

In a native thread, for a name server that keeps still holds its asker for half a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from gevent import monkey

from mesh.green import process
from mesh.names.hosts import host_of, problem_of

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
            process.start_thread(self._run, (sorted(hosts),), "mesh lookup")

    def _run(self, hosts: list[str]) -> None:
        try:
            for host in hosts:
                self._tell(host, problem_of(host, getaddrinfo))
        finally:
            self._due = monotonic() + AGAIN
            self._busy = False


class Hosts:
    """What is known of the hosts of some endpoints; of each until it is found to have an address.

    tell: gets each problem that is new, in a native thread.
    """

    __slots__ = ("_look_up", "_problems", "_tell")

    def __init__(self, tell: Callable[[str], None] = lambda problem: None) -> None:
        self._tell = tell
        self._problems: dict[str, str] = {}
        self._look_up = LookUp(self._looked_up)

    def look(self, endpoints: Iterable[str]) -> None:
        """To be called now and then; returns at once."""
        self._look_up.begin(one for one in endpoints if self._problems.get(host_of(one)) != "")

    def problem(self, endpoint: str) -> str:
        """What is wrong with its host; "" where nothing is known to be."""
        return self._problems.get(host_of(endpoint), "")

    def _looked_up(self, host: str, problem: str) -> None:
        if problem and problem != self._problems.get(host):
            self._tell(problem)
        self._problems[host] = problem
