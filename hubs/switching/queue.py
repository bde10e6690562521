"""The scheduler of queue and majordomo hubs: each call goes to the worker with the most room."""

from __future__ import annotations

from collections.abc import Sequence

from hubs.switching.fair_queue import FairQueue
from hubs.switching.model import RoutedCall, Worker
from hubs.switching.pool import Pool
from hubs.switching.scheduler import Assignment


class QueueScheduler:
    """See scheduler.py. calls, size: how many may wait, and with how many bytes."""

    __slots__ = ("pool", "waiting")

    def __init__(self, calls: int, size: int) -> None:
        self.pool: Pool[Worker] = Pool()
        self.waiting: FairQueue[RoutedCall] = FairQueue(calls, size)

    def problem(self, call: RoutedCall) -> str:
        return ""  # it does not look at keys

    def submit(self, call: RoutedCall) -> Worker | None:
        return None if self.waiting.count else self.pool.take()

    def enqueue(self, call: RoutedCall) -> Sequence[RoutedCall]:
        pushed_out: list[RoutedCall] = []
        while not self.waiting.room(call.size):
            other = self.waiting.push_out(call.client, call.size)
            if other is None:
                return [*pushed_out, call]
            pushed_out.append(other)
        self.waiting.add(call)
        return pushed_out

    def freed(self, worker: Worker) -> Sequence[Assignment]:
        self.pool.give_back(worker)
        return self._give_out() if self.waiting.count else ()

    def withdraw(self, call: RoutedCall) -> bool:
        return self.waiting.remove(call)

    def expire(self, now: float) -> Sequence[RoutedCall]:
        return self.waiting.expire(now)

    def limit(self, calls: int, size: int) -> None:
        self.waiting.limit(calls, size)

    def add(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        self.pool.add(worker, capacity)
        return self._give_out()

    def resize(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        self.pool.resize(worker, capacity)
        return self._give_out()

    def remove(self, worker: Worker, orphans: Sequence[RoutedCall]) -> Sequence[Assignment]:
        self.pool.remove(worker)
        for call in orphans:
            self.waiting.add(call)
        return self._give_out()

    def _give_out(self) -> list[Assignment]:
        """What waits, to the workers that have room."""
        given: list[Assignment] = []
        while self.waiting.count and (worker := self.pool.take()) is not None:
            call = self.waiting.take()
            assert call is not None
            given.append((worker, call))
        return given
