"""A sharded hub, in memory: calls with the same key go to the same worker."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.switching.model import HubClient, RoutedCall, Worker
from hubs.switching.sharded import SLOTS, ShardedScheduler, slot_of, weight
from mesh.core import wire
from mesh.core.call import MAX_KEY
from mesh.core.majordomo import STANDARD
from tests.hubs.switching.test_switch import Bench, reply

KEYS = [f"user-{number}" for number in range(2_000)]


def worker(name: str, **about: Any) -> Worker:
    about = {"host": name, "pid": 1, **about}
    return Worker((1, (name.encode(),)), "echo", STANDARD[2], about, 0.0, 0.0)


@cache
def client_at(routing_id: bytes) -> HubClient:
    return HubClient((0, (routing_id,)))


def call(key: Any, client: bytes = b"c", size: int = 1, opened: float = 0.0, due: float = 9e9) -> RoutedCall:
    one = RoutedCall(b"t", client_at(client), "echo", (b"x" * size,), size, opened, due, b"1")
    one.key = key
    return one


def scheduler(*workers: Worker, capacity: int = 10_000, calls: int = 10_000) -> ShardedScheduler:
    one = ShardedScheduler(calls, 2**30)
    for each in workers:
        assert one.add(each, capacity) == []
    return one


def owners(one: ShardedScheduler) -> dict[str, Worker | None]:
    """Whom each key's calls go to."""
    found: dict[str, Worker | None] = {}
    for key in KEYS:
        found[key] = one.submit(call(key))
        if (owner := found[key]) is not None:
            one.freed(owner)
    return found


def test_the_hash_is_the_same_for_ever_and_everywhere() -> None:
    """Hubs of several releases and machines are to agree; the first and the last are as b2sum gives them."""
    assert [slot_of(key) for key in (b"42", b"user-1", b"\x00")] == [10362, 8584, 584]
    assert weight("box:1", 7).hex() == "d59c23370668720ba38624d4423429af"


def test_hubs_agree_in_whatever_order_the_workers_came() -> None:
    three = [worker(name) for name in "abc"]
    assert owners(scheduler(*three)) == owners(scheduler(*reversed(three)))


def test_the_keys_are_spread_evenly() -> None:
    shares = Counter(one and one.stable_name for one in owners(scheduler(*map(worker, "abcd"))).values())
    assert len(shares) == 4 and all(400 < number < 600 for number in shares.values())


def test_only_the_keys_of_a_worker_that_goes_move_and_come_back_with_it() -> None:
    a, b, c = map(worker, "abc")
    one = scheduler(a, b, c)
    before = owners(one)
    one.remove(b, [])
    after = owners(one)
    assert b not in after.values()
    assert all(after[key] is owner for key, owner in before.items() if owner is not b)
    one.add(b, 10_000)
    assert owners(one) == before


def test_a_worker_that_comes_takes_keys_and_moves_no_others() -> None:
    a, b, c = map(worker, "abc")
    one = scheduler(a, b)
    before = owners(one)
    one.add(c, 10_000)
    after = owners(one)
    assert all(after[key] is before[key] or after[key] is c for key in KEYS)
    assert 500 < list(after.values()).count(c) < 830


def test_an_address_names_a_worker_before_its_process_does() -> None:
    """So that one that is started again gets the keys that it had."""
    before, after = worker("a", address="tcp://a:1", pid=1), worker("a", address="tcp://a:1", pid=2)
    first = owners(scheduler(before, worker("b")))
    again = owners(scheduler(after, worker("b")))
    assert [one is before for one in first.values()] == [one is after for one in again.values()]


def test_workers_of_one_name_share_and_the_last_takes_the_place_of_the_first() -> None:
    first, second = worker("a"), worker("a")
    one = scheduler(first, second)
    shares = Counter(owners(one).values())
    assert all(900 < shares[each] < 1_100 for each in (first, second))
    one.remove(first, [])
    assert set(owners(one).values()) == {second}
    assert one._slots._names == {second: "a:1"}


def test_a_worker_that_tells_nothing_is_one_all_the_same() -> None:
    silent = Worker((1, (b"r",)), "echo", STANDARD[1], None, 0.0, 0.0)
    assert set(owners(scheduler(silent)).values()) == {silent}


def test_a_text_bytes_and_a_number_may_be_one_key() -> None:
    one = scheduler(*map(worker, "abcdef"))
    assert len({one.submit(call(key)) for key in (42, "42", b"42")}) == 1


@pytest.mark.parametrize("key", ["", b"", "x" * (MAX_KEY + 1), 1.5, True, (), [1], {}, 2**64, "\ud800"])
def test_an_odd_key_is_refused(key: Any) -> None:
    assert "its key is no text" in scheduler(worker("a")).problem(call(key))


def test_calls_for_a_full_worker_wait_for_it_and_for_no_other() -> None:
    a, b = worker("a"), worker("b")
    one = scheduler(a, b, capacity=1)
    of_a = [key for key, owner in owners(one).items() if owner is a][:3]
    calls = [call(key) for key in of_a]
    assert one.submit(calls[0]) is a
    for each in calls[1:]:
        assert one.submit(each) is None and one.enqueue(each) == []
    assert one.pool.busy(b) == 0
    assert one.freed(a) == [(a, calls[1])]
    assert one.freed(a) == [(a, calls[2])] and one.waiting.count == one.waiting.size == 0


def test_a_full_worker_does_not_take_the_room_of_the_others() -> None:
    a, b = worker("a"), worker("b")
    one = scheduler(a, b, capacity=1, calls=4)
    by_owner = defaultdict(list)
    for key, owner in owners(one).items():
        by_owner[owner].append(key)
    for owner in (a, b):
        assert one.submit(call(by_owner[owner][0])) is owner
    of_a = [call(by_owner[a][number]) for number in range(1, 5)]
    for each in of_a:
        assert one.enqueue(each) == []
    assert one.enqueue(extra := call(by_owner[a][9])) == [extra]
    assert one.enqueue(call(by_owner[b][1])) == [of_a[-1]]
    assert one.enqueue(call(None)) == [of_a[-2]]
    assert one.waiting.count == 4


def test_calls_without_a_key_go_to_the_worker_with_the_most_room() -> None:
    a, b = worker("a"), worker("b")
    one = scheduler(a, b, capacity=2)
    assert {one.submit(call(None)), one.submit(call(None))} == {a, b}


def test_a_worker_that_is_free_takes_the_older_of_both_kinds() -> None:
    a = worker("a")
    one = scheduler(a, capacity=1)
    assert one.submit(call("k")) is a
    waiting = [call("k", opened=1.0), call(None, opened=2.0), call("k", opened=3.0), call(None, opened=4.0)]
    for each in waiting:
        assert one.submit(each) is None and one.enqueue(each) == []
    assert [one.freed(a) for _ in waiting] == [[(a, each)] for each in waiting]


def test_what_waits_without_a_worker_goes_to_the_first() -> None:
    one = scheduler()
    calls = [call("k"), call(None)]
    for each in calls:
        assert one.submit(each) is None and one.enqueue(each) == []
    a = worker("a")
    assert sorted(map(id, (each for _, each in one.add(a, 5)))) == sorted(map(id, calls))


def test_what_waits_for_a_worker_that_drains_goes_to_the_others() -> None:
    a, b = worker("a"), worker("b")
    one = scheduler(a, b, capacity=1)
    key = next(key for key, owner in owners(one).items() if owner is a)
    assert one.submit(call(key)) is a
    one.enqueue(waits := call(key))
    assert one.resize(a, 0) == [(b, waits)]
    assert one.freed(a) == () and one.freed(b) == ()
    assert one.resize(a, 1) == [] and one.submit(call(key)) is a


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=60))
def test_whatever_happens_each_call_is_given_once_and_to_the_worker_of_its_key(steps: Any) -> None:
    one, there, open_calls = ShardedScheduler(6, 30), dict[str, Worker](), Counter[Worker]()
    given: list[tuple[Worker, RoutedCall]] = []
    sent, ended = list[RoutedCall](), list[RoutedCall]()
    for kind, number in steps:
        some = there.get("abcdef"[number])
        if kind == 0 and some is None:
            there["abcdef"[number]] = some = worker("abcdef"[number])
            given += one.add(some, number % 3)
        elif kind == 1 and some is not None:
            del there["abcdef"[number]]
            open_calls.pop(some, None)
            given += one.remove(some, [])
        elif kind == 2 and some is not None and one.pool.busy(some):
            given += one.freed(some)
        elif kind == 3 and some is not None:
            given += one.resize(some, number % 2 * 2)
        else:
            sent.append(each := call((None, "k", 7, b"z")[number % 4], b"%d" % number, 1 + number))
            if (owner := one.submit(each)) is not None:
                given.append((owner, each))
            else:
                ended += one.enqueue(each)
        for owner, each in given:
            key = each.key
            assert owner in one.pool
            if key is not None:
                assert one._owner(each) is owner
        ended += [each for _, each in given]
        given.clear()
        waits = list(one.waiting)
        assert sorted(map(id, [*ended, *waits])) == sorted(map(id, sent))
        assert one.waiting.count == len(waits) <= 6
        assert one.waiting.size == sum(each.size for each in waits)


# Through the switch


def bench(**settings: Any) -> Bench:
    return Bench(only="echo", new_scheduler=ShardedScheduler, **settings)


def test_calls_with_a_key_find_their_worker_in_any_form() -> None:
    one = bench()
    for name in (b"w1", b"w2", b"w3"):
        one.register(name, capacity=100, host=name.decode(), pid=1)
    one.sent()
    for number, key in enumerate(["k"] * 5 + [b"k"] * 5):
        one.call(b"c", b"%032d" % number, key=key, **({"trace_id": "x"} if number % 2 else {}))
    assert len({name for name, _, _ in one.requests()}) == 1


@pytest.mark.parametrize("key", [1.5, [1], "", "x" * 300])
def test_a_call_with_an_odd_key_is_refused_and_harms_nobody(key: Any) -> None:
    one = bench()
    one.register(b"w", capacity=1, host="a", pid=1)
    one.sent()
    one.call(b"c", b"1", key=key)
    assert one.error() == (b"c", "WireError", True)
    one.call(b"c", b"2")
    assert len(one.requests()) == 1


def test_other_hubs_do_not_look_at_keys() -> None:
    one = Bench(only="echo")
    one.register(b"w", capacity=1)
    one.sent()
    one.call(b"c", b"1", key=[1])
    assert len(one.requests()) == 1


def test_an_idempotent_call_of_a_lost_worker_goes_where_its_key_has_gone() -> None:
    one = bench()
    for name in (b"w1", b"w2", b"w3"):
        one.register(name, capacity=1, host=name.decode(), pid=1)
    one.sent()
    one.call(b"c", b"1", key="k", idempotent=True)
    ((first, _, _),) = one.requests()
    one.switch.unreachable((1, (first,)))
    ((second, token, _),) = one.requests()
    assert second != first
    one.call(b"c", b"2", key="k")
    assert one.requests() == []
    one.answer(second, token, reply(b"1"))
    ((third, _, _),) = one.requests()
    assert third == second


def test_a_call_that_may_not_go_twice_is_lost_with_its_worker() -> None:
    one = bench()
    for name in (b"w1", b"w2"):
        one.register(name, capacity=1, host=name.decode(), pid=1)
    one.sent()
    one.call(b"c", b"1", key="k")
    ((first, _, _),) = one.requests()
    one.switch.unreachable((1, (first,)))
    assert one.error() == (b"c", "LostRemote", False)


def test_many_keys_for_a_full_worker_are_refused_by_name() -> None:
    one = bench(queue=2)
    one.register(b"w", capacity=1, host="a", pid=1)
    for number in range(3):
        one.call(b"c", b"%d" % number, key=number)
    one.sent()
    one.call(b"c", b"9", key=9)
    assert one.error() == (b"c", "Overloaded", True)
    status = one.status()["services"][0]
    assert (status["waiting"], status["busy"], status["refused"]) == (2, 1, 1)


def test_time_takes_out_what_waits_for_a_worker_that_stays_full() -> None:
    one = bench()
    one.register(b"w", capacity=1, host="a", pid=1)
    one.call(b"c", b"1", key="k")
    one.call(b"c", b"2", key="k", deadline=1000)
    one.sent()
    for _ in range(10):
        one.pass_time(0.1)
    names = [wire.unpack(frames[-1])[2][0] for name, frames in one.sent() if name == b"c"]
    assert "TimeoutExpired" in names


def test_what_workers_that_come_and_go_cost_is_bounded() -> None:
    """Each slot is weighed once for a worker that comes, whatever waits."""
    one = scheduler(*[worker(f"w{number}") for number in range(20)], capacity=1)
    for number in range(3_000):
        if one.submit(each := call(number)) is None:
            one.enqueue(each)
    filled = sum(best is not None for best in one._slots._owners)
    assert filled <= SLOTS
    one.add(worker("late"), 1)
    assert one.waiting.count == 3_000 - 21 and sum(map(one.pool.busy, one.pool)) == 21
