"""Looks why endpoints that somebody waits for can't be reached: paths of ipc, and no descriptors left.

libzmq's connect says nothing of either. In a native thread, for a path may be on a disk that keeps still.
(Of hosts without an address whoever dials them knows: see finder.py.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from mesh.transport import descriptors, ipc, process

AGAIN: Final = 5.0
"""Seconds from the end of one look to the next."""


class LookUp:
    """One look at a time. tell: gets an endpoint and what is wrong with it, or "", in any thread."""

    __slots__ = ("_busy", "_due", "_short", "_tell")

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._short: set[str] = set()
        """The endpoints of which it was told that there are no descriptors left to reach them."""
        self._busy = False
        self._due = 0.0

    def begin(self, endpoints: Iterable[str]) -> None:
        """Look at these endpoints, unless that was done just now."""
        if short := descriptors.problem():
            endpoints = set(endpoints)
            self._short |= endpoints
            for endpoint in endpoints:
                self._tell(endpoint, short)
            return
        while self._short:
            self._tell(self._short.pop(), "")
        if self._busy or monotonic() < self._due:
            return
        wanted = {one for one in endpoints if one.startswith(ipc.SCHEME)}
        if wanted:
            self._busy = True
            try:
                process.start_thread(self._run, (sorted(wanted),), "mesh lookup")
            except RuntimeError:  # the system has no thread: later, perhaps
                self._due, self._busy = monotonic() + AGAIN, False

    def _run(self, endpoints: list[str]) -> None:
        try:
            for endpoint in endpoints:
                self._tell(endpoint, ipc.connect_problem(endpoint))
        finally:
            self._due = monotonic() + AGAIN
            self._busy = False


class Obstacles:
    """What stands in the way to some endpoints; each is looked at until nothing is found to.

    tell: gets each problem that is new, in any thread; one of ipc when it is found a second time, for
    what binds a path may be about to.
    """

    __slots__ = ("_look_up", "_problems", "_tell", "_told")

    def __init__(self, tell: Callable[[str], None] = lambda problem: None) -> None:
        self._tell = tell
        self._problems: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._look_up = LookUp(self._looked_up)

    def look(self, endpoints: Iterable[str]) -> None:
        """To be called now and then; returns at once."""
        self._look_up.begin(one for one in endpoints if self._problems.get(one) != "")

    def forget(self, endpoint: str) -> None:
        """It was reached, and is no longer."""
        self._problems.pop(endpoint, None)

    def problem(self, endpoint: str) -> str:
        """What keeps it from being reached; "" where nothing is known to."""
        return self._problems.get(endpoint, "")

    def _looked_up(self, endpoint: str, problem: str) -> None:
        before, self._problems[endpoint] = self._problems.get(endpoint), problem
        stays = problem == before or not endpoint.startswith(ipc.SCHEME)
        if problem and stays and problem != self._told.get(endpoint):
            self._told[endpoint] = problem
            self._tell(problem)
