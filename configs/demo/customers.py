"""Steady traffic for the shop, until it is stopped: customers who look and buy, and a clerk who helps them.

Now and then somebody buys a teapot, at which the bank looks twice; a piano, which the clerk has to approve;
or is Mallory, whose card is declined.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable

import mesh

CUSTOMERS = 8
PAUSE = 0.8  # seconds between what one of them does, on average
CLERK = 5.0  # seconds between the clerk's rounds


def visit(web: mesh.Client) -> None:
    """One customer looks, and mostly buys."""
    web.menu()
    time.sleep(random.expovariate(1 / PAUSE))
    name = random.choices(["Ann", "Bob", "Cleo", "Mallory"], [32, 32, 32, 4])[0]
    items = random.choices(["tea", "cup", "honey", "teapot", "piano"], [40, 30, 24, 5, 1], k=3)
    with mesh.trace(customer=name):
        web.order(name, *items)


def help_customers(stock: mesh.Client, payments: mesh.Client) -> None:
    """The clerk approves what waits for it, and fills the shelf."""
    payments.approve()
    for row in stock.shelf():
        if row["pieces"] < 50:
            stock.add(row["item"], 50)
    time.sleep(CLERK)


def again(work: Callable[..., None], *clients: mesh.Client) -> None:
    """For ever, whatever becomes of it: an order that fails is part of the show."""
    while True:
        try:
            work(*clients)
        except mesh.MeshError:
            time.sleep(PAUSE)


if __name__ == "__main__":
    web, stock, payments = (mesh.connect(name) for name in ("web", "stock", "payments"))
    for _ in range(CUSTOMERS):
        threading.Thread(target=again, args=(visit, web), daemon=True).start()
    threading.Thread(target=again, args=(help_customers, stock, payments), daemon=True).start()
    print("the first customers come", flush=True)
    signal.pause()
