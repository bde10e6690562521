"""The native threads of a server's handlers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from mesh.green.thread_pool import GreenletPool, Outcome
from tests.helpers.processes import eventually


def gives(function: Callable[[], Any]) -> Callable[[], Outcome]:
    return lambda: (function(), None)


def applied(pool: GreenletPool, work: Callable[[], Outcome]) -> Any:
    """By a greenlet, as its server's loop does not end meanwhile."""
    return gevent.spawn(pool.apply, work).get(timeout=20)


@pytest.fixture
def pool() -> Any:
    pool = GreenletPool(2, gevent.get_hub())
    yield pool
    pool.close()


def test_no_more_threads_than_it_may_have_and_each_again_and_again(pool: GreenletPool) -> None:
    def named() -> str:
        time.sleep(0.01)
        return threading.current_thread().name

    first = applied(pool, gives(named))
    assert applied(pool, gives(named)) == first, "no second thread while the first is idle"
    names = [gevent.spawn(pool.apply, gives(named)) for _ in range(8)]
    assert {name.get(timeout=20)[0] for name in names} == {"mesh handlers 1", "mesh handlers 2"}


def test_an_error_is_an_outcome(pool: GreenletPool) -> None:
    error = KeyboardInterrupt()
    assert applied(pool, lambda: (None, error)) == (None, error)


def test_to_close_it_waits_for_no_thread_and_lets_go_of_who_waits() -> None:
    pool, go_on = GreenletPool(1, gevent.get_hub()), threading.Event()
    begun = threading.Event()
    stuck = gevent.spawn(pool.apply, gives(lambda: (begun.set(), go_on.wait(60))))
    queued = gevent.spawn(pool.apply, gives(lambda: "never"))
    eventually(begun.is_set)
    began = time.monotonic()
    pool.close()
    for one in (stuck, queued):
        assert isinstance(one.get(timeout=5), gevent.GreenletExit)
    assert time.monotonic() - began < 5
    assert isinstance(applied(pool, gives(lambda: "late")), gevent.GreenletExit)
    go_on.set()
    eventually(lambda: not any(one.name == "mesh handlers 1" for one in threading.enumerate()))


def test_who_leaves_does_not_disturb_the_next(pool: GreenletPool) -> None:
    go_on = threading.Event()
    left = gevent.spawn(pool.apply, gives(lambda: go_on.wait(60)))
    eventually(lambda: pool._threads._busy == 1)
    left.kill()
    go_on.set()
    eventually(lambda: pool._threads._busy == 0)
    assert applied(pool, gives(lambda: 3)) == (3, None)
