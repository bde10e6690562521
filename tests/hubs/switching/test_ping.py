"""A ping is answered while no worker of its service has room."""

from __future__ import annotations

from typing import Any

import pytest

from hubs.switching.calls import LOOKED_AT, MAX_BEYOND_ROOM
from hubs.switching.model import Worker
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD
from tests.hubs.switching.test_switch import IN, OUT, Bench, reply


def ping(bench: Bench, client: bytes = b"p", number: bytes = b"ping") -> bytes:
    return bench.event(client, {"message_id": number, "service": "echo"}, wire.PING)


def full(workers: int = 1, **settings: Any) -> Bench:
    """A hub each of whose mesh workers has its one call, while another waits."""
    bench = Bench(**settings)
    for number in range(workers):
        bench.register(b"w%d" % number, capacity=1)
    for number in range(workers + 1):
        bench.call(b"c", b"%d" % number)
    assert len(bench.requests()) == workers
    return bench


def the_worker(bench: Bench) -> Worker:
    (worker,) = bench.switch.workers.values()
    return worker


def test_a_worker_of_mesh_is_given_it_whatever_it_has() -> None:
    bench = full()
    event = ping(bench)
    ((worker, token, body),) = bench.requests()
    assert (worker, body) == (b"w0", event)
    bench.answer(b"w0", token, reply(b"ping", ["pong", "x"]))
    assert bench.sent() == [(b"p", [b"", reply(b"ping", ["pong", "x"])])]
    assert not the_worker(bench).beyond_room


def test_it_takes_no_room_from_the_calls() -> None:
    """Else a flood of pings would keep the calls of others waiting."""
    bench = full()
    for number in range(3):
        ping(bench, number=b"p%d" % number)
    pings = [token for _, token, _ in bench.requests()]
    pool = bench.switch.services["echo"].scheduler.pool
    assert pool.busy(the_worker(bench)) == 1
    bench.answer(b"w0", next(iter(the_worker(bench).calls)), reply(b"0"))
    assert len(bench.requests()) == 1 and not bench.switch.services["echo"].scheduler.waiting.count
    for number, token in enumerate(pings):
        bench.answer(b"w0", token, reply(b"p%d" % number))
    assert pool.busy(the_worker(bench)) == 1 and not the_worker(bench).beyond_room


def test_one_that_has_room_gets_it_as_any_call() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    ping(bench)
    assert len(bench.requests()) == 1
    assert bench.switch.services["echo"].scheduler.pool.take() is None


def test_the_one_is_asked_that_was_heard_last() -> None:
    """A frozen one says nothing, and is not lost yet."""
    bench = full(workers=3, heartbeat=1.0)
    bench.now += 1.0
    bench.worker_says(b"w1", mdp.heartbeat())
    ping(bench)
    assert [worker for worker, _, _ in bench.requests()] == [b"w1"]


def test_a_worker_that_does_not_answer_is_given_no_more_than_so_many() -> None:
    bench = full()
    for number in range(MAX_BEYOND_ROOM + 5):
        ping(bench, number=b"p%d" % number)
    assert len(bench.requests()) == MAX_BEYOND_ROOM
    assert bench.switch.services["echo"].scheduler.waiting.count == 1 + 5


def test_those_that_take_no_calls_are_asked_nothing() -> None:
    bench = Bench()
    bench.register(b"w", capacity=0)
    ping(bench)
    assert bench.requests() == [] and bench.switch.services["echo"].scheduler.waiting.count == 1


def test_no_ping_looks_at_more_than_some_workers() -> None:
    bench = Bench()
    for number in range(LOOKED_AT + 1):
        bench.register(b"p%d" % number, capacity=0)
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1")
    bench.requests()
    ping(bench)
    assert bench.requests() == []


def test_its_end_comes_with_the_worker() -> None:
    bench = full()
    ping(bench)
    bench.sent()
    bench.switch.unreachable((OUT, (b"w0",)))
    ends = {client: wire.unpack(frames[-1])[2][0] for client, frames in bench.sent()}
    assert ends[b"p"] == "LostRemote"


def test_a_call_with_that_name_at_its_end_is_no_ping() -> None:
    bench = full()
    for name, args in (("echo", [wire.PING, []]), (wire.PING, [1])):
        bench.event(b"p", {"message_id": name.encode(), "service": "echo"}, name, args)
    assert bench.requests() == [] and bench.switch.services["echo"].scheduler.waiting.count == 3


# Workers of other makes, which take one call and no more


def busy_other(speaks: int = 2) -> Bench:
    bench = Bench(heartbeat=1.0)
    bench.register(b"w", speaks=speaks)
    bench.call(b"c", b"1")
    assert len(bench.requests()) == 1
    return bench


@pytest.mark.parametrize("speaks", [1, 2])
def test_the_hub_answers_for_one_whose_heartbeats_go_on(speaks: int) -> None:
    bench = busy_other(speaks)
    ping(bench)
    ((client, frames),) = bench.sent()
    header, name, args = wire.unpack(frames[-1])
    assert (client, header["response_to"], name, args) == (b"p", b"ping", wire.OK, [["pong", "echo"]])
    assert "mesh" not in header
    assert [client for _, (client,) in bench.switch.clients] == [b"c"]
    bench.answer(b"w", next(iter(the_worker(bench).calls)), reply(b"1"))
    bench.clean()


def test_a_ping_for_one_that_is_silent_waits() -> None:
    bench = busy_other()
    bench.now += 1.6
    ping(bench)
    assert bench.sent() == [] and bench.switch.services["echo"].scheduler.waiting.count == 1


@pytest.mark.parametrize("speaks", [1, 2])
def test_a_majordomo_client_has_its_answer_in_its_own_words(speaks: int) -> None:
    bench = busy_other()
    event = wire.pack({"message_id": b"ping", "v": 3}, wire.PING, [])
    bench.switch.receive(IN, [b"p", *mdp.request("echo", [event], STANDARD[speaks])], bench.now)
    ((client, frames),) = bench.sent()
    assert client == b"p"
    assert wire.unpack(frames[-1])[1:] == (wire.OK, [["pong", "echo"]])


def test_a_mesh_worker_is_asked_before_the_hub_speaks_for_another() -> None:
    bench = Bench()
    bench.register(b"other")
    bench.register(b"mesh", capacity=1)
    for number in (b"1", b"2"):
        bench.call(b"c", number)
    bench.requests()
    ping(bench)
    assert [worker for worker, _, _ in bench.requests()] == [b"mesh"]
