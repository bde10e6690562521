"""Work for the thread of a hub, which does it in its own time, and whoever waits until it is done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import zmq

from mesh.errors import ConfigError

PATIENCE: Final = 5.0
"""Seconds in which the thread has to take an order."""


def run_in_thread(order: Callable[[Callable[[], bool]], None], work: Callable[[], None], busy: str) -> None:
    """Wait until it is done. order: hands it to the thread.

    Raises what the work raises, and ConfigError with the text `busy` where the thread does not come to it.
    """
    done: Future[None] = Future()

    def carry_out() -> bool:
        if done.set_running_or_notify_cancel():
            try:
                work()
                done.set_result(None)
            except (ConfigError, zmq.ZMQError) as exc:
                done.set_exception(exc)
        return True

    order(carry_out)
    try:
        done.result(PATIENCE)
    except TimeoutError:
        if done.cancel():
            raise ConfigError(busy) from None
        done.result()
