"""What a hub tells of its open calls, and that it hands the question on to one worker."""

from __future__ import annotations

from typing import Any

import pytest

from hubs.switching.calls import MAX_BEYOND_ROOM
from hubs.switching.open_calls import read_head
from hubs.switching.queue import QueueScheduler
from hubs.switching.sharded import ShardedScheduler
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.callers import FROM_PROCESS
from mesh.core.open_calls import MOST_ROWS, TOLD_FOR
from mesh.core.wire import OPEN_CALLS
from tests.hubs.switching.test_switch import Bench, reply

ASKS = {"service": mdp.CALLS}


def ask(bench: Bench, *args: Any, number: bytes = b"q", client: bytes = b"who asks") -> None:
    bench.event(client, {"message_id": number, **ASKS}, OPEN_CALLS, args)


def told(bench: Bench) -> dict[str, Any]:
    ask(bench)
    ((client, frames),) = bench.sent()
    header, name, args = wire.unpack(frames[-1])
    assert (client, header["response_to"], name) == (b"who asks", b"q", wire.OK)
    value: dict[str, Any] = args[0]
    return value


@pytest.mark.parametrize("scheduler", [QueueScheduler, ShardedScheduler])
def test_a_call_that_waits_and_one_that_a_worker_has(scheduler: Any) -> None:
    bench = Bench(hub="pay", new_scheduler=scheduler)
    bench.register(b"w", capacity=1, host="box-7", pid=77)
    trace = {"trace_id": "4b" * 16, "span_id": "f" * 16}
    header = {
        "message_id": b"1",
        "service": "echo",
        **trace,
        "batch": 1,
        FROM_PROCESS: ["web-2", 811, "uwsgi"],
    }
    bench.event(b"c", header, "charge", ["x" * 10_000])
    bench.now += 1.0
    bench.call(b"c", b"2")
    bench.sent()
    bench.now += 2.0
    hub = told(bench)
    assert (hub["hub"], hub["total"]) == ("pay", 2)
    given, waits = hub["calls"]
    assert [given[key] for key in ("id", "service", "method", "age", "given", "caller", "trace_id")] == [
        "1", "echo", "charge", 3.0, 3.0, "web-2:811", "4b" * 16,
    ]  # fmt: skip
    assert [waits[key] for key in ("id", "method", "age", "worker", "caller")] == [
        "2",
        "echo",
        2.0,
        0,
        "web-2:811",
    ]
    assert waits["waits_for"] == {"kind": "worker", "running": 1, "most": 1, "waiting": 1}
    (worker,) = hub["workers"]
    assert [worker[key] for key in ("number", "service", "host", "pid", "mesh", "last_heard")] == [
        given["worker"], "echo", "box-7", 77, True, 3.0,
    ]  # fmt: skip


def test_a_question_reaches_the_worker_that_is_asked_whatever_it_has() -> None:
    bench = Bench()
    for name in (b"w1", b"w2"):
        bench.register(name, capacity=1)
        bench.call(b"c", name)
    bench.sent()
    numbers = [worker["number"] for worker in told(bench)["workers"]]
    for number, name in zip(numbers, (b"w1", b"w2"), strict=True):
        ask(bench, number, number=b"of %s" % name)
        ((worker, token, body),) = bench.requests()
        assert worker == name and wire.unpack(body)[1] == OPEN_CALLS
        answer = reply(b"of %s" % name, {"calls": []})
        bench.answer(name, token, answer)
        assert bench.sent() == [(b"who asks", [b"", answer])]
    assert len(bench.switch.calls) == 2, "the calls themselves go on"


@pytest.mark.parametrize("number", [77, -1, "1", None, [1], True])
def test_who_asks_for_a_worker_that_is_not_there_is_told_so(number: Any) -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.sent()
    ask(bench, 77 if number is True else number)
    assert bench.error() == (b"who asks", "ServiceNotFound", True)


def test_a_worker_that_is_gone_is_asked_no_more() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.sent()
    (worker,) = told(bench)["workers"]
    bench.worker_says(b"w", mdp.disconnect())
    bench.now += TOLD_FOR
    ask(bench, worker["number"])
    assert bench.error()[1] == "ServiceNotFound" and not told(bench)["workers"]


def test_one_of_another_make_is_asked_nothing() -> None:
    bench = Bench()
    bench.register(b"w")
    (worker,) = told(bench)["workers"]
    assert worker["mesh"] is False
    ask(bench, worker["number"])
    assert bench.error() == (b"who asks", "ServiceNotFound", True)


def test_one_that_does_not_answer_is_asked_only_so_often() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.sent()
    (worker,) = told(bench)["workers"]
    for number in range(MAX_BEYOND_ROOM + 1):
        ask(bench, worker["number"], number=b"%d" % number)
    sent = bench.sent()
    _, name, args = wire.unpack(sent[-1][1][-1])
    assert (name, args[0]) == (wire.ERR, "Overloaded")
    assert "answered none" in args[1]


def test_a_call_whose_client_is_gone_is_told_as_long_as_its_worker_has_it() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1")
    bench.sent()
    bench.switch.unreachable((0, (b"c",)))
    bench.sent()
    (call,) = told(bench)["calls"]
    assert (call["wanted"], call["method"]) == (False, "echo")


def test_many_are_told_up_to_a_bound_the_oldest_first() -> None:
    bench = Bench(queue=2 * MOST_ROWS)
    bench.register(b"w", capacity=0)
    for number in range(MOST_ROWS + 3):
        bench.call(b"c", b"%d" % number)
        bench.now += 0.001
    bench.sent()
    hub = told(bench)
    assert (hub["total"], len(hub["calls"])) == (MOST_ROWS + 3, MOST_ROWS)
    assert hub["calls"][0]["id"] == "0"


def test_without_a_worker() -> None:
    bench = Bench()
    bench.call(b"c", b"1")
    bench.sent()
    (call,) = told(bench)["calls"]
    assert call["waits_for"] == {"kind": "worker", "running": 0, "most": 0, "waiting": 1}


@pytest.mark.parametrize(
    ("frames", "counted"),
    [
        ([b"", wire.pack({"message_id": 5, "v": 3, **ASKS}, OPEN_CALLS, [])], 1),
        ([b"", wire.pack({"message_id": b"q", "v": 3, **ASKS}, OPEN_CALLS, ["x" * 5_000])], 1),
        ([b"", wire.pack({"message_id": b"q", "v": 3, **ASKS}, OPEN_CALLS, [])[:-1]], 1),
    ],
)
def test_rubbish_is_counted(frames: list[bytes], counted: int) -> None:
    bench = Bench()
    bench.switch.receive(0, [b"c", *frames], bench.now)
    assert bench.sent() == [] and bench.switch.dropped["malformed"] == counted


def test_of_a_long_header_as_much_as_its_beginning_tells() -> None:
    event = wire.pack({"message_id": b"1", "v": 3, "trace_id": "t", "kwargs": {"a": "x" * 600}}, "get", [])
    assert read_head(event[:512])[0] == "" and read_head(event[:512])[1]["trace_id"] == "t"
    short = wire.pack({"message_id": b"1", "v": 3, "trace_id": "t"}, "get", ["x" * 600])
    assert read_head(short[:512])[0] == "get"
    assert read_head(b"") == ("", {}) and read_head(b"\x92\x01") == ("", {})
