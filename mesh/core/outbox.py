"""What is owed to a peer that takes no more now, beyond what libzmq keeps for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

MAX_MESSAGES: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""A lone message may be larger."""

T = TypeVar("T")


class Outbox(Generic[T]):
    """Messages in order, each with its bytes."""

    __slots__ = ("_messages", "size")

    def __init__(self) -> None:
        self._messages: deque[tuple[T, int]] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[T]:
        return (message for message, _ in self._messages)

    def append(self, message: T, size: int) -> None:
        """Keep it; ask `full` first."""
        self._messages.append((message, size))
        self.size += size

    @property
    def first(self) -> T:
        return self._messages[0][0]

    def popleft(self) -> None:
        self.size -= self._messages.popleft()[1]

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget those that are not wanted any more."""
        kept = [(message, size) for message, size in self._messages if wanted(message)]
        self._messages = deque(kept)
        self.size = sum(size for _, size in kept)

    def clear(self) -> None:
        self._messages.clear()
        self.size = 0

    @property
    def crowded(self) -> bool:
        """Whether it is half full."""
        many = len(self._messages)
        return 2 * many >= MAX_MESSAGES or (many > 1 and 2 * self.size > MAX_BYTES)

    @property
    def full(self) -> bool:
        many = len(self._messages)
        return many >= MAX_MESSAGES or (many > 1 and self.size > MAX_BYTES)
