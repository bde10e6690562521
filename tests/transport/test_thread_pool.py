"""What the threads of a pool tell its loop, which the test turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from mesh.transport import process
from mesh.transport.loop import Loop
from mesh.transport.thread_pool import Task, ThreadPool
from tests.helpers.processes import eventually


class TurnedLoop:
    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, function: Callable[[], object]) -> None:
        self.soon.append(function)

    call_soon_threadsafe = call_soon

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for function in soon:
            function()


@pytest.fixture
def loop() -> TurnedLoop:
    return TurnedLoop()


def test_the_loop_is_told_once_for_all_that_is_said_before_its_turn(loop: TurnedLoop) -> None:
    pool, heard = ThreadPool(1, cast(Loop, loop)), list[Any]()
    for number in range(3):
        pool.tell(heard.append, number)
    assert len(loop.soon) == 1
    loop.turn()
    assert heard == [0, 1, 2] and not loop.soon
    pool.tell(heard.append, 3)
    loop.turn()
    assert heard == [0, 1, 2, 3]


def test_what_is_said_while_the_loop_hears_is_heard(loop: TurnedLoop) -> None:
    pool, heard = ThreadPool(1, cast(Loop, loop)), list[Any]()
    pool.tell(lambda: pool.tell(heard.append, 1))
    loop.turn()
    loop.turn()
    assert heard == [1]


def test_one_that_raises_keeps_the_others_from_nothing(loop: TurnedLoop) -> None:
    pool, heard = ThreadPool(1, cast(Loop, loop)), list[Any]()

    def interrupted() -> None:
        raise KeyboardInterrupt

    pool.tell(interrupted)
    pool.tell(heard.append, 1)
    with pytest.raises(KeyboardInterrupt):
        loop.turn()
    loop.turn()
    assert heard == [1]


def test_nothing_is_said_to_the_loop_of_one_that_is_closed(loop: TurnedLoop) -> None:
    pool = ThreadPool(1, cast(Loop, loop))
    pool.close()
    pool.tell(print, "never")
    assert not loop.soon


def test_a_system_without_threads_for_a_while_costs_no_later_call(
    loop: TurnedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, heard = ThreadPool(2, cast(Loop, loop)), list[Any]()
    start = process.start_thread

    def refused(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process, "start_thread", refused)
    with pytest.raises(RuntimeError):
        pool.submit(Task(lambda: (1, None), heard.append))
    monkeypatch.setattr(process, "start_thread", start)
    pool.submit(Task(lambda: (2, None), heard.append))
    monkeypatch.setattr(process, "start_thread", refused)
    pool.submit(Task(lambda: (3, None), heard.append))  # by the thread that there is

    def done() -> bool:
        loop.turn()
        return heard == [(2, None), (3, None)]

    eventually(done)
    pool.close()


def test_in_the_child_of_a_fork_no_thread_holds_up_its_end(
    loop: TurnedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ThreadPool(1, cast(Loop, loop))
    pool._lock.acquire()  # by a thread that the child does not have
    generation = process.generation()
    monkeypatch.setattr(process, "generation", lambda: generation + 1)
    pool.close()
    assert pool.closed
