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
        # Worker -> its capacity, and how much of that is left; below 0 where it has more than it may.
        self._capacities: dict[W, int] = {}
        self._rooms: dict[W, int] = {}
        # Room -> the workers that have it, the one that waits longest first.
        self._by_room: dict[int, dict[W, None]] = {}
        # No worker has more room than that.
        self._most = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[W]:
        return iter(self._rooms)

    def __contains__(self, worker: W) -> bool:
        return worker in self._rooms

    def add(self, worker: W, capacity: int) -> None:
        """A worker that takes calls from now on."""
        if capacity < 0:
            raise ValueError(f"a worker can't take {capacity} calls")
        if worker in self._rooms:
            raise ValueError(f"{worker!r} is in the pool already")
        self._capacities[worker] = capacity
        self._enter(worker, capacity)

    def remove(self, worker: W) -> bool:
        """The worker takes no more calls; False where it is not here."""
        if worker not in self._rooms:
            return False
        self._leave(worker)
        del self._capacities[worker]
        return True

    def resize(self, worker: W, capacity: int) -> None:
        """The worker takes that many from now on; what it has beyond that it keeps."""
        busy = self.busy(worker)
        self._leave(worker)
        self._capacities[worker] = capacity
        self._enter(worker, capacity - busy)

    def capacity(self, worker: W) -> int:
        """Calls that the worker takes at once."""
        return self._capacities[worker]

    def busy(self, worker: W) -> int:
        """Calls that the worker has now."""
        return self._capacities[worker] - self._rooms[worker]

    def take(self) -> W | None:
        """The worker for one more call, which it has from now on; None where none has room."""
        room, by_room = self._most, self._by_room
        while room > 0 and room not in by_room:
            room -= 1
        self._most = room
        if room <= 0:
            return None
        worker = next(iter(by_room[room]))
        self._move(worker, room, room - 1)
        return worker

    def take_from(self, worker: W) -> bool:
        """Give one more call to this worker; False where it has no room."""
        room = self._rooms[worker]
        if room <= 0:
            return False
        self._move(worker, room, room - 1)
        return True

    def give_back(self, worker: W) -> None:
        """One call of the worker has ended; nothing where the worker has gone."""
        room = self._rooms.get(worker)
        if room is not None and room < self._capacities[worker]:
            self._move(worker, room, room + 1)
            if room >= self._most:
                self._most = room + 1

    def _move(self, worker: W, room: int, to: int) -> None:
        """As _leave and _enter, without a new dict for a worker that is alone."""
        self._rooms[worker] = to
        by_room = self._by_room
        there = by_room.get(to)
        if len(workers := by_room[room]) == 1:
            del by_room[room]
            if there is None:
                by_room[to] = workers
                return
        else:
            del workers[worker]
        if there is None:
            by_room[to] = {worker: None}
        else:
            there[worker] = None

    def _enter(self, worker: W, room: int) -> None:
        self._rooms[worker] = room
        self._by_room.setdefault(room, {})[worker] = None
        self._most = max(self._most, room)

    def _leave(self, worker: W) -> None:
        room = self._rooms.pop(worker)
        workers = self._by_room[room]
        del workers[worker]
        if not workers:
            del self._by_room[room]
