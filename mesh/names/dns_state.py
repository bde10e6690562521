"""Which endpoints of a name are in use, as DNS answers and fails to answer over time.

Pure: results of lookups go in with the time; what is in use, and when to look again, comes out. What it takes
for an endpoint to go is decided here, so that a name server which fails, or says in error that there is
nothing, ends no connection:

- A failure (SERVFAIL, a timeout, targets without an address) takes nothing away, however long it lasts.
- A positive answer takes away what it lacks, and the target "." all.
- "No such name" and "no such records" take all away when they are said twice, at least as far apart as the
  last answer was valid for, and 5 seconds.
- What is taken away stays as a last resort for two times that, where it still has a connection: until then
  calls go there if they can go nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from mesh.names.dns_lookup import Negative, Positive, Result, Unknown
from mesh.names.model import LAST_RESORT, Endpoint

LEAST: Final = 1.0
"""Seconds between two looks, at the least, whatever a TTL says."""
MOST: Final = 300.0
"""Seconds from an answer to the next look, at the most."""
MOST_MISSING: Final = 60.0
"""The same after an answer that there is nothing (RFC 2308 leaves it to whoever asks)."""
NO_TTL: Final = 5.0
"""Seconds for which such an answer holds that does not say for how long."""
MOST_FAILED: Final = 30.0
"""Seconds from a failure to the next look, at the most; it begins with one, and doubles."""
EARLIER: Final = 0.1
"""The share of a TTL by which the next look comes earlier, at the most, so that not all come together."""
APART: Final = 5.0
"""Seconds between the two answers by which a name is gone, at the least."""
NEVER: Final = float("inf")


@dataclass(slots=True)
class _Removed:
    """endpoint: as it was. until: when it is no last resort any more."""

    endpoint: Endpoint
    until: float


class NameState:
    """random: gives floats in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.version = 0
        """Grows with each change of `endpoints` and `missing`."""
        self.answered = False
        """Whether there was any result yet."""
        self.missing: Negative | Unknown | None = None
        """Why there are no endpoints, if that is known."""
        self.refresh_at = 0.0
        """When to look again."""
        self._random = random
        self._known: dict[str, Endpoint] = {}
        self._removed: dict[str, _Removed] = {}
        self._endpoints: tuple[Endpoint, ...] = ()
        self._ttl = LEAST
        self._negative_at: float | None = None
        self._failures = 0
        self._began = -NEVER

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is in use, the last resorts after the others."""
        return self._endpoints

    @property
    def in_use(self) -> bool:
        """Whether there are endpoints other than last resorts."""
        return bool(self._known)

    @property
    def wake_at(self) -> float:
        """When there is something to do: to look again, or to drop a last resort."""
        return min([self.refresh_at, *(one.until for one in self._removed.values())])

    def began(self, now: float) -> None:
        """A look has begun; its result is awaited."""
        self._began = now
        self.refresh_at = NEVER

    def interrupted(self) -> None:
        """The look that has begun comes to nothing: there is to be another, and not at once."""
        if self.refresh_at == NEVER:
            self.refresh_at = self._began + LEAST

    def wanted(self, now: float) -> None:
        """A connection was lost, or a call has nowhere to go: look sooner, at most once a second.

        Not where there is no such name: that holds for as long as it was said to.
        """
        if self.refresh_at != NEVER and not isinstance(self.missing, Negative):
            self.refresh_at = min(self.refresh_at, max(now, self._began + LEAST))

    def early(self, result: Positive, now: float) -> None:
        """A part of a result can be used already; the look goes on."""
        self._take(result, now)
        self._settle(now)

    def ended(self, result: Result, now: float) -> None:
        """The result of a look."""
        self.answered = True
        if isinstance(result, Positive) and self._take(result, now):
            self._failures = 0
            self._negative_at = None
            self.refresh_at = now + self._earlier(min(max(result.ttl, LEAST), MOST))
        elif isinstance(result, Negative):
            self._failures = 0
            ttl = NO_TTL if result.ttl is None else result.ttl
            self.refresh_at = now + self._earlier(min(max(ttl, LEAST), MOST_MISSING))
            self._denied(now)
        else:
            self._failures += 1
            self.refresh_at = now + self._earlier(min(2.0 ** min(self._failures - 1, 8), MOST_FAILED))
        self._settle(now, _reason(result))

    def on_timer(self, now: float) -> None:
        """Drop the last resorts whose time is over."""
        for address in [address for address, one in self._removed.items() if one.until <= now]:
            del self._removed[address]
        self._settle(now, self.missing)

    def _take(self, result: Positive, now: float) -> bool:
        """What is in use from now on; False where nothing of it can be used, which takes nothing away."""
        new: dict[str, Endpoint] = {}
        for endpoint in result.endpoints:
            before = self._known.get(endpoint.address) or self._of_removed(endpoint.address)
            if endpoint.address not in result.unresolved:
                new[endpoint.address] = endpoint
            elif before is not None:
                new[endpoint.address] = replace(endpoint, hosts=before.hosts)
        if not new and not result.none:
            return False
        for address, endpoint in self._known.items():
            if address not in new:
                self._remove(endpoint, now)
        for address in new:
            self._removed.pop(address, None)
        self._known = new
        self._ttl = min(max(result.ttl, LEAST), MOST)
        return True

    def _of_removed(self, address: str) -> Endpoint | None:
        removed = self._removed.get(address)
        return None if removed is None else removed.endpoint

    def _denied(self, now: float) -> None:
        """There is no such name, says the answer."""
        if self._negative_at is None:
            self._negative_at = now
        elif now - self._negative_at >= max(self._ttl, APART):
            for endpoint in self._known.values():
                self._remove(endpoint, now)
            self._known = {}

    def _remove(self, endpoint: Endpoint, now: float) -> None:
        self._removed[endpoint.address] = _Removed(endpoint, now + 2 * self._ttl)

    def _settle(self, now: float, why: Negative | Unknown | None = None) -> None:
        """Count a change."""
        resorts = (one.endpoint for one in self._removed.values() if one.until > now)
        last = (replace(one, priority=LAST_RESORT + one.priority) for one in resorts)
        endpoints = (*self._known.values(), *last)
        missing = None if self._known else why
        if endpoints != self._endpoints or missing != self.missing:
            self._endpoints, self.missing = endpoints, missing
            self.version += 1

    def _earlier(self, seconds: float) -> float:
        return max(seconds * (1.0 - EARLIER * self._random()), LEAST)


def _reason(result: Result) -> Negative | Unknown:
    if not isinstance(result, Positive):
        return result
    if result.none:
        return Negative(result.ttl, decided=True)
    targets = ", ".join(one.address for one in result.endpoints[:3])
    return Unknown(f"its records lead to {targets}, of which no host has an address")
