"""What the examples call: a plain class that knows nothing of mesh."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any


class Users:
    """A register of users, in memory: each process has its own."""

    def __init__(self) -> None:
        self._users: dict[int, dict[str, Any]] = {
            41: {"name": "Ann", "admin": True},
            42: {"name": "Bob", "admin": False},
        }

    def get(self, number: int) -> dict[str, Any]:
        """The user of that number."""
        return self._users[int(number)]

    def add(self, name: str, admin: bool = False) -> int:
        """Add a user; gives the new number."""
        number = max(self._users) + 1
        self._users[number] = {"name": name, "admin": admin}
        return number

    def export(self, pause: float = 0.0) -> Iterator[dict[str, Any]]:
        """All users, one by one.

        pause: seconds to rest before each but the first.
        """
        for position, (number, user) in enumerate(sorted(self._users.items())):
            if position:
                time.sleep(float(pause))
            yield {"number": number, **user}

    def fail(self) -> None:
        """Raise an exception."""
        raise RuntimeError("this one always fails")

    def where(self) -> int:
        """The number of the process that answers."""
        return os.getpid()
