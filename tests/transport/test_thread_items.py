"""The items of a stream that native threads take, without threads: the test is the pool and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, cast

import pytest

from mesh.core.server_call import ServerCall
from mesh.transport.thread_items import AHEAD, END, PrefetchedItems
from mesh.transport.thread_pool import Task, ThreadPool


class Call:
    """What is asked of one."""

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.given_up = False


class Odd:
    """What has no length, though it seems to."""

    def __len__(self) -> int:
        raise KeyError("none")


class Stream:
    """One stream, whose thread and loop run when they are told to."""

    def __init__(self, items: Iterator[Any], credit: int = 1000) -> None:
        self.call = Call(credit)
        self.tasks: list[Task] = []
        self.told: list[Callable[[], object]] = []
        self.news = 0
        self.taken = PrefetchedItems(
            cast(ServerCall, self.call), items, copy_context(), cast(ThreadPool, self), self.hear
        )

    def submit(self, task: Task) -> None:
        self.tasks.append(task)

    def tell(self, function: Callable[[], object]) -> None:
        self.told.append(function)

    def hear(self) -> None:
        self.news += 1

    def run_thread(self) -> None:
        task = self.tasks.pop()
        outcome = task.work()
        assert task.done is not None
        self.told.append(lambda: task.done(outcome))  # type: ignore[misc]

    def turn(self) -> None:
        told, self.told = self.told, []
        for function in told:
            function()

    def there(self) -> list[Any]:
        """What is got without waiting."""
        items = []
        while not self.taken.must_wait():
            items.append(self.taken.next())
            if items[-1] is END:
                break
        return items


def test_a_thread_goes_on_and_tells_once() -> None:
    stream = Stream(iter(range(10)))
    assert stream.taken.must_wait() and stream.taken.taking
    assert stream.taken.must_wait() and len(stream.tasks) == 1, "one thread is enough"
    stream.run_thread()
    assert len(stream.told) == 2, "of the first item, and of the thread's end"
    stream.turn()
    assert stream.there() == [*range(10), END] and not stream.taken.taking


def test_an_item_is_there_while_the_thread_waits_for_the_next() -> None:
    seen: list[Any] = []

    def items() -> Iterator[str]:
        yield "first"
        stream.turn()
        seen.extend(stream.there())
        yield "second"
        stream.turn()
        seen.extend(stream.there())

    stream = Stream(items())
    assert stream.taken.must_wait()
    stream.run_thread()
    assert seen == ["first", "second"] and stream.news == 2


@pytest.mark.parametrize(("credit", "taken"), [(-1, 1), (0, 1), (1, 1), (7, 7), (1000, AHEAD)])
def test_no_more_are_taken_than_the_caller_has_room_for(credit: int, taken: int) -> None:
    stream = Stream(iter(range(1_000_000)), credit)
    assert stream.taken.must_wait()
    stream.run_thread()
    stream.turn()
    assert not stream.taken.taking
    assert [stream.taken.next() for _ in range(taken)] == list(range(taken))
    assert stream.taken.must_wait(), "the next one is not there yet"


def test_large_ones_are_sent_before_more_are_taken() -> None:
    items = [b"x" * 1_000, 1, None, Odd(), [0] * 1_001]
    stream = Stream(iter([*items, "small"]))
    assert stream.taken.must_wait()
    stream.run_thread()
    stream.turn()
    assert [stream.taken.next() for _ in items] == items
    assert stream.taken.must_wait()


def test_one_that_takes_its_time_leaves_the_thread_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(0.004 * number for number in range(100))
    monkeypatch.setattr("mesh.transport.thread_items.monotonic", lambda: next(now))
    stream = Stream(iter(range(1000)))
    assert stream.taken.must_wait()
    stream.run_thread()
    stream.turn()
    assert stream.there() == [0, 1, 2]


def test_who_has_left_keeps_no_thread() -> None:
    def items() -> Iterator[int]:
        for number in range(1000):
            stream.call.given_up = number == 2
            yield number

    stream = Stream(items())
    assert stream.taken.must_wait()
    stream.run_thread()
    stream.turn()
    assert stream.there() == [0, 1, 2]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("missing")

    stream = Stream(items())
    assert stream.taken.must_wait()
    stream.run_thread()
    stream.turn()
    assert not stream.taken.must_wait() and stream.taken.next() == 1
    with pytest.raises(KeyError):
        stream.taken.must_wait()


def test_what_is_a_stream_is_asked_for_its_items_in_a_thread() -> None:
    asked: list[str] = []

    class Rows:
        def __iter__(self) -> Iterator[int]:
            asked.append("rows")
            return iter([1, 2])

    stream = Stream(Rows())  # type: ignore[arg-type]
    assert stream.taken.must_wait() and not asked and stream.taken.close is None
    stream.run_thread()
    stream.turn()
    assert stream.there() == [1, 2, END] and asked == ["rows"]
