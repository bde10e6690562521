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
        # Worker -> its capacity, and how much of that is busy.
        self._seats: dict[W, list[int]] = {}
        # Room -> the workers that have it, the one that waits longest first.
        self._by_room: dict[int, dict[W, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[W]:
        return iter(self._seats)

    def __contains__(self, worker: W) -> bool:
        return worker in self._seats

    def add(self, worker: W, capacity: int) -> None:
        """A worker that takes calls from now on."""
        if capacity < 0:
            raise ValueError(f"a worker can't take {capacity} calls")
        if worker in self._seats:
            raise ValueError(f"{worker!r} is in the pool already")
        self._seats[worker] = [capacity, 0]
        self._enter(worker, capacity)

    def remove(self, worker: W) -> bool:
        """The worker takes no more calls; False where it is not here."""
        seats = self._seats.pop(worker, None)
        if seats is None:
            return False
        self._leave(worker, seats[0] - seats[1])
        return True

    def resize(self, worker: W, capacity: int) -> None:
        """The worker takes that many from now on; what it has beyond that it keeps."""
        seats = self._seats[worker]
        self._leave(worker, seats[0] - seats[1])
        seats[0] = capacity
        self._enter(worker, capacity - seats[1])

    def capacity(self, worker: W) -> int:
        """Calls that the worker takes at once."""
        return self._seats[worker][0]

    def busy(self, worker: W) -> int:
        """Calls that the worker has now."""
        return self._seats[worker][1]

    def take(self) -> W | None:
        """The worker for one more call, which it has from now on; None where none has room."""
        most, by_room = self._most, self._by_room
        while most > 0 and most not in by_room:
            most -= 1
        if most <= 0:
            self._most = 0
            return None
        worker = next(iter(by_room[most]))
        self._seats[worker][1] += 1
        self._move(worker, most, most - 1)
        self._most = most if most in by_room else most - 1
        return worker

    def take_from(self, worker: W) -> bool:
        """Give one more call to this worker; False where it has no room."""
        seats = self._seats[worker]
        room = seats[0] - seats[1]
        if room <= 0:
            return False
        seats[1] += 1
        self._move(worker, room, room - 1)
        return True

    def give_back(self, worker: W) -> None:
        """One call of the worker has ended; nothing where the worker has gone."""
        seats = self._seats.get(worker)
        if seats is not None and seats[1] > 0:
            room = seats[0] - seats[1]
            seats[1] -= 1
            self._move(worker, room, room + 1)
            if room >= self._most:
                self._most = room + 1

    def _move(self, worker: W, room: int, to: int) -> None:
        """As _leave and _enter, without a new dict for a worker that is alone."""
        by_room = self._by_room
        workers, there = by_room[room], by_room.get(to)
        if len(workers) == 1:
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
        workers = self._by_room.get(room)
        if workers is None:
            self._by_room[room] = {worker: None}
        else:
            workers[worker] = None
        if room > self._most:
            self._most = room

    def _leave(self, worker: W, room: int) -> None:
        workers = self._by_room[room]
        if len(workers) == 1:
            del self._by_room[room]
        else:
            del workers[worker]
