"""The processes that send to a collector: when each was last heard, what it lost, and what it is asked.

A process asks for questions by a call that waits (`Collector.question`): so a process that nobody can connect
to, as a pure client, is asked all the same.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import gevent
from gevent.event import AsyncResult, Event

from mesh.core.trace_batch import About, Rate, RecordBatch

MOST: Final = 10_000
"""Processes that are remembered; who was silent for the longest goes first."""
MOST_NUMBERS: Final = 256
"""Batches of a process that are known when they come once more."""
MOST_LOSSES: Final = 100
"""Times of a process at which it threw records away that are remembered, the last ones."""
MOST_OPEN: Final = 200
"""Methods of a process whose open calls are remembered."""
MOST_QUESTIONS: Final = 100
LOOK: Final = 0.5
"""Seconds between two looks of who waits for a question at whether the collector ends."""
POLL: Final = 3.5
"""Seconds after which a process that asks for a question is told that there is none."""
REACHABLE: Final = 10.0
"""Seconds since its last poll within which a process counts as one that can be asked."""


@dataclass(slots=True)
class Process:
    """heard, polled: when it last sent or asked for a question, of the collector's monotonic clock; 0.0 where
    it never did. taken: records. dropped: those that it threw away itself.
    told_at: the time of day, by its own clock, of its last batch; 0.0 where none came. losses: since when,
    until when, and how many it threw away.
    """

    identity: bytes
    about: About
    heard: float = 0.0
    polled: float = 0.0
    taken: int = 0
    dropped: int = 0
    told_at: float = 0.0
    losses: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=MOST_LOSSES))
    numbers: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_NUMBERS))
    open: dict[tuple[int, str, str], int] = field(default_factory=dict)
    questions: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=MOST_QUESTIONS))
    asked: Event = field(default_factory=Event)

    def count_dropped(self, batch: RecordBatch) -> None:
        """Remember how many records it threw away since the batch before. Of the first one, as where the
        collector was away meanwhile: since what is in it began.
        """
        wall, shift = batch.wall, batch.wall - batch.monotonic
        since = self.told_at or min((record.began + shift for record in batch.records), default=wall)
        self.told_at = max(self.told_at, wall)
        if batch.dropped > 0:
            self.dropped += batch.dropped
            self.losses.append((min(since, wall), wall, batch.dropped))

    def dropped_within(self, began: float, ended: float) -> int:
        """How many records it may have thrown away in that time of day, by its own clock."""
        return sum(number for since, until, number in self.losses if since <= ended and until >= began)

    def told(self, now: float) -> dict[str, Any]:
        """As a value that travels."""
        about = self.about
        return {
            "process": self.identity.hex(),
            "name": about.name,
            "host": about.host,
            "pid": about.pid,
            "release": about.release,
            "heard": now - max(self.heard, self.polled),
            "records": self.taken,
            "dropped": self.dropped,
        }


class Processes:
    """All that are known, by their 16 bytes. dropped: records that they threw away. ending: set where the
    collector stops: who waits for a question is told that there is none.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Process] = OrderedDict()
        self._waiting: dict[int, tuple[bytes, AsyncResult[Any]]] = {}
        self._numbers = count(1)
        self.dropped = 0
        self.ending = False

    def __iter__(self) -> Any:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    def of(self, identity: bytes, about: About) -> Process:
        """The process of these bytes, which says that of itself."""
        process = self._known.get(identity)
        if process is None:
            process = self._known[identity] = Process(identity, about)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        else:
            process.about = about
            self._known.move_to_end(identity)
        return process

    def known(self, identity: bytes) -> Process | None:
        """None where nothing was heard of it, or not for long."""
        return self._known.get(identity)

    def count_open(self, process: Process, rates: list[Rate]) -> None:
        """Remember how many calls are open there."""
        for rate in rates:
            key = (rate.side, rate.service, rate.method)
            if not rate.open:
                process.open.pop(key, None)
            elif key in process.open or len(process.open) < MOST_OPEN:
                process.open[key] = rate.open

    # Questions

    def next_question(self, process: Process, patience: float) -> list[Any] | None:
        """[number, what, arguments] of the next question; None where there is none within so many seconds."""
        for _ in range(math.ceil(patience / LOOK)):
            if process.questions or self.ending:
                break
            process.asked.clear()
            process.asked.wait(min(patience, LOOK))
        return process.questions.popleft() if process.questions else None

    def ask(self, some: list[Process], what: str, arguments: list[Any], patience: float) -> dict[bytes, Any]:
        """The answers of those that give one within so many seconds, by process."""
        waiting = {}
        for process in some:
            number = next(self._numbers)
            result: AsyncResult[Any] = AsyncResult()
            self._waiting[number] = process.identity, result
            waiting[number] = process.identity, result
            process.questions.append([number, what, arguments])
            process.asked.set()
        gevent.wait([result for _, result in waiting.values()], timeout=patience)
        for number in waiting:
            self._waiting.pop(number, None)
        return {identity: result.get() for identity, result in waiting.values() if result.ready()}

    def answer(self, identity: bytes, number: int, value: Any) -> bool:
        """False where nobody waits for it any more."""
        asked, result = self._waiting.get(number, (b"", None))
        if result is None or asked != identity:
            return False
        result.set(value)
        return True
