"""The scheduler of sharded hubs: calls with the same key go to the same worker.

A key belongs to one of SLOTS slots, and each slot to one worker: the one with the highest weight, a hash of
the slot and of the worker's stable name (rendezvous hashing: Thaler and Ravishankar, 1998). So all hubs that
have the same workers agree, without a word between them, and a worker that comes or goes moves its own slots
only. The slots bound what it costs when workers come and go, whatever the number of keys.

A worker that takes no calls at all, as one that drains, owns no slots until it takes some again. One that is
full keeps its slots, and their calls wait for it. Calls without a key go to the worker with the most room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

from hubs.switching.fair_queue import FairQueue, bytes_of, number_of
from hubs.switching.model import RoutedCall, Worker
from hubs.switching.pool import Pool
from hubs.switching.scheduler import Assignment
from mesh.core.call import MAX_KEY, key_bytes

SLOTS: Final = 16_384
"""As many as a Redis cluster has: with 100 workers each has some 164 of them, give or take a tenth."""
_BOUNDLESS: Final = 2**62


def slot_of(key: bytes) -> int:
    """The same on every machine."""
    return int.from_bytes(blake2b(key, digest_size=8).digest()) % SLOTS


def weight(name: str, slot: int) -> bytes:
    """How strongly a worker of that name claims a slot; the highest has it. The same on every machine."""
    return blake2b(b"%d %s" % (slot, name.encode("utf-8", "surrogatepass")), digest_size=16).digest()


class SlotOwners:
    """Which worker has which slot."""

    def __init__(self) -> None:
        # The workers of each stable name, in the order they came: all but the first have a number behind it.
        self._by_name: dict[str, list[Worker]] = {}
        # What each goes by, with that number.
        self._names: dict[Worker, str] = {}
        # The highest weight and who has it, by slot; filled as slots are asked for.
        self._owners: list[tuple[bytes, Worker] | None] = [None] * SLOTS

    def __contains__(self, worker: Worker) -> bool:
        return worker in self._names

    def owner(self, slot: int) -> Worker | None:
        """None where there is no worker."""
        best = self._owners[slot]
        if best is None:
            if not self._names:
                return None
            best = max(
                ((weight(name, slot), worker) for worker, name in self._names.items()), key=lambda one: one[0]
            )
            self._owners[slot] = best
        return best[1]

    def add(self, worker: Worker) -> None:
        """It takes those slots that it has the highest weight for, and no others move."""
        name = _name_of(worker)
        self._by_name.setdefault(name, []).append(worker)
        self._number(name)

    def remove(self, worker: Worker) -> None:
        """Its slots go to others, and no others move; but who has the same name takes its place."""
        name = _name_of(worker)
        self._by_name[name].remove(worker)
        self._give_up(worker)
        self._number(name)

    def _number(self, name: str) -> None:
        """The n-th worker of a name is called the same at every hub that has so many of it."""
        workers = self._by_name[name]
        for number, worker in enumerate(workers):
            numbered = f"{name}#{number + 1}" if number else name
            if self._names.get(worker) != numbered:
                if worker in self._names:
                    self._give_up(worker)
                self._claim(worker, numbered)
        if not workers:
            del self._by_name[name]

    def _claim(self, worker: Worker, name: str) -> None:
        self._names[worker] = name
        for slot, best in enumerate(self._owners):
            if best is not None and (mine := weight(name, slot)) > best[0]:
                self._owners[slot] = (mine, worker)

    def _give_up(self, worker: Worker) -> None:
        del self._names[worker]
        self._owners = [None if best is not None and best[1] is worker else best for best in self._owners]


def _name_of(worker: Worker) -> str:
    """One that tells nothing of itself is known by its connection, which is another at each hub."""
    return worker.stable_name or b"".join(worker.address[1]).hex()


class ShardedQueue:
    """The calls that wait: for the worker of their key, or for any. All together are bounded.

    Where there is no room, calls of the worker give way that has the most of them: one that is full or stuck
    does not take the room of the others.
    """

    def __init__(self, calls: int, size: int) -> None:
        self._most, self._most_bytes = calls, size
        # Worker -> the calls with a key of its; None -> those with a key while there is no worker.
        self.keyed: dict[Worker | None, FairQueue[RoutedCall]] = {}
        self.unkeyed: FairQueue[RoutedCall] = FairQueue(_BOUNDLESS, _BOUNDLESS)
        self.count = 0
        self.size = 0

    def _queues(self) -> list[FairQueue[RoutedCall]]:
        return [self.unkeyed, *self.keyed.values()]

    def __iter__(self) -> Iterator[RoutedCall]:
        for queue in self._queues():
            yield from queue

    def first_of_each(self) -> Iterator[RoutedCall]:
        for queue in self._queues():
            yield from queue.first_of_each()

    def room(self, size: int) -> bool:
        return self.count < self._most and (not self.count or self.size + size <= self._most_bytes)

    def limit(self, calls: int, size: int) -> None:
        self._most, self._most_bytes = calls, size

    def add(self, call: RoutedCall, owner: Worker | None) -> None:
        """owner: the worker of its key."""
        self._queue_of(call, owner).add(call)
        self.count += 1
        self.size += call.size

    def _queue_of(self, call: RoutedCall, owner: Worker | None) -> FairQueue[RoutedCall]:
        if call.key is None:
            return self.unkeyed
        queue = self.keyed.get(owner)
        if queue is None:
            queue = self.keyed[owner] = FairQueue(_BOUNDLESS, _BOUNDLESS)
        return queue

    def push_out(self, call: RoutedCall, owner: Worker | None) -> RoutedCall | None:
        """Take out one for this call, which has no room; None where that is this call itself."""
        weigh_queue: Callable[[FairQueue[RoutedCall]], int] = len
        weigh_client: Callable[[dict[int, RoutedCall]], int] = number_of
        more = 1
        if self.count < self._most:
            weigh_queue, weigh_client, more = _size_of, bytes_of, call.size
        own = self.unkeyed if call.key is None else self.keyed.get(owner)
        heaviest = max(self._queues(), key=weigh_queue)
        if heaviest is own:
            other = own.push_out_by(weigh_client, call.client, more)
        elif weigh_queue(heaviest) <= (weigh_queue(own) if own else 0) + more:
            other = None
        else:
            other = heaviest.pop_heaviest(weigh_client)
        if other is not None:
            self._freed(other)
        return other

    def take(self, worker: Worker) -> RoutedCall | None:
        """The next call for this worker: one of its keys or one without, whichever is the older."""
        keyed = self.keyed.get(worker)
        mine, other = keyed.peek() if keyed else None, self.unkeyed.peek()
        if mine is None or (other is not None and other.opened < mine.opened):
            call = self.unkeyed.take()
        else:
            assert keyed is not None
            call = keyed.take()
        if call is not None:
            self._freed(call)
        return call

    def remove(self, call: RoutedCall, owner: Worker | None) -> bool:
        queue = self.unkeyed if call.key is None else self.keyed.get(owner)
        if queue is None or not queue.remove(call):
            return False
        self._freed(call)
        return True

    def expire(self, now: float) -> list[RoutedCall]:
        late = [call for queue in self._queues() for call in queue.expire(now)]
        for call in late:
            self._freed(call)
        return late

    def reshard(self, owner_of: Callable[[RoutedCall], Worker | None]) -> None:
        """Workers have come or gone: calls wait for the worker that has their key now."""
        queues, self.keyed = self.keyed, {}
        for queue in queues.values():
            while (call := queue.take()) is not None:
                self._queue_of(call, owner_of(call)).add(call)

    def _freed(self, call: RoutedCall) -> None:
        self.count -= 1
        self.size -= call.size


def _size_of(queue: FairQueue[Any]) -> int:
    return queue.size


class ShardedScheduler:
    """See scheduler.py. calls, size: how many may wait, and with how many bytes."""

    def __init__(self, calls: int, size: int) -> None:
        self.pool: Pool[Worker] = Pool()
        self.waiting = ShardedQueue(calls, size)
        self._slots = SlotOwners()

    # Calls

    def problem(self, call: RoutedCall) -> str:
        if key_bytes(call.key) is not None:
            return ""
        return f"its key is no text, bytes or whole number of 1 to {MAX_KEY} bytes"

    def _owner(self, call: RoutedCall) -> Worker | None:
        """The worker that has the key of a call with one."""
        key = key_bytes(call.key)
        return None if key is None else self._slots.owner(slot_of(key))

    def submit(self, call: RoutedCall) -> Worker | None:
        if call.key is None:
            return None if self.waiting.unkeyed.count else self.pool.take()
        owner = self._owner(call)
        queue = self.waiting.keyed.get(owner)
        if owner is None or (queue is not None and queue.count):
            return None
        return owner if self.pool.take_from(owner) else None

    def enqueue(self, call: RoutedCall) -> Sequence[RoutedCall]:
        owner = self._owner(call)
        pushed_out: list[RoutedCall] = []
        while not self.waiting.room(call.size):
            other = self.waiting.push_out(call, owner)
            if other is None:
                return [*pushed_out, call]
            pushed_out.append(other)
        self.waiting.add(call, owner)
        return pushed_out

    def freed(self, worker: Worker) -> Sequence[Assignment]:
        self.pool.give_back(worker)
        return self._fill(worker) if self.waiting.count and worker in self.pool else ()

    def withdraw(self, call: RoutedCall) -> bool:
        return self.waiting.remove(call, self._owner(call))

    def expire(self, now: float) -> Sequence[RoutedCall]:
        return self.waiting.expire(now)

    def limit(self, calls: int, size: int) -> None:
        self.waiting.limit(calls, size)

    # Workers

    def add(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        self.pool.add(worker, capacity)
        return self._own_slots(worker, capacity)

    def resize(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        self.pool.resize(worker, capacity)
        return self._own_slots(worker, capacity)

    def remove(self, worker: Worker, orphans: Sequence[RoutedCall]) -> Sequence[Assignment]:
        self.pool.remove(worker)
        given = self._own_slots(worker, 0)
        for call in orphans:
            self.waiting.add(call, self._owner(call))
        return [*given, *self._fill_all()]

    def _own_slots(self, worker: Worker, capacity: int) -> list[Assignment]:
        """Have it own slots where it takes calls, and none where it does not."""
        if (worker in self._slots) == (capacity > 0):
            return self._fill(worker) if capacity else []
        if capacity:
            self._slots.add(worker)
        else:
            self._slots.remove(worker)
        self.waiting.reshard(self._owner)
        return self._fill_all()

    def _fill(self, worker: Worker) -> list[Assignment]:
        """What waits for this worker, as far as it has room."""
        given: list[Assignment] = []
        while self.waiting.count and self.pool.take_from(worker):
            call = self.waiting.take(worker)
            if call is None:
                self.pool.give_back(worker)
                break
            given.append((worker, call))
        return given

    def _fill_all(self) -> list[Assignment]:
        """As _fill, for every worker."""
        given: list[Assignment] = []
        for worker in list(self.pool) if self.waiting.count else ():
            given += self._fill(worker)
        return given
