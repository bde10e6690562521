"""How a server comes to its end, stage by stage: what it waits for in each, and for how long.

Its driver asks, waits, and asks again; so the stages are those of every loop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum
from time import monotonic
from typing import Final

from mesh.core.channel import NEVER
from mesh.core.slots import Slots
from mesh.core.unfinished import Running, in_words
from mesh.transport.server_endpoint import ServerEndpoint

GRACE: Final = 0.25
"""Seconds that callers are given at the most to read the last answers, and refusals."""
MOMENT: Final = 0.002
"""Seconds between two looks; and for calls that are in libzmq's hands already, to be refused in words."""
LEAVE: Final = 1.0
"""Seconds that a hub has to take in that its worker wants no more calls."""
LONGEST: Final = 60.0
"""Seconds to the next look where something tells of a change."""


log = logging.getLogger("mesh.server")


class Stage(Enum):
    """What a server that ends waits for."""

    LEAVING = "hubs are to give no more calls"
    FINISHING = "calls are to end"
    BEING_READ = "callers are to read their answers"
    DRAINED = "nothing"


class Draining:
    """The end of one server, from now on. timeout: seconds that its calls have to end, None for no limit."""

    def __init__(self, name: str, endpoint: ServerEndpoint, slots: Slots, timeout: float | None) -> None:
        self._name = name
        self._endpoint = endpoint
        self._slots = slots
        self._timeout = timeout
        now = monotonic()
        self._give_up_at = NEVER if timeout is None else now + timeout
        self._stage = Stage.LEAVING
        self._ends = min(now + LEAVE, self._give_up_at)
        tell_waiting(log, name, "calls", endpoint.running(), timeout)
        slots.leave()
        endpoint.offer(slots.capacity)

    def step(self) -> float | None:
        """Seconds to wait before the next step, less where a handler ends meanwhile; None at the end."""
        now = monotonic()
        if self._stage is Stage.LEAVING:
            # Hubs give new calls to others before this server refuses them.
            if not self._endpoint.hubs.settled and now < self._ends:
                return MOMENT
            self._endpoint.drain()
            self._stage = Stage.FINISHING
        if self._stage is Stage.FINISHING:
            if (self._slots.running or self._endpoint.session.ready) and now < self._give_up_at:
                return min(self._give_up_at - now, LONGEST)
            if self._slots.running or self._endpoint.session.ready:
                tell_given_up(log, self._name, "calls", self._endpoint.running(), self._timeout)
            self._stage = Stage.BEING_READ
            self._ends = min(now + GRACE, max(self._give_up_at, now + MOMENT))
            return MOMENT
        if self._stage is Stage.BEING_READ and now < min(self._endpoint.read_by, self._ends):
            return MOMENT
        self._stage = Stage.DRAINED
        return None


def tell_waiting(
    log: logging.Logger, name: str, what: str, running: Sequence[Running], timeout: float | None
) -> None:
    """Say what a drain waits for, if it does."""
    if running:
        limit = "" if timeout is None else f", for at most {timeout:g} s"
        log.info("%s: waits for %d %s%s: %s", name, len(running), what, limit, in_words(running))


def tell_given_up(
    log: logging.Logger, name: str, what: str, running: Sequence[Running], timeout: float | None
) -> None:
    """Say what a drain has waited for in vain."""
    if running:
        log.warning(
            "%s: %d %s still ran after %g s and are given up: %s",
            name,
            len(running),
            what,
            timeout,
            in_words(running),
        )
