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


def paced(call: Call, payload: bytes, callers: int, rate: float, seconds: float) -> list[float]:
    """So many greenlets that together call so often a second, at steady intervals; the seconds of each."""
    import gevent

    took: list[float] = []
    began = perf_counter()

    def pace(due: float) -> None:
        while due < began + seconds:
            gevent.sleep(max(due - perf_counter(), 0.0))
            start = perf_counter()
            call(payload)
            took.append(perf_counter() - start)
            due += callers / rate

    greenlets = [gevent.spawn(pace, began + number / rate) for number in range(callers)]
    gevent.joinall(greenlets, raise_error=True)
    return took
