"""What a hub owes a peer that takes no more now, beyond what libzmq keeps for it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

MAX_MESSAGES: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""A lone message may be larger."""

Envelope = tuple[bytes, ...]
Message = tuple[Envelope, Sequence[bytes]]


class PeerBacklog:
    """Messages in order, each with its routing envelope; size: bytes of their frames."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.size = 0

    def append(self, message: Message) -> bool:
        """Keep it; False where there is no room for it."""
        full = len(self.messages) >= MAX_MESSAGES or self.size + _size(message) > MAX_BYTES
        if self.messages and full:
            return False
        self.messages.append(message)
        self.size += _size(message)
        return True

    def popleft(self) -> None:
        self.size -= _size(self.messages.popleft())


def _size(message: Message) -> int:
    return sum(map(len, message[1]))
