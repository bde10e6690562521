"""The shop as its customers see it."""

from __future__ import annotations

from typing import Any

import mesh


class Web:
    """What a page of the shop asks for."""

    def __init__(self) -> None:
        self._orders = mesh.connect("orders")
        self._stock = mesh.connect("stock")

    def menu(self) -> list[str]:
        """What can be had, with prices."""
        return [f"{row['item']} {row['cents'] / 100:.2f}" for row in self._stock.shelf() if row["pieces"]]

    def order(self, customer: str, *items: str) -> dict[str, Any]:
        """Buy these items. Raises ValueError where that fails."""
        try:
            order: dict[str, Any] = self._orders.place(customer, items)
        except ValueError as error:
            raise ValueError(f"nothing was sold: {error.msg}") from error
        return order
