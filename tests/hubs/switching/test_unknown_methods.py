"""A call of a method that no worker has is answered while none of them has room."""

from __future__ import annotations

from typing import Any

import pytest

from hubs.switching.calls import MAX_BEYOND_ROOM
from mesh.core import wire
from tests.hubs.switching.test_switch import Bench, reply


def full(*methods: Any) -> Bench:
    """A hub each of whose workers has its one call, while another waits. methods: what each tells of them."""
    bench = Bench()
    for number, told in enumerate(methods):
        bench.register(b"w%d" % number, capacity=1, **({} if told is None else {"methods": told}))
    for number in range(len(methods) + 1):
        bench.call(b"c", b"%d" % number)
    assert len(bench.requests()) == len(methods)
    return bench


def call_of(bench: Bench, method: str, number: bytes = b"n") -> bytes:
    return bench.event(b"p", {"message_id": number, "service": "echo"}, method, [1])


def waiting(bench: Bench) -> int:
    return bench.switch.services["echo"].scheduler.waiting.count


def test_a_worker_is_given_it_whatever_it_has_and_keeps_its_room() -> None:
    bench = full(["echo", wire.PING])
    event = call_of(bench, "ehco")
    ((name, token, body),) = bench.requests()
    assert (name, body) == (b"w0", event)
    (worker,) = bench.switch.workers.values()
    pool = bench.switch.services["echo"].scheduler.pool
    assert pool.busy(worker) == 1 and waiting(bench) == 1
    bench.answer(b"w0", token, reply(b"n"))
    assert bench.sent() == [(b"p", [b"", reply(b"n")])]
    assert pool.busy(worker) == 1 and not worker.beyond_room


def test_a_method_that_there_is_waits() -> None:
    bench = full(["echo"])
    call_of(bench, "echo")
    assert bench.requests() == [] and waiting(bench) == 2


@pytest.mark.parametrize("other", [["echo", "new"], None, "new", [1], ["new", 2], [], {"new": 1}])
@pytest.mark.parametrize("first", [True, False])
def test_it_waits_where_one_of_the_workers_may_have_it(other: Any, first: bool) -> None:
    bench = full(*([other, ["echo"]] if first else [["echo"], other]))
    call_of(bench, "new")
    assert bench.requests() == [] and waiting(bench) == 2


def test_one_of_another_make_may_have_it() -> None:
    bench = full(["echo"])
    bench.register(b"other")
    bench.requests()
    call_of(bench, "new")
    assert bench.requests() == [] and waiting(bench) == 1


def test_no_worker_is_given_more_than_so_many() -> None:
    bench = full(["echo"])
    for number in range(MAX_BEYOND_ROOM + 5):
        call_of(bench, "ehco", b"n%d" % number)
    assert len(bench.requests()) == MAX_BEYOND_ROOM and waiting(bench) == 1 + 5


def test_the_names_are_kept_but_once_for_all_workers_of_a_service() -> None:
    bench = full(["echo", "get"], ["get", "echo"])
    one, other = bench.switch.workers.values()
    assert one.methods is other.methods
    assert one.about is not None and "methods" not in one.about
