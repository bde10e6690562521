"""Which worker gets the next call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.switching.pool import Pool


def test_ties_go_in_turn() -> None:
    pool = Pool[str]()
    for worker in "abc":
        pool.add(worker, 2)
    assert [pool.take() for _ in range(7)] == ["a", "b", "c", "a", "b", "c", None]


def test_the_one_with_the_most_room_comes_first() -> None:
    pool = Pool[str]()
    pool.add("small", 1)
    pool.add("large", 3)
    assert [pool.take() for _ in range(4)] == ["large", "large", "small", "large"]
    pool.give_back("large")
    pool.give_back("large")
    assert pool.take() == "large"


def test_a_worker_that_left_gets_nothing_and_may_come_back() -> None:
    pool = Pool[str]()
    pool.add("a", 1)
    assert pool.take() == "a"
    assert pool.remove("a")
    assert not pool.remove("a")
    pool.give_back("a")
    assert pool.take() is None
    pool.add("a", 1)
    assert pool.busy("a") == 0
    assert pool.take() == "a"


def test_wrong_use_is_refused() -> None:
    pool = Pool[str]()
    pool.add("a", 1)
    with pytest.raises(ValueError, match="already"):
        pool.add("a", 1)
    with pytest.raises(ValueError, match="can't take -1 calls"):
        pool.add("b", -1)


def test_one_of_no_capacity_gets_nothing_and_keeps_what_it_has() -> None:
    pool = Pool[str]()
    pool.add("a", 2)
    pool.add("b", 0)
    assert [pool.take(), pool.take(), pool.take()] == ["a", "a", None]
    pool.resize("a", 0)
    pool.give_back("a")
    assert (pool.take(), pool.busy("a"), pool.capacity("a")) == (None, 1, 0)
    pool.resize("b", 1)
    pool.resize("a", 2)
    assert sorted([pool.take() or "", pool.take() or ""]) == ["a", "b"]
    assert pool.take() is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.integers(1, 3),
            st.sampled_from(["add", "remove", "take", "back", "size"]),
        )
    )
)
def test_it_chooses_as_a_plain_search_would(steps: list[tuple[str, int, str]]) -> None:
    pool = Pool[str]()
    capacity: dict[object, int] = {}
    busy: dict[object, int] = {}
    for worker, number, what in steps:
        if what == "add" and worker not in capacity:
            pool.add(worker, number)
            capacity[worker], busy[worker] = number, 0
        elif what == "remove":
            assert pool.remove(worker) == (capacity.pop(worker, None) is not None)
            busy.pop(worker, None)
        elif what == "back":
            pool.give_back(worker)
            if busy.get(worker):
                busy[worker] -= 1
        elif what == "size" and worker in capacity:
            pool.resize(worker, number - 1)
            capacity[worker] = number - 1
        elif what == "take":
            most = max((max(0, capacity[one] - busy[one]) for one in capacity), default=0)
            taken = pool.take()
            assert (taken is None) == (most == 0)
            if taken is not None:
                assert capacity[taken] - busy[taken] == most
                busy[taken] += 1
        assert {one: pool.busy(one) for one in pool} == busy
