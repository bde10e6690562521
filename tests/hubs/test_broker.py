"""Queue and majordomo hubs with real sockets, and real processes where something dies."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
import zmq

import mesh
from hubs.broker import Broker
from hubs.hub import Endpoints
from hubs.hub_types import make_hub
from hubs.spec import HubSpec, Side
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.errors import ConfigError
from tests.helpers.peers import OldClient
from tests.helpers.processes import Process, eventually, python
from tests.helpers.raw import RawClient
from tests.hubs.wires import ANY, Socket, Wires, spec

WORKER = Path(__file__).with_name("worker.py")
HEARTBEAT = 0.5


def queue(**more: Any) -> HubSpec:
    return spec("queue", **{"anonymous": False, "heartbeat": HEARTBEAT, **more})


def majordomo(**more: Any) -> HubSpec:
    return spec("majordomo", **{"heartbeat": HEARTBEAT, **more})


@contextmanager
def running(one: HubSpec) -> Iterator[tuple[Broker, Endpoints]]:
    broker = make_hub(one)
    endpoints = broker.start()
    try:
        yield broker, endpoints
    finally:
        broker.stop(0)


@contextmanager
def workers(endpoint: str, number: int, service: str = "echo", capacity: int = 10) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        all_of_them = [python(WORKER, endpoint, service, str(capacity)) for _ in range(number)]
        for one in all_of_them:
            stack.enter_context(one)
        yield all_of_them


def until_registered(broker: Broker, number: int) -> None:
    eventually(lambda: len(broker.switch.workers) == number, what=f"{number} workers")


def event(number: bytes, name: str = "echo", args: Any = (1,), **header: Any) -> tuple[Any, str, Any]:
    return {"message_id": number, "v": 3, **header}, name, list(args)


def answer(number: bytes, value: Any) -> bytes:
    return wire.pack({"message_id": b"a", "v": 3, "response_to": number}, wire.OK, [value])


@pytest.fixture(params=["queue", "majordomo", "one socket"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> HubSpec:
    """Each kind of hub, serving `echo` to clients that name no service."""
    if request.param == "queue":
        return queue()
    if request.param == "majordomo":
        return majordomo(default="echo")
    both = Side((f"ipc://{tmp_path}/hub",))
    return majordomo(in_=both, out=both, default="echo")


# Calls


def test_mesh_clients_and_unchanged_zerorpc_clients(hub: HubSpec) -> None:
    with running(hub) as (broker, (in_, out)), workers(out[0], 2) as both:
        until_registered(broker, 2)
        with mesh.connect(in_[0]) as client, OldClient("python", in_[0]) as old:
            pids = {client.pid() for _ in range(4)} | {old.call("pid").value for _ in range(4)}
            assert pids == {one.pid for one in both}
            assert client.echo({"a": [1]}) == {"a": [1]}
            assert list(client.count(500)) == list(range(500))
            assert old.stream("count", 500).items == list(range(500))
            assert old.many("echo", *([number] for number in range(50))).value == list(range(50))
        eventually(lambda: not broker.switch.calls)


def test_an_old_client_prints_why_its_call_was_refused() -> None:
    """str() of its RemoteError is the traceback, and nothing else."""
    with running(majordomo()) as (_, (in_, _)), OldClient("python", in_[0]) as old:
        error = old.call("pid").error
        assert error is not None and error.name == "ServiceNotFound"
        assert error.traceback == f"ServiceNotFound: {error.message}\n"
        assert "names no service" in error.message


def test_clients_find_each_service_of_a_majordomo_hub_by_name(tmp_path: Path) -> None:
    with (
        running(majordomo()) as (broker, (in_, out)),
        workers(out[0], 1, "one") as (one,),
        workers(out[0], 1, "two") as (two,),
    ):
        until_registered(broker, 2)
        registry = tmp_path / "services.yml"
        registry.write_text("".join(f"{name}: {{hub: '{in_[0]}'}}\n" for name in ("one", "two", "three")))
        for name, process in (("one", one), ("two", two)):
            with mesh.connect(name, services=str(registry)) as client:
                assert client.pid() == process.pid
        with mesh.connect("three", services=str(registry)) as client:
            begun = time.monotonic()
            with pytest.raises(mesh.ServiceNotFound, match="hub 'one' has no worker of 'three'"):
                client.pid()
            assert time.monotonic() - begun < 10


def test_a_queue_without_a_worker_says_how_to_start_one() -> None:
    with running(queue(heartbeat=0.1)) as (_, (in_, out)), mesh.connect(in_[0]) as client:
        how = f"hub 'one' has no worker: start one with 'mesh-register one TARGET --hub {out[0]}'"
        with pytest.raises(mesh.ServiceNotFound, match=re.escape(how)):
            client.pid()


def test_an_open_call_keeps_an_old_client_waiting_with_heartbeats() -> None:
    with running(queue(heartbeat=0.2)) as (broker, (in_, out)), workers(out[0], 1, capacity=1):
        until_registered(broker, 1)
        with RawClient(in_[0]) as first, RawClient(in_[0]) as second:
            first.send(*event(b"1", "hold"))
            eventually(lambda: broker.switch.calls)
            second.send(*event(b"2"))
            begun = time.monotonic()
            beats = [second.receive() for _ in range(3)]
            assert time.monotonic() - begun > 0.4
            assert {(header["response_to"], name) for header, name, _ in beats} == {(b"2", "_zpc_hb")}


def test_a_client_that_leaves_takes_its_calls_along(hub: HubSpec) -> None:
    with running(hub) as (broker, (in_, out)), workers(out[0], 1, capacity=1), RawClient(in_[0]) as other:
        until_registered(broker, 1)
        with RawClient(in_[0]) as client:
            for number in (b"1", b"2", b"3"):
                client.send(*event(number, "hold"))
            eventually(lambda: len(broker.switch.calls) == 3)
        eventually(lambda: not broker.switch.calls)
        other.send(*event(b"1", "cancelled"))
        assert other.answer()[2] == [1]


# Majordomo from anyone


@pytest.mark.parametrize("of_client", [1, 2])
@pytest.mark.parametrize("of_worker", [1, 2])
def test_plain_majordomo_workers_and_clients(wires: Wires, of_client: int, of_worker: int) -> None:
    with running(majordomo()) as (_, (in_, out)):
        worker, client = wires(zmq.DEALER, *out), wires(zmq.DEALER, *in_)
        worker.send_multipart(mdp.ready("echo", None, STANDARD[of_worker]))
        client.send_multipart(mdp.request("echo", [b"a", b"b"], STANDARD[of_client]))
        request = next_request(worker)
        assert (request.style.version, request.body) == (of_worker, (b"a", b"b"))
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, [b"c", b"d"]))
        expected = mdp.answer(STANDARD[of_client], Command.FINAL, "echo", [b"c", b"d"])
        assert client.recv_multipart() == expected
        client.send_multipart(mdp.request("mmi.service", [b"echo"], STANDARD[of_client]))
        assert client.recv_multipart()[-1] == b"200"


def but_beats(client: Socket) -> list[bytes]:
    """The next message that is no heartbeat, which a hub may send at any time."""
    while True:
        frames = client.recv_multipart()
        if wire.unpack(frames[-1])[1] != wire.BEAT:
            return frames


def next_request(worker: Socket) -> FromWorker:
    while True:
        message = mdp.read(worker.recv_multipart())
        assert isinstance(message, FromWorker)
        if message.command is Command.REQUEST:
            return message
        assert message.command is Command.HEARTBEAT


def test_a_queue_hub_takes_workers_and_clients_of_any_name_or_of_one(wires: Wires) -> None:
    with running(queue()) as (broker, (in_, out)), workers(out[0], 1, "whatever") as (one,):
        until_registered(broker, 1)
        with RawClient(in_[0]) as client:
            client.send(*event(b"1", "pid", (), service="another"))
            assert client.answer()[2] == [one.pid]
    with running(queue(service="echo")) as (broker, (in_, out)):
        worker = wires(zmq.DEALER, *out)
        worker.send_multipart(mdp.ready("other"))
        assert worker.recv_multipart() == mdp.disconnect()
        assert not broker.switch.workers


# Seeing in


def test_a_hub_tells_of_itself_through_its_in_side(hub: HubSpec) -> None:
    with running(hub) as (broker, (in_, out)), workers(out[0], 2, capacity=7), RawClient(in_[0]) as client:
        until_registered(broker, 2)
        client.send(*event(b"1", "hold", ()))
        eventually(lambda: any(worker.calls for worker in broker.switch.workers.values()))
        client.send(*event(b"2", "any", (), service="mmi.status"))
        header, name, (values,) = client.answer()
        assert (header["response_to"], name) == (b"2", "OK")
        assert (values["name"], values["type"], values["pid"]) == (hub.name, hub.type, os.getpid())
        assert (values["in"], values["out"]) == ([*in_], [*out])
        assert 0 < values["uptime"] < 60
        (service,) = values["services"]
        assert [service[key] for key in ("workers", "capacity", "busy", "calls")] == [2, 14, 1, 0]
        assert [worker["capacity"] for worker in values["workers"]] == [7, 7]


def test_its_numbers_are_asked_of_its_own_thread() -> None:
    with running(queue()) as (broker, (_, out)), workers(out[0], 1):
        until_registered(broker, 1)
        values = broker.status(5.0)
        assert values is not None
        assert [service["workers"] for service in values["services"]] == [1]
        assert "workers" not in values
    begun = time.monotonic()
    assert broker.status(0.1) is None
    assert time.monotonic() - begun < 10


# Loss


@pytest.mark.parametrize("how", ["busy", "idempotent"])
def test_a_killed_worker_is_known_at_once(hub: HubSpec, how: str) -> None:
    """By its connection, not by its silence for three heartbeats."""
    with running(replace(hub, heartbeat=20)) as (broker, (in_, out)), RawClient(in_[0]) as client:
        with workers(out[0], 1) as (victim,):
            until_registered(broker, 1)
            client.send(*event(b"1", "hold", (), idempotent=how == "idempotent"))
            eventually(lambda: any(worker.calls for worker in broker.switch.workers.values()))
            victim.signal(signal.SIGKILL)
            begun = time.monotonic()
            if how == "busy":
                header, name, args = client.answer()
                assert (name, args[0], header["refused"]) == ("ERR", "LostRemote", False)
            else:
                eventually(lambda: not broker.switch.workers)
            assert time.monotonic() - begun < 10
        if how == "idempotent":
            with workers(out[0], 1):
                eventually(lambda: any(worker.calls for worker in broker.switch.workers.values()))


def test_an_idle_worker_that_is_killed_gets_no_call(hub: HubSpec) -> None:
    with running(hub) as (broker, (in_, out)), workers(out[0], 2) as (victim, survivor):
        until_registered(broker, 2)
        victim.kill()
        until_registered(broker, 1)
        with RawClient(in_[0]) as client:
            for number in range(10):
                client.send(*event(b"%d" % number, "pid", ()))
                assert client.answer()[2] == [survivor.pid]


def test_a_frozen_worker_is_lost_after_three_heartbeats(hub: HubSpec) -> None:
    with running(hub) as (broker, (in_, out)), workers(out[0], 1) as (worker,), RawClient(in_[0]) as client:
        until_registered(broker, 1)
        client.send(*event(b"1", "hold", ()))
        eventually(lambda: any(one.calls for one in broker.switch.workers.values()))
        worker.signal(signal.SIGSTOP)
        begun = time.monotonic()
        assert client.answer()[2][0] == "LostRemote"
        assert time.monotonic() - begun < 3 * HEARTBEAT + 3
        worker.signal(signal.SIGCONT)
        until_registered(broker, 1)
        client.send(*event(b"2"))
        assert client.answer()[2] == [1]


def test_after_a_restart_workers_register_again_and_old_answers_reach_nobody(tmp_path: Path) -> None:
    sides = {side: Side((f"ipc://{tmp_path}/{side}",)) for side in ("in_", "out")}
    config = tmp_path / "hub.yml"
    config.write_text(
        f"in: 'ipc://{tmp_path}/in_'\nout: 'ipc://{tmp_path}/out'\ntype: queue\nheartbeat: {HEARTBEAT}\n"
    )
    command = [sys.executable, "-m", "hubs.command", str(config)]
    with (
        workers(sides["out"].bind[0], 2) as both,
        mesh.connect(sides["in_"].bind[0], heartbeat=0.5) as client,
    ):
        with Process(command) as first:
            first.wait_for("^hub ")
            assert {client.pid() for _ in range(20)} <= {one.pid for one in both}
            pending = client.hold.future()
            gevent.sleep(0.05)
            first.kill()
        with Process(command) as second:
            second.wait_for("^hub ")
            assert client.echo(7) == 7
            with pytest.raises(mesh.LostRemote):
                pending.result(timeout=10)


# Bad input


def test_a_flood_of_one_client_does_not_starve_another(hub: HubSpec) -> None:
    flooded = replace(hub, queue=2_000)
    with running(flooded) as (broker, (in_, out)), workers(out[0], 1), RawClient(in_[0]) as flood:
        until_registered(broker, 1)
        payload = wire.pack(*event(b"x", "echo", ("x" * 1000,)))
        ended = threading.Event()

        def pour() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                one = payload.replace(b"\xc4\x01x", b"\xc4\x0a%010d" % number)
                if flood.socket.poll(10, zmq.POLLOUT):
                    flood.socket.send_multipart([b"", one])

        pouring = threading.Thread(target=pour)
        pouring.start()
        try:
            with RawClient(in_[0]) as client:
                for number in range(20):
                    client.send(*event(b"%d" % number))
                    assert client.answer()[2] == [1]
        finally:
            ended.set()
            pouring.join()


def test_a_client_that_never_reads_is_given_up(wires: Wires) -> None:
    with running(queue(queue=100_000)) as (broker, (in_, out)):
        worker = wires(zmq.DEALER, *out)
        worker.send_multipart(mdp.ready("echo", {"capacity": 100_000}))
        client = wires(zmq.DEALER)
        client.rcvhwm = 1
        client.connect(in_[0])
        client.send_multipart([b"", wire.pack(*event(b"1"))])
        token, body = next_request(worker).address, answer(b"1", os.urandom(1_000_000))
        stream = mdp.carried(STANDARD[2], Command.PARTIAL, token, [body])

        def given_up() -> bool:
            worker.send_multipart(stream)
            return not broker.switch.calls

        eventually(given_up, timeout=60)
        # Others are served meanwhile and after.
        other = wires(zmq.DEALER, *in_)
        other.send_multipart([b"", wire.pack(*event(b"1"))])
        request = next_request(worker)
        while wire.unpack(request.body[0])[1] == wire.BEAT:
            request = next_request(worker)
        done = answer(b"1", "done")
        worker.send_multipart(mdp.carried(STANDARD[2], Command.FINAL, request.address, [done]))
        assert but_beats(other) == [b"", done]


def test_what_is_kept_for_a_client_that_never_reads_is_counted(
    wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its connection is given up, which takes three heartbeats."""
    with running(queue(heartbeat=60)) as (broker, (in_, out)):
        worker, client = wires(zmq.DEALER, *out), wires(zmq.DEALER)
        worker.send_multipart(mdp.ready("echo", {"capacity": 1}))
        client.rcvhwm = 1
        client.connect(in_[0])
        client.send_multipart([b"", wire.pack(*event(b"1"))])
        token, body = next_request(worker).address, answer(b"1", "x" * 20_000)
        part = mdp.carried(STANDARD[2], Command.PARTIAL, token, [body])
        for _ in range(30_000):
            worker.send_multipart(part)
            if not broker.switch.clients:
                break
        number = broker.switch.dropped["not read"]
        assert 10_000 >= number > 3_000
        eventually(lambda: f"dropped {number} not read" in caplog.text)
        told = f"hub one: a client did not read: {number} messages are thrown away, calls given up: 1"
        assert caplog.messages.count(told) == 1


def test_rubbish(hub: HubSpec, wires: Wires) -> None:
    chance = random.Random(1)
    words = [b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"MDPW03", b"echo", b"mmi.service"]
    words += [bytes([number]) for number in range(7)] + [wire.pack(*event(b"1")), b"\x93\x80", b"x" * 300]
    with running(hub) as (broker, (in_, out)), workers(out[0], 1, capacity=3), RawClient(in_[0]) as client:
        until_registered(broker, 1)
        for endpoint in (in_[0], out[0]):
            for _ in range(5):
                bad = wires(zmq.DEALER, endpoint)
                for _ in range(300):
                    bad.send_multipart(chance.choices(words, k=chance.randrange(1, 8)))
                bad.send_multipart([b"x"] * 5_000)
                bad.close()
        numbers = (b"%d" % number for number in range(100))

        def served() -> bool:
            # What is left of the others' registrations may have the first ones.
            client.send(*event(next(numbers)))
            return client.answer()[2] == [1]

        eventually(served)
        assert broker.alive


# Life


def test_a_hub_that_stops_finishes_what_is_open(wires: Wires) -> None:
    with running(queue()) as (broker, (in_, out)):
        worker, client = wires(zmq.DEALER, *out), wires(zmq.DEALER, *in_)
        worker.send_multipart(mdp.ready("echo", {"capacity": 1}))
        client.send_multipart([b"", wire.pack(*event(b"1"))])
        request = next_request(worker)
        stopping = threading.Thread(target=broker.stop, args=[20])
        stopping.start()
        eventually(lambda: broker.switch.draining)
        client.send_multipart([b"", wire.pack(*event(b"2"))])
        header, name, args = wire.unpack(but_beats(client)[-1])
        assert (name, args[0], header["refused"]) == ("ERR", "LostRemote", True)
        done = answer(b"1", "done")
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, [done]))
        assert but_beats(client) == [b"", done]
        while mdp.read(worker.recv_multipart()) == mdp.read(mdp.heartbeat()):
            pass
        stopping.join(10)
        assert not broker.alive
        with running(queue(in_=Side(in_), out=Side(out))) as (_, again):
            assert again == (in_, out)


def test_the_connections_stay_for_a_moment_after_the_last_answer(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubs.broker.GRACE", 1.0)
    with running(queue()) as (broker, (in_, out)), RawClient(in_[0]) as client:
        worker = wires(zmq.DEALER, *out)
        worker.send_multipart(mdp.ready("echo", {"capacity": 1}))
        client.send(*event(b"1"))
        request = next_request(worker)
        stopping = threading.Thread(target=broker.stop, args=[20])
        stopping.start()
        eventually(lambda: broker.switch.draining)
        five = answer(b"1", 5)
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, [five]))
        assert client.answer()[2] == [5]
        client.send(*event(b"2"))
        header, _, args = client.answer()
        assert (args[0], header["refused"]) == ("LostRemote", True)
        worker.send_multipart(mdp.ready("echo", {"capacity": 1}))
        texts = []
        while not texts or "is stopping" not in texts[-1]:
            texts.append(str(worker.recv_multipart()))
        stopping.join(10)
        assert not broker.alive


def test_a_hub_that_can_wait_no_longer_says_so(wires: Wires, caplog: pytest.LogCaptureFixture) -> None:
    with running(queue()) as (broker, (in_, out)), RawClient(in_[0]) as client:
        worker = wires(zmq.DEALER, *out)
        worker.send_multipart(mdp.ready("echo"))
        client.send(*event(b"1"))
        next_request(worker)
        begun = time.monotonic()
        broker.stop(0.3)
        assert time.monotonic() - begun < 10
        header, _, args = client.answer()
        assert (args[0], header["refused"]) == ("LostRemote", False)
        assert "hub one: its drain time is over, calls cut off: 1" in caplog.messages


def test_a_change_keeps_calls_and_sockets(wires: Wires, tmp_path: Path) -> None:
    one = queue()
    with running(one) as (broker, before), RawClient(before.in_[0]) as client:
        worker = wires(zmq.DEALER, *before.out)
        worker.send_multipart(mdp.ready("echo"))
        client.send(*event(b"1"))
        request = next_request(worker)
        more = f"ipc://{tmp_path}/more"
        after = broker.reconfigure(replace(one, in_=Side((ANY, more)), timeout=1, queue=1))
        assert after == ((*before.in_, more), before.out)
        with RawClient(more) as second:
            second.send(*event(b"2"))
            second.send(*event(b"3"))
            assert second.answer()[2][0] == "Overloaded"
        five = answer(b"1", 5)
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, [five]))
        assert client.answer()[2] == [5]
        assert broker.reconfigure(replace(one, service="other")) is None
        with pytest.raises(ConfigError, match="in: can't bind"):
            broker.reconfigure(replace(one, in_=Side(before.out)))
        assert broker.endpoints == after


def test_an_endpoint_in_use(wires: Wires) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    broker = make_hub(queue(out=Side((taken,))))
    with pytest.raises(ConfigError, match="out: can't bind to"):
        broker.start()
    assert not broker.alive
    broker.stop(0)


def test_the_largest_message_is_one_of_the_event_alone(wires: Wires) -> None:
    with running(queue(max_message=4_000)) as (_, before), RawClient(before.in_[0]) as client:
        worker = wires(zmq.DEALER, *before.out)
        worker.send_multipart(mdp.ready("echo"))
        client.send(*event(b"1"))
        request = next_request(worker)
        text = "x" * (4_000 - len(answer(b"1", "x" * 1_000)) + 1_000)
        largest = answer(b"1", text)
        assert len(largest) == 4_000
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, [largest]))
        assert client.answer()[2] == [text]


def test_a_worker_that_sends_more_at_once_than_any_message_may_have_is_one_no_more(
    wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    with running(queue(max_message=4_000)) as (broker, before), RawClient(before.in_[0]) as client:
        worker = wires(zmq.DEALER, *before.out)
        worker.send_multipart(mdp.ready("echo"))
        client.send(*event(b"1"))
        request = next_request(worker)
        parts = [b"x" * 3_900] * 3
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, parts))
        header, name, args = client.answer()
        assert (name, args[0], header["refused"]) == ("ERR", "LostRemote", False)
        assert "a message larger than max_message" in args[1]
        assert broker.switch.dropped["too large"] == 1
        eventually(lambda: "dropped 1 too large" in caplog.text)


def test_a_smaller_limit_is_not_for_connections_that_stand(wires: Wires) -> None:
    one = queue(max_message=100_000)
    with running(one) as (broker, before), RawClient(before.in_[0]) as client:
        worker = wires(zmq.DEALER, *before.out)
        worker.send_multipart(mdp.ready("echo"))
        client.send(*event(b"1"))
        request = next_request(worker)
        assert broker.reconfigure(replace(one, max_message=2_000)) is not None
        text = "x" * 50_000
        body = [answer(b"1", text)]
        worker.send_multipart(mdp.carried(request.style, Command.FINAL, request.address, body))
        assert client.answer()[2] == [text]
        client.send(*event(b"2", args=[text]))
        assert len(next_request(worker).body[0]) > 50_000
