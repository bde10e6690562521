"""Writes to customers: hears of orders by events, and nobody waits for it."""

from __future__ import annotations

import time
from typing import Any

import mesh


class Mail:
    """What is done about each event, by its name. written: letters so far."""

    def __init__(self) -> None:
        self.written = 0

    def placed(self, customer: str, order: dict[str, Any]) -> None:
        """Thank a customer for an order."""
        time.sleep(0.01)  # there is no mail server in a demo
        self.written += 1


if __name__ == "__main__":
    subscriber = mesh.Subscriber("mail-out", Mail())
    print("mail listens", flush=True)
    subscriber.run()
