"""Greenlets that call again and again, and what became of each call."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import gevent

from tests.helpers.processes import eventually

PAUSE = 0.015
"""Seconds between two calls of a caller, so that the callers leave the processor to those they call."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call: whose, when it began and ended, on the clock of time.monotonic, and how."""

    caller: int
    begun: float
    ended: float
    value: Any = None
    error: Exception | None = None


class Callers:
    """A greenlet for each of `calls` that repeats it until the end of the block, whatever comes of it."""

    def __init__(self, calls: Sequence[Callable[[], Any]]) -> None:
        self._calls = calls
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self._ended = False
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Self:
        self._greenlets = [gevent.spawn(self._repeat, *one) for one in enumerate(self._calls)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        gevent.joinall(self._greenlets, timeout=30)
        gevent.killall(self._greenlets)

    def _repeat(self, caller: int, call: Callable[[], Any]) -> None:
        while not self._ended:
            begun, value, error = time.monotonic(), None, None
            try:
                value = call()
            except Exception as exc:  # noqa: BLE001 - the test looks at all of them
                error = exc
            self.outcomes.append(Outcome(caller, begun, time.monotonic(), value, error))
            gevent.sleep(PAUSE)

    @property
    def errors(self) -> list[Outcome]:
        return [one for one in self.outcomes if one.error is not None]

    def values(self, since: float = 0.0) -> set[Any]:
        """What the calls gave that began after that moment and succeeded."""
        return {one.value for one in self.outcomes if one.begun >= since and one.error is None}

    def wait_for(self, number: int) -> None:
        """Until each of the callers has had answers to that many more calls."""
        begun = time.monotonic()

        def answered() -> bool:
            counts = Counter(one.caller for one in self.outcomes if one.begun >= begun and one.error is None)
            return len(counts) == len(self._calls) and min(counts.values()) >= number

        eventually(answered, what=lambda: f"{number} calls of each; the last: {self.outcomes[-3:]}")

    def resumed(self, since: float) -> float:
        """Seconds from that moment until the last of the callers had an answer to a call that began later."""
        first: dict[int, float] = {}
        for one in self.outcomes:
            if one.begun >= since and one.error is None:
                first.setdefault(one.caller, one.ended)
        return max(first.values()) - since
