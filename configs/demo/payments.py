"""Takes money off cards: a class that knows nothing of mesh. Its bank is slow now and then, or says no."""

from __future__ import annotations

import itertools
import threading
import time

BANK = 0.03  # seconds that the bank takes
MUCH = 5_000  # cents from which on it looks twice
LOOKS_TWICE = 0.4
VERY_MUCH = 100_000  # cents from which on a person has to approve
PATIENCE = 25.0  # seconds that such a payment waits


class Payments:
    """What the shop asks its bank for."""

    def __init__(self) -> None:
        self._receipts = itertools.count(1001)
        self._waiting: list[threading.Event] = []

    def charge(self, customer: str, cents: int) -> int:
        """Take so many cents off a customer's card; gives the number of the receipt."""
        time.sleep(LOOKS_TWICE if cents >= MUCH else BANK)
        if customer == "Mallory":
            raise PermissionError(f"the bank does not pay for {customer}")
        if cents >= VERY_MUCH:
            approved = threading.Event()
            self._waiting.append(approved)
            if not approved.wait(PATIENCE):
                raise PermissionError("nobody has approved it")
        return next(self._receipts)

    def approve(self) -> int:
        """Approve the large payments that wait for it; gives how many did."""
        waiting, self._waiting = self._waiting, []
        for approved in waiting:
            approved.set()
        return len(waiting)
