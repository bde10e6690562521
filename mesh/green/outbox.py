"""What a server owes a peer that takes no more now, beyond what libzmq keeps for it."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_PAYLOADS: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""A lone answer may be larger."""


class Outbox:
    """Answers in order; size: their bytes."""

    __slots__ = ("payloads", "size")

    def __init__(self, payload: bytes) -> None:
        self.payloads = deque([payload])
        self.size = len(payload)

    def append(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self.size += len(payload)

    def popleft(self) -> None:
        self.size -= len(self.payloads.popleft())

    @property
    def full(self) -> bool:
        many = len(self.payloads)
        return many >= MAX_PAYLOADS or (many > 1 and self.size > MAX_BYTES)
