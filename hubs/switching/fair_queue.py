"""The calls of one service that wait for a worker: bounded, fair between clients. Pure.

Knows of a call only who sent it, its size and its deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What waits: `client` sent it, it has `size` bytes, and nobody wants it after `deadline`."""

    @property
    def client(self) -> Hashable: ...
    @property
    def size(self) -> int: ...
    @property
    def deadline(self) -> float: ...


T = TypeVar("T", bound=Queued)


class FairQueue(Generic[T]):
    """Calls in turn: one of each client, each client's own in the order they came.

    most: calls. most_bytes: their bytes; a call that is larger by itself is taken when no other
    waits.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        # A client's calls are a dict, in order, so that one from the middle can be taken out.
        self._clients: dict[Hashable, dict[int, T]] = {}
        self.count = 0
        """Calls that wait."""
        self._size = 0

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> int:
        """Bytes of all that waits."""
        return self._size

    def __iter__(self) -> Iterator[T]:
        for calls in self._clients.values():
            yield from calls.values()

    def first_of_each(self) -> Iterator[T]:
        """The next call of each client."""
        for calls in self._clients.values():
            yield next(iter(calls.values()))

    def limit(self, most: int, most_bytes: int) -> None:
        """Other bounds from now on; what waits already goes on to."""
        self._most = most
        self._most_bytes = most_bytes

    def room(self, size: int) -> bool:
        """Whether a call of that size may wait."""
        return self.count < self._most and (not self.count or self._size + size <= self._most_bytes)

    def push_out(self, client: Hashable, size: int) -> T | None:
        """Take out one for a call of that client that has no room: the last of the client that has
        more than its share. None where that is nobody but the client itself."""
        if self.count >= self._most:
            return self.push_out_by(number_of, client, 1)
        return self.push_out_by(bytes_of, client, size)

    def push_out_by(self, weigh: Callable[[dict[int, T]], int], client: Hashable, more: int) -> T | None:
        """As push_out, where a client's share is what `weigh` says and the call adds `more` to it."""
        heaviest = max(self._clients.values(), key=weigh)
        if weigh(heaviest) <= weigh(self._clients.get(client, {})) + more:
            return None
        return self._pop_last(heaviest)

    def pop_heaviest(self, weigh: Callable[[dict[int, T]], int]) -> T:
        """Take out the last call of the client that has the most; there has to be one."""
        return self._pop_last(max(self._clients.values(), key=weigh))

    def _pop_last(self, calls: dict[int, T]) -> T:
        call = next(reversed(calls.values()))
        self.remove(call)
        return call

    def peek(self) -> T | None:
        """The one that `take` would give."""
        return next(self.first_of_each(), None)

    def add(self, call: T) -> None:
        """Let it wait behind its client's others; ask `room` first."""
        self._clients.setdefault(call.client, {})[id(call)] = call
        self.count += 1
        self._size += call.size

    def take(self) -> T | None:
        """The next one, or None; its client then comes after all others."""
        if not self._clients:
            return None
        client, calls = next(iter(self._clients.items()))
        call = calls.pop(next(iter(calls)))
        del self._clients[client]
        if calls:
            self._clients[client] = calls
        self._freed(call)
        return call

    def remove(self, call: T) -> bool:
        """Take this one out; False where it does not wait here."""
        calls = self._clients.get(call.client, {})
        if calls.pop(id(call), None) is None:
            return False
        if not calls:
            del self._clients[call.client]
        self._freed(call)
        return True

    def expire(self, now: float) -> list[T]:
        """Take out the calls that nobody wants any more."""
        late = [call for call in self if call.deadline <= now]
        for call in late:
            self.remove(call)
        return late

    def _freed(self, call: T) -> None:
        self.count -= 1
        self._size -= call.size


def number_of(calls: dict[int, T]) -> int:
    return len(calls)


def bytes_of(calls: dict[int, T]) -> int:
    return sum(call.size for call in calls.values())
