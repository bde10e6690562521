"""Rules of how the calls of a service go: split between others by weight, and faults put in for tests.

Pure: chance comes in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mesh.core.rendezvous import claim
from mesh.errors import LostRemote, MeshError, RemoteError, TimeoutExpired

LONGEST_DROP: Final = 10.0
"""Seconds after which a call that was dropped ends as lost, where its caller would wait longer: as one does
whose server gives no heartbeats."""


class Split(NamedTuple):
    """parts: the services that the calls go to, each with its weight, which may be 0, but not of all."""

    parts: tuple[tuple[str, int], ...]

    def choose(self, chance: float, key: bytes | None = None) -> str:
        """The service that a call goes to. chance: a float in [0, 1). key: calls with the same one go to the
        same service, on every machine, and where weights change no more of them move than have to.
        """
        if key is not None:
            return max(self.parts, key=lambda part: claim(key, part[0], part[1]) if part[1] else 0.0)[0]
        left = chance * sum(weight for _, weight in self.parts)
        for name, weight in self.parts:
            left -= weight
            if left < 0.0:
                return name
        return next(name for name, weight in reversed(self.parts) if weight)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)


class Faults(NamedTuple):
    """What befalls calls, each in percent of them. delay: seconds that a call waits which is delayed."""

    delayed: float = 0.0
    delay: float = 0.0
    failed: float = 0.0
    dropped: float = 0.0

    def strike(self, random: Callable[[], float], method: str, timeout: float | None) -> Strike | None:
        """What befalls the next call; None for nothing. random: gives floats in [0, 1). timeout: seconds that
        its caller waits for an answer, None for ever.
        """
        if random() * 100.0 < self.dropped:
            return _dropped(method, timeout)
        pause = self.delay if random() * 100.0 < self.delayed else 0.0
        if timeout is not None and pause >= timeout:
            return Strike(timeout, _expired(method, timeout))
        # Of all calls, and so of more of those that are left.
        if random() * (100.0 - self.dropped) < self.failed:
            return Strike(pause, RemoteError("FaultForTests", f"{method!r:.80} fails, as {_AS_TOLD}"))
        return Strike(pause) if pause else None


class Strike(NamedTuple):
    """pause: seconds that the call waits before it goes on. error: what it ends with then instead."""

    pause: float
    error: MeshError | None = None


_AS_TOLD: Final = "`faults` in services.yml wants it"


def _dropped(method: str, timeout: float | None) -> Strike:
    if timeout is None or timeout > LONGEST_DROP:
        return Strike(LONGEST_DROP, LostRemote(f"{method!r:.80} was dropped, as {_AS_TOLD}"))
    return Strike(timeout, _expired(method, timeout))


def _expired(method: str, timeout: float) -> TimeoutExpired:
    return TimeoutExpired(f"no answer to {method!r:.80} after {timeout:.4g} s, as {_AS_TOLD}")
