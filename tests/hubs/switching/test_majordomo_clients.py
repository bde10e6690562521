"""Majordomo clients that send events to workers of mesh: the hub says for them what their protocol can't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest
import zmq

import mesh
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command
from tests.helpers.processes import eventually
from tests.hubs.switching.test_switch import IN, OUT, Bench, reply
from tests.hubs.test_broker import majordomo, running, until_registered
from tests.hubs.wires import Socket, Wires

WINDOW = 100


def call(bench: Bench, speaks: int = 2, body: bytes = b"") -> bytes:
    """A call of client c that worker w has got; its token."""
    event = body or wire.pack({"message_id": b"1", "v": 3}, "echo", [])
    bench.switch.receive(IN, [b"c", *mdp.request("echo", [event], STANDARD[speaks])], bench.now)
    ((_, token, _),) = bench.requests()
    return token


def event(name: str) -> bytes:
    return reply(b"1", "x", name)


def follow_ups(bench: Bench) -> tuple[list[tuple[str, Any, Any]], list[list[bytes]]]:
    """(name, cancel or None, first argument) of what went to the worker, and the frames for the client."""
    to_worker, to_client = [], []
    for to, frames in bench.sent():
        if to == b"c":
            to_client.append(frames)
        else:
            header, name, args = wire.unpack(frames[-1])
            assert header["response_to"] == b"1"
            to_worker.append((name, header.get("cancel"), args[0]))
    return to_worker, to_client


def test_a_heartbeat_of_the_worker_is_answered() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    token = call(bench)
    bench.answer(b"w", token, event(wire.BEAT), Command.PARTIAL)
    to_worker, to_client = follow_ups(bench)
    assert to_worker == [(wire.BEAT, None, 0)]
    assert to_client == [mdp.answer(STANDARD[2], Command.PARTIAL, "echo", [event(wire.BEAT)])]


def test_a_stream_has_credit_as_long_as_it_lasts() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    token = call(bench)
    credit = 1
    for number in range(1_000):
        credit -= 1
        assert credit >= 0, number
        bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
        to_worker, to_client = follow_ups(bench)
        assert len(to_client) == 1
        credit += sum(granted for name, _, granted in to_worker if name == wire.MORE)
        assert credit <= WINDOW
    bench.answer(b"w", token, event(wire.STREAM_DONE))
    assert follow_ups(bench)[0] == []
    bench.clean()


def test_a_client_of_01_is_told_that_a_stream_is_nothing_for_it() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    token = call(bench, 1)
    bench.answer(b"w", token, event(wire.BEAT), Command.PARTIAL)
    assert follow_ups(bench) == ([(wire.BEAT, None, 0)], [])
    bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
    to_worker, ((*head, name, text),) = follow_ups(bench)
    assert to_worker == [(wire.BEAT, True, 0)]
    assert (head, name) == ([b"", b"MDPC01", b"echo"], b"WireError")
    assert text == b"echo: the answer is a stream of many, and Majordomo 0.1 takes one for a call: use 0.2"
    bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
    bench.answer(b"w", token, event(wire.ERR))
    assert follow_ups(bench) == ([], [])
    assert set(bench.switch.dropped) == {"late"}
    bench.clean()


@pytest.mark.parametrize("speaks", [1, 2])
def test_a_client_that_is_gone_has_its_call_cancelled(speaks: int) -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    token = call(bench, speaks)
    bench.switch.unreachable((IN, (b"c",)))
    assert follow_ups(bench) == ([(wire.BEAT, True, 0)], [])
    bench.answer(b"w", token, event(wire.ERR))
    bench.clean()


def test_a_client_of_a_worker_of_mesh_is_probed() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.register(b"strict", "other")
    call(bench)
    beat = wire.pack({"message_id": b"1", "v": 3}, "echo", [])
    bench.switch.receive(IN, [b"d", *mdp.request("other", [beat])], bench.now)
    bench.switch.receive(IN, [b"e", *mdp.request("echo", [beat], STANDARD[1])], bench.now)
    bench.sent()
    bench.switch.probe(IN)
    ((client, frames),) = bench.sent()
    assert (client, frames[:3]) == (b"c", [b"MDPC02", b"\x02", b"echo"])
    assert wire.unpack(frames[3])[1] == wire.BEAT


@pytest.mark.parametrize(
    "body",
    [b"no event", reply(b"1"), wire.pack({"message_id": 5}, "echo", []), wire.pack({}, "echo", [])],
)
def test_what_is_no_call_of_an_event_is_passed_on_and_no_more(body: bytes) -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    token = call(bench, body=body)
    for part in (b"part", event(wire.BEAT), event(wire.STREAM)):
        bench.answer(b"w", token, part, Command.PARTIAL)
        assert bench.sent() == [(b"c", mdp.answer(STANDARD[2], Command.PARTIAL, "echo", [part]))]
    bench.switch.unreachable((IN, (b"c",)))
    assert bench.sent() == []


def test_the_first_frame_of_a_body_is_the_event_as_it_is_to_the_worker() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    body = [wire.pack({"message_id": b"1", "v": 3}, "echo", []), b"more"]
    bench.switch.receive(IN, [b"c", *mdp.request("echo", body)], bench.now)
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
    assert follow_ups(bench)[0] == [(wire.MORE, None, WINDOW)]
    bench.switch.unreachable((IN, (b"c",)))
    assert follow_ups(bench)[0] == [(wire.BEAT, True, 0)]


def test_another_make_of_worker_hears_nothing_after_the_request() -> None:
    bench = Bench()
    bench.register(b"w")
    token = call(bench)
    for name in (wire.BEAT, wire.STREAM):
        bench.answer(b"w", token, event(name), Command.PARTIAL)
    bench.switch.unreachable((IN, (b"c",)))
    assert OUT not in {side for (side, _), _ in bench.switch.take_out()}


@pytest.mark.parametrize("speaks", [1, 2])
def test_a_worker_that_can_not_be_told_has_its_place_back(speaks: int) -> None:
    """It may have dropped the call of a client that is gone, and would get no other as long as it lives."""
    bench = Bench(timeout=5.0, heartbeat=1.0)
    bench.register(b"w")
    token = call(bench, speaks)
    bench.switch.receive(IN, [b"d", *mdp.request("echo", [b"waits"], STANDARD[speaks])], bench.now)
    bench.switch.unreachable((IN, (b"c",)))
    for _ in range(9):
        bench.pass_time(0.5)
        bench.worker_says(b"w", mdp.heartbeat())
    assert bench.requests() == []
    bench.call(b"z", b"9")
    bench.pass_time(0.6)
    ((worker, other, body),) = bench.requests()
    assert (worker, body) == (b"w", b"waits") and other != token
    assert any("has not answered a call since its client is gone" in text for _, text in bench.log_lines)
    bench.answer(b"w", token, b"late")
    assert bench.switch.dropped == {"late": 1}
    bench.answer(b"w", other, b"in time")
    ((client, frames), (_, request)) = bench.sent()
    assert (client, frames[-1]) == (b"d", b"in time")
    bench.answer(b"w", request[2], reply(b"9"))
    bench.clean()


def test_a_worker_that_answers_in_time_keeps_its_place_to_the_end() -> None:
    bench = Bench(timeout=5.0, heartbeat=1.0)
    bench.register(b"w")
    token = call(bench)
    bench.switch.unreachable((IN, (b"c",)))
    bench.answer(b"w", token, b"late")
    (worker,) = bench.switch.workers.values()
    assert not worker.abandoned
    bench.switch.receive(IN, [b"d", *mdp.request("echo", [b"next"])], bench.now)
    assert len(bench.requests()) == 1
    for _ in range(20):
        bench.pass_time(0.5)
        bench.worker_says(b"w", mdp.heartbeat())
    assert len(worker.calls) == 1


def test_a_worker_of_mesh_keeps_the_place_of_a_call_that_it_was_told_to_cancel() -> None:
    """Its handler may run on; it says itself when that has ended."""
    bench = Bench(timeout=5.0, heartbeat=1.0)
    bench.register(b"w", capacity=1)
    call(bench)
    bench.switch.unreachable((IN, (b"c",)))
    for _ in range(20):
        bench.pass_time(0.5)
        bench.worker_says(b"w", mdp.heartbeat())
    (worker,) = bench.switch.workers.values()
    assert len(worker.calls) == 1 and not worker.abandoned


# With real sockets


class Shop:
    """What the worker serves. ended: streams that have come to their end, or were left."""

    def __init__(self) -> None:
        self.ended = 0

    def nap(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return "rested"

    def count(self, number: int, pause: float = 0.0) -> Iterator[int]:
        try:
            for one in range(number):
                yield one
                if pause:
                    gevent.sleep(pause)
        finally:
            self.ended += 1


BEAT = 0.3
"""Seconds between heartbeats of the worker, which gives a silent client up after two."""


@contextmanager
def serving(wires: Wires) -> Iterator[tuple[Any, Shop, Socket]]:
    """A hub's broker, what its one worker of mesh serves, one call at a time, and a client's socket."""
    with ExitStack() as stack:
        broker, ends = stack.enter_context(running(majordomo()))
        shop = Shop()
        server = mesh.Server(shop, name="shop", heartbeat=BEAT, pool_size=1)
        server.register("shop", ends.out[0])
        server.start()
        stack.callback(server.stop, 0.2)
        until_registered(broker, 1)
        yield broker, shop, wires(zmq.DEALER, ends.in_[0])


def ask(client: Socket, speaks: int, name: str, *args: Any, **header: Any) -> None:
    body = [wire.pack({"message_id": b"m1", "v": 3, **header}, name, list(args))]
    client.send_multipart(mdp.request("shop", body, STANDARD[speaks]))


def events(client: Socket) -> Iterator[tuple[str, Any]]:
    """Name and arguments of what comes, but for heartbeats."""
    while True:
        _, name, args = wire.unpack(client.recv_multipart()[-1])
        if name != wire.BEAT:
            yield name, args


@pytest.mark.parametrize("speaks", [1, 2])
def test_a_call_may_take_longer_than_heartbeats_would_be_missed(wires: Wires, speaks: int) -> None:
    with serving(wires) as (_, _, client):
        ask(client, speaks, "nap", 6 * BEAT)
        assert next(events(client)) == ("OK", ["rested"])


@pytest.mark.parametrize("header", [{}, {"heartbeat": 0}], ids=["beats", "none"])
def test_a_client_of_02_gets_a_whole_stream(wires: Wires, header: dict[str, Any]) -> None:
    with serving(wires) as (broker, _, client):
        ask(client, 2, "count", 1_000, **header)
        got = events(client)
        assert [next(got) for _ in range(1_000)] == [("STREAM", number) for number in range(1_000)]
        assert next(got)[0] == "STREAM_DONE"
        eventually(lambda: not next(iter(broker.switch.workers.values())).calls)


def test_a_client_of_01_gets_one_answer_to_a_stream_and_its_place_is_free(wires: Wires) -> None:
    with serving(wires) as (_, shop, client):
        ask(client, 1, "count", 1_000_000)
        assert client.recv_multipart()[2:4] == [b"shop", b"WireError"]
        ask(client, 1, "nap", 0)
        assert next(events(client)) == ("OK", ["rested"])
        assert shop.ended == 1


def test_the_stream_of_a_client_that_is_gone_ends(wires: Wires) -> None:
    with serving(wires) as (broker, shop, client):
        ask(client, 2, "count", 1_000_000, 0.01)
        assert next(events(client)) == ("STREAM", 0)
        client.close(0)
        eventually(lambda: shop.ended == 1, what="the generator to be closed")
        eventually(lambda: not next(iter(broker.switch.workers.values())).calls)


def test_a_client_that_does_not_read_gets_no_more_credit_until_it_does() -> None:
    bench = Bench()
    bench.is_crowded = True
    bench.register(b"w", capacity=2)
    token = call(bench)
    bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
    assert follow_ups(bench)[0] == []
    bench.switch.grant_owed()
    assert follow_ups(bench)[0] == []
    bench.is_crowded = False
    bench.switch.grant_owed()
    bench.switch.grant_owed()
    assert follow_ups(bench)[0] == [(wire.MORE, None, WINDOW)]


def test_a_call_that_has_ended_is_owed_nothing() -> None:
    bench = Bench()
    bench.is_crowded = True
    bench.register(b"w", capacity=2)
    token = call(bench)
    bench.answer(b"w", token, event(wire.STREAM), Command.PARTIAL)
    bench.answer(b"w", token, event(wire.STREAM_DONE), Command.FINAL)
    bench.sent()
    bench.is_crowded = False
    bench.switch.grant_owed()
    assert bench.sent() == []
