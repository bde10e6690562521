"""gevent's loop, as the transport has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from time import monotonic

import gevent
import pytest

from mesh.core.channel import NEVER
from mesh.green.loop import GeventLoop
from mesh.transport import native
from mesh.transport.loop import Loop


@pytest.fixture
def loop() -> GeventLoop:
    return GeventLoop(gevent.get_hub())


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_it_is_a_loop(loop: GeventLoop) -> None:
    as_such: Loop = loop
    assert as_such == GeventLoop(gevent.get_hub()) and hash(as_such) == hash(GeventLoop(gevent.get_hub()))


def test_the_loop_of_another_thread_is_not_here(loop: GeventLoop) -> None:
    assert loop.here() and loop.alive()
    pool = gevent.get_hub().threadpool
    assert not pool.apply(loop.here)
    assert not pool.apply(lambda: loop.here() or (gevent.get_hub() and loop.here()))


def test_one_that_its_thread_has_destroyed_is_not_alive() -> None:
    def destroyed() -> GeventLoop:
        hub = gevent.get_hub()
        loop = GeventLoop(hub)
        hub.destroy()
        return loop

    loop = gevent.get_hub().threadpool.apply(destroyed)
    assert not loop.alive() and not loop.here()


def test_a_timer_is_due_once_at_the_sooner_of_two_times(loop: GeventLoop) -> None:
    fired: list[float] = []
    with closing(loop.timer(lambda: fired.append(monotonic()))) as timer:
        began = monotonic()
        timer.at(began + 20.0)
        timer.at(began + 0.02)
        timer.at(began + 10.0)
        gevent.sleep(0.06)
        assert len(fired) == 1 and fired[0] >= began + 0.019
        assert timer.due == NEVER
        timer.at(0.0)
        assert len(fired) == 1, "never within the call"
        gevent.sleep(0.01)
        assert len(fired) == 2
        timer.at(monotonic() + 0.01)
        timer.stop()
        gevent.sleep(0.03)
        assert len(fired) == 2


def test_a_timer_may_be_set_again_from_its_own_function(loop: GeventLoop) -> None:
    fired: list[int] = []

    def again() -> None:
        fired.append(1)
        if len(fired) < 3:
            timer.at(0.0)

    with closing(loop.timer(again)) as timer:
        timer.at(0.0)
        gevent.sleep(0.02)
    assert len(fired) == 3


def test_a_reader_pauses_and_goes_on(loop: GeventLoop, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    read: list[bytes] = []
    with closing(loop.reader(readable, lambda fd: read.append(os.read(fd, 1)), readable)) as reader:
        os.write(writable, b"a")
        gevent.sleep(0.01)
        assert read == [b"a"]
        reader.pause()
        os.write(writable, b"b")
        gevent.sleep(0.01)
        assert read == [b"a"]
        reader.resume()
        gevent.sleep(0.01)
        assert read == [b"a", b"b"]
    os.write(writable, b"c")
    gevent.sleep(0.01)
    assert read == [b"a", b"b"]


def test_what_is_idle_runs_until_it_is_paused(loop: GeventLoop) -> None:
    looked: list[int] = []

    def look() -> None:
        looked.append(1)
        if len(looked) == 3:
            idle.pause()

    with closing(loop.idle(look)) as idle:
        gevent.sleep(0.01)
        assert not looked, "begins paused"
        idle.resume()
        gevent.sleep(0.02)
    assert len(looked) == 3


def test_a_call_from_another_thread_comes_in_the_loop_s_own(loop: GeventLoop) -> None:
    threads: list[int] = []
    gevent.get_hub().threadpool.apply(
        loop.call_soon_threadsafe, (lambda: threads.append(native.get_ident()),)
    )
    gevent.sleep(0.01)
    assert threads == [loop.thread]
