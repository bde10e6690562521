"""What each driver's loop gives the transport."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from time import monotonic

import gevent
import pytest

from mesh.aio.loop import AsyncioLoop
from mesh.core.channel import NEVER
from mesh.green.loop import GeventLoop
from mesh.transport import native
from mesh.transport.loop import Loop
from tests.drivers.driver import RUN, Turns


def on_every_loop(body: Callable[[Loop], Turns]) -> Callable[[str], None]:
    """Make a test of it for each driver."""

    @pytest.mark.parametrize("driver", RUN)
    @wraps(body)
    def test(driver: str) -> None:
        RUN[driver](body)

    del test.__dict__["__wrapped__"]  # pytest would ask for the body's parameters
    return test


def in_a_thread(function: Callable[[], object]) -> None:
    done = native.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            function()
        finally:
            done.release()

    native.start_new_thread(run, ())
    assert done.acquire(True, 10)


def pipe() -> Iterator[int]:
    yield from os.pipe()


@on_every_loop
def test_a_timer_is_due_once_at_the_sooner_of_two_times(loop: Loop) -> Turns:
    fired: list[float] = []
    with closing(loop.timer(lambda: fired.append(monotonic()))) as timer:
        began = monotonic()
        timer.at(began + 20.0)
        timer.at(began + 0.02)
        timer.at(began + 10.0)
        yield 0.2
        assert len(fired) == 1 and fired[0] >= began + 0.018
        timer.at(0.0)
        assert len(fired) == 1, "never within the call"
        yield 0.05
        assert len(fired) == 2
        timer.at(NEVER)
        timer.at(monotonic() + 0.01)
        timer.stop()
        yield 0.05
        assert len(fired) == 2
        timer.at(monotonic() + 0.01)
    yield 0.05
    assert len(fired) == 2


@on_every_loop
def test_a_timer_that_sets_itself_again_lets_others_have_their_turn(loop: Loop) -> Turns:
    turns: list[str] = []
    readable, writable = pipe()

    def again() -> None:
        turns.append("timer")
        if len(turns) < 1_000 and "reader" not in turns:
            timer.at(0.0)

    def read() -> None:
        turns.append("reader")
        os.read(readable, 1)

    with closing(loop.reader(readable, read)), closing(loop.timer(again)) as timer:
        os.write(writable, b"a")
        timer.at(0.0)
        yield 0.2
    assert "reader" in turns[:50]
    os.close(readable)
    os.close(writable)


@on_every_loop
def test_a_reader_pauses_and_goes_on(loop: Loop) -> Turns:
    readable, writable = pipe()
    read: list[bytes] = []
    with closing(loop.reader(readable, lambda fd: read.append(os.read(fd, 1)), readable)) as reader:
        os.write(writable, b"a")
        yield 0.05
        assert read == [b"a"]
        reader.pause()
        reader.pause()
        os.write(writable, b"b")
        yield 0.05
        assert read == [b"a"]
        reader.resume()
        yield 0.05
        assert read == [b"a", b"b"]
    os.write(writable, b"c")
    yield 0.05
    assert read == [b"a", b"b"]
    os.close(readable)
    os.close(writable)


@on_every_loop
def test_what_is_idle_runs_until_it_is_paused(loop: Loop) -> Turns:
    looked: list[int] = []

    def look() -> None:
        looked.append(1)
        if len(looked) == 3:
            idle.pause()

    with closing(loop.idle(look)) as idle:
        yield 0.02
        assert not looked, "begins paused"
        idle.resume()
        idle.resume()
        yield 0.05
        assert len(looked) == 3
        idle.resume()
    yield 0.02
    assert len(looked) == 3


@on_every_loop
def test_a_call_from_another_thread_comes_in_the_loop_s_own(loop: Loop) -> Turns:
    threads: list[int] = []
    in_a_thread(lambda: loop.call_soon_threadsafe(lambda: threads.append(native.get_ident())))
    yield 0.05
    loop.call_soon(threads.append, 1)
    assert threads == [loop.thread] == [native.get_ident()]
    yield 0.01
    assert threads == [loop.thread, 1]


@on_every_loop
def test_the_loop_of_another_thread_is_not_here(loop: Loop) -> Turns:
    assert loop.here() and loop.alive()
    seen: list[bool] = []
    in_a_thread(lambda: seen.append(loop.here()))
    in_a_thread(lambda: seen.append(bool(gevent.get_hub()) and loop.here()))
    assert seen == [False, False] and loop.here()
    yield 0.0


def test_the_same_loop_is_equal() -> None:
    assert GeventLoop(gevent.get_hub()) == GeventLoop(gevent.get_hub())

    async def pair() -> tuple[AsyncioLoop, AsyncioLoop]:
        return AsyncioLoop(), AsyncioLoop()

    one, other = asyncio.run(pair())
    (another, _) = asyncio.run(pair())
    assert one == other and hash(one) == hash(other) and one != another


def test_a_hub_that_its_thread_has_destroyed_is_not_alive() -> None:
    def destroyed() -> GeventLoop:
        hub = gevent.get_hub()
        loop = GeventLoop(hub)
        hub.destroy()
        return loop

    loop = gevent.get_hub().threadpool.apply(destroyed)
    assert not loop.alive() and not loop.here()


@pytest.mark.parametrize("driver", ["asyncio", "uvloop"])
def test_a_loop_that_was_closed_takes_calls_from_other_threads_for_nothing(driver: str) -> None:
    loops: list[Loop] = []

    def body(loop: Loop) -> Turns:
        loops.append(loop)
        yield 0.0

    RUN[driver](body)
    (loop,) = loops
    assert not loop.alive() and not loop.here()
    in_a_thread(lambda: loop.call_soon_threadsafe(print))


@pytest.mark.parametrize("driver", ["asyncio", "uvloop"])
def test_a_reader_that_is_closed_in_a_child_goes_on_in_the_parent(driver: str) -> None:
    def body(loop: Loop) -> Turns:
        readable, writable = pipe()
        read: list[bytes] = []
        reader = loop.reader(readable, lambda: read.append(os.read(readable, 1)))
        yield 0.01
        child = os.fork()
        if not child:
            code = 3
            try:
                if not loop.here():
                    reader.close()
                    code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.write(writable, b"a")
        yield 0.05
        assert read == [b"a"]
        reader.close()
        os.close(readable)
        os.close(writable)

    RUN[driver](body)


def test_there_has_to_be_a_running_loop() -> None:
    outcome: list[str] = []

    def make() -> None:
        try:
            AsyncioLoop()
        except RuntimeError as exc:
            outcome.append(str(exc))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(10)
    assert outcome == ["no running event loop"]
