"""The queue before the workers: bounded, fair, and nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from hubs.switching.fair_queue import FairQueue


@dataclass(eq=False)
class Call:
    client: str
    size: int = 1
    deadline: float = 100.0


def queue(most: int = 100, most_bytes: int = 1000) -> FairQueue[Call]:
    return FairQueue(most, most_bytes)


def test_each_client_has_its_turn_whoever_floods() -> None:
    waiting = queue()
    calls = [Call("flood") for _ in range(50)] + [Call("ann"), Call("bob"), Call("ann")]
    for call in calls:
        waiting.add(call)
    assert [waiting.take() for _ in range(5)] == [calls[0], calls[50], calls[51], calls[1], calls[52]]
    assert waiting.take() is calls[2]


def test_a_client_that_comes_back_stands_behind_the_others() -> None:
    waiting = queue()
    first, second = Call("ann"), Call("bob")
    waiting.add(first)
    waiting.add(second)
    assert waiting.take() is first
    again = Call("ann")
    waiting.add(again)
    assert waiting.take() is second
    assert waiting.take() is again
    assert waiting.take() is None


def test_the_number_is_bounded() -> None:
    waiting = queue(most=2)
    for client in "ab":
        assert waiting.room(1)
        waiting.add(Call(client))
    assert not waiting.room(1)
    waiting.take()
    assert waiting.room(1)


def test_the_bytes_are_bounded_but_one_call_fits_always() -> None:
    waiting = queue(most_bytes=10)
    assert waiting.room(1_000_000)
    waiting.add(Call("a", size=8))
    assert waiting.room(2)
    assert not waiting.room(3)


def test_what_nobody_wants_any_more_is_taken_out() -> None:
    waiting = queue()
    late, later = Call("ann", deadline=5.0), Call("ann", deadline=5.1)
    waiting.add(late)
    waiting.add(later)
    assert waiting.expire(5.0) == [late]
    assert waiting.remove(later)
    assert not waiting.remove(later)
    assert not waiting.remove(late)
    assert len(waiting) == waiting.size == 0
    assert waiting.take() is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(1, 9), st.sampled_from(["add", "take", "remove", "expire"])
        )
    )
)
def test_number_and_bytes_are_those_of_what_waits(steps: list[tuple[str, int, str]]) -> None:
    waiting = queue(most=5, most_bytes=20)
    for client, size, what in steps:
        if what == "add" and waiting.room(size):
            waiting.add(Call(client, size, deadline=float(size)))
        elif what == "take":
            waiting.take()
        elif what == "remove":
            for call in list(waiting)[:size]:
                waiting.remove(call)
        elif what == "expire":
            waiting.expire(float(size))
        calls = list(waiting)
        assert len(waiting) == len(calls) <= 5
        assert waiting.size == sum(call.size for call in calls) <= 20
