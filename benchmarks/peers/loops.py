"""The timed loops that several peers share. Must not know any of them.

gevent is imported only by who wants greenlets.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Call = Callable[[bytes], object]


def repeat(call: Call, payload: bytes, seconds: float) -> int:
    """One call after the other until the time is over."""
    end = perf_counter() + seconds
    count = 0
    while perf_counter() < end:
        call(payload)
        count += 1
    return count


def crowd(call: Call, payload: bytes, callers: int, seconds: float) -> int:
    """So many greenlets, each of which calls until the time is over."""
    import gevent

    greenlets = [gevent.spawn(repeat, call, payload, seconds) for _ in range(callers)]
    gevent.joinall(greenlets, raise_error=True)
    return sum(greenlet.get() for greenlet in greenlets)
