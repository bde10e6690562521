"""The workers of one service: which of them gets the next call. Pure.

The one with the most room; of those with as much, each in turn. Finding it costs the same with
one worker and with a thousand.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class Pool(Generic[W]):
    """Workers by the calls that they can still take.

    capacity of a worker: calls at once; none for one that is to get no more for now.
    """

    def __init__(self) -> None:
        self._capacity: dict[W, int] = {}
        self._busy: dict[W, int] = {}
        # Room -> the workers that have it, the one that waits longest first.
        self._by_room: dict[int, dict[W, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._capacity)

    def __iter__(self) -> Iterator[W]:
        return iter(self._capacity)

    def __contains__(self, worker: W) -> bool:
        return worker in self._capacity

    def add(self, worker: W, capacity: int) -> None:
        """A worker that takes calls from now on."""
        if capacity < 0:
            raise ValueError(f"a worker can't take {capacity} calls")
        if worker in self._capacity:
            raise ValueError(f"{worker!r} is in the pool already")
        self._capacity[worker] = capacity
        self._busy[worker] = 0
        self._enter(worker, capacity)

    def remove(self, worker: W) -> bool:
        """The worker takes no more calls; False where it is not here."""
        capacity = self._capacity.pop(worker, None)
        if capacity is None:
            return False
        self._leave(worker, capacity - self._busy.pop(worker))
        return True

    def resize(self, worker: W, capacity: int) -> None:
        """The worker takes that many from now on; what it has beyond that it keeps."""
        self._leave(worker, self._capacity[worker] - self._busy[worker])
        self._capacity[worker] = capacity
        self._enter(worker, capacity - self._busy[worker])

    def capacity(self, worker: W) -> int:
        """Calls that the worker takes at once."""
        return self._capacity[worker]

    def busy(self, worker: W) -> int:
        """Calls that the worker has now."""
        return self._busy[worker]

    def take(self) -> W | None:
        """The worker for one more call, which it has from now on; None where none has room."""
        while self._most and not self._by_room.get(self._most):
            self._most -= 1
        if not self._most:
            return None
        worker = next(iter(self._by_room[self._most]))
        self._move(worker, +1)
        return worker

    def give_back(self, worker: W) -> None:
        """One call of the worker has ended; nothing where the worker has gone."""
        if self._busy.get(worker, 0) > 0:
            self._move(worker, -1)

    def _move(self, worker: W, calls: int) -> None:
        room = self._capacity[worker] - self._busy[worker]
        self._leave(worker, room)
        self._busy[worker] += calls
        self._enter(worker, room - calls)

    def _enter(self, worker: W, room: int) -> None:
        self._by_room.setdefault(room, {})[worker] = None
        self._most = max(self._most, room)

    def _leave(self, worker: W, room: int) -> None:
        workers = self._by_room[room]
        del workers[worker]
        if not workers:
            del self._by_room[room]
