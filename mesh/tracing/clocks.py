"""How far the clocks of hosts are apart, as far as the calls of a trace tell.

A call that left its caller at t1, came in at t2, was answered at t3, and whose answer was there at t4 says of
the callee's clock that it is ahead of the caller's by no more than t2 - t1, and no less than t3 - t4: an
interval. Those of calls within 60 seconds are intersected; where nothing is left, a clock was set meanwhile,
and another interval begins. Processes of one start of one host share a clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from mesh.core.trace_batch import About

TOGETHER: Final = 60.0
"""Seconds in which a clock is taken for one that runs as the others do."""
DRIFT: Final = 5e-5
"""Seconds by which two clocks of computers come apart in one, at the most, where nobody sets them."""
SET: Final = 1e-3
"""Seconds by which a clock has to jump to be taken for one that was set."""


class Offset(NamedTuple):
    """Seconds that one clock is ahead of another: something from `low` to `high`."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        return self.low > -inf and self.high < inf

    @property
    def middle(self) -> float:
        """The best guess: in the middle, or the bound that there is; 0.0 where there is none."""
        if self.known:
            return (self.low + self.high) / 2
        if self.high < inf:
            return min(self.high, 0.0)
        return max(self.low, 0.0) if self.low > -inf else 0.0

    @property
    def doubt(self) -> float:
        """Seconds by which the guess may be wrong."""
        return (self.high - self.low) / 2

    def plus(self, other: Offset) -> Offset:
        return Offset(self.low + other.low, self.high + other.high)

    def turned(self) -> Offset:
        return Offset(-self.high, -self.low)


SAME: Final = Offset(0.0, 0.0)
UNKNOWN: Final = Offset(-inf, inf)


_NONE: Final[tuple[list[float], list[Offset]]] = ([], [])


class Bound(NamedTuple):
    """What one call says: at this time of the first clock, the second one is ahead of it by `offset`."""

    at: float
    first: int
    second: int
    offset: Offset


def clock_of(process: bytes, about: About) -> str:
    """The name of a process's clock: processes of one start of one host have the same."""
    return about.boot or process.hex()


def clock_ids(processes: Sequence[tuple[bytes, About]]) -> list[int]:
    """The number of each process's clock."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(clock_of(*process), len(numbers)) for process in processes]


class Clocks:
    """The clocks of a trace. bounds: what its calls say."""

    def __init__(self, bounds: Iterable[Bound]) -> None:
        self._steps: dict[tuple[int, int], tuple[list[float], list[Offset]]] = {}
        self._neighbours: dict[int, set[int]] = {}
        told: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
        for at, first, second, offset in bounds:
            low, high = offset
            if first > second:
                at, first, second = at + offset.middle, second, first
                low, high = -high, -low
            some = told.get((first, second))
            if some is None:
                some = told[first, second] = []
            some.append((at, low, high))
        for (first, second), some in told.items():
            steps = _intersected(some)
            # The same, as the second clock sees it.
            turned = sorted((at + offset.middle, offset.turned()) for at, offset in steps)
            for pair, their in (((first, second), steps), ((second, first), turned)):
                self._steps[pair] = [at for at, _ in their], [offset for _, offset in their]
                self._neighbours.setdefault(pair[0], set()).add(pair[1])
        self._paths: dict[tuple[int, int], list[int]] = {}

    def between(self, first: int, second: int, at: float) -> Offset:
        """How far the second clock is ahead of the first, at a time of the first one."""
        if first == second:
            return SAME
        offsets = self._steps.get((first, second), _NONE)[1]
        if len(offsets) == 1:
            return offsets[0]
        offset, moment = SAME, at
        path = self._path(first, second)
        if not path:
            return UNKNOWN
        for here, there in pairwise(path):
            step = self._step(here, there, moment)
            offset = offset.plus(step)
            moment += step.middle
        return offset

    def _step(self, first: int, second: int, at: float) -> Offset:
        times, offsets = self._steps[first, second]
        return offsets[max(bisect_right(times, at) - 1, 0)]

    def _path(self, first: int, second: int) -> list[int]:
        """The clocks from one to the other, by calls between each two; empty where there is no way."""
        known = self._paths.get((first, second))
        if known is not None:
            return known
        came: dict[int, int] = {first: first}
        waiting = deque([first])
        while waiting and second not in came:
            here = waiting.popleft()
            for there in sorted(self._neighbours.get(here, ())):
                if there not in came:
                    came[there] = here
                    waiting.append(there)
        path: list[int] = []
        if second in came:
            path = [second]
            while path[-1] != first:
                path.append(came[path[-1]])
            path.reverse()
        self._paths[first, second] = path
        return path

    @property
    def steps(self) -> int:
        """How often a clock was set, as far as can be seen."""
        return sum(_breaks(*steps) for (first, second), steps in self._steps.items() if first < second)


def _breaks(times: list[float], offsets: list[Offset]) -> int:
    """Where what follows contradicts what was before by more than clocks drift."""
    moments = pairwise(zip(times, offsets, strict=True))
    return sum(
        max(one.low, other.low) - min(one.high, other.high) > SET + DRIFT * (then - at + TOGETHER)
        for (at, one), (then, other) in moments
    )


def _intersected(told: list[tuple[float, float, float]]) -> list[tuple[float, Offset]]:
    """From when on which offset holds. told: when, and its bounds."""
    told.sort()
    steps: list[tuple[float, Offset]] = []
    since, lowest, highest = -inf, -inf, inf
    for at, low, high in told:
        if at - since < TOGETHER and low <= highest and high >= lowest:
            lowest, highest = max(low, lowest), min(high, highest)
            continue
        if since > -inf:
            steps.append((since, Offset(lowest, highest)))
        since, lowest, highest = at, low, high
    return [*steps, (since, Offset(lowest, highest))]
