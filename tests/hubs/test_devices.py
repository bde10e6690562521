"""Forwarder, streamer and anonymous queue with plain sockets at both sides."""

from __future__ import annotations

import socket as unix
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
import zmq

from hubs.devices import Device, spins
from hubs.hub import Endpoints
from hubs.hub_types import make_hub
from hubs.python_proxy import PythonProxy
from hubs.sockets import Attached, attach, leave
from hubs.spec import HubSpec, Side
from mesh.core.channel import Ids
from mesh.core.refusal import Refusal
from mesh.errors import ConfigError
from mesh.transport.context import new_context
from tests.helpers.processes import PATIENCE, eventually
from tests.helpers.requirements import require_localhost
from tests.hubs.wires import ANY, Socket, Wires, spec


@contextmanager
def running(one: HubSpec) -> Iterator[tuple[Device, Endpoints]]:
    device = make_hub(one)
    endpoints = device.start()
    try:
        yield device, endpoints
    finally:
        if device.alive:
            device.stop(0)


def push_until_full(push: Socket) -> int:
    """Push numbers until there is no room anywhere for another second; how many."""
    push.sndtimeo = 1000
    for number in range(100_000):
        try:
            push.send((b"%d" % number).ljust(10_000))
        except zmq.Again:
            return number
    raise AssertionError("there is room without end")


def numbers(pull: Socket, count: int) -> list[int]:
    return [int(pull.recv()) for _ in range(count)]


def echo_once(worker: Socket) -> None:
    worker.send_multipart(worker.recv_multipart())


# Streamer


def test_a_streamer_spreads_what_is_pushed(wires: Wires) -> None:
    with running(spec("streamer")) as (_, (in_, out)):
        pulls = [wires(zmq.PULL, *out), wires(zmq.PULL, *out)]
        push = wires(zmq.PUSH, *in_)
        seen = set()

        def both_have_had_one() -> bool:
            push.send_multipart([b"a job", b"in two frames"])
            pull = eventually(lambda: next((one for one in pulls if one.poll(0)), None))
            assert pull.recv_multipart() == [b"a job", b"in two frames"]
            seen.add(pull)
            return len(seen) == 2

        eventually(both_have_had_one)


def test_it_tells_what_it_has_carried_and_nothing_after_its_end(wires: Wires) -> None:
    with running(spec("streamer")) as (device, (in_, out)):
        push, pull = wires(zmq.PUSH, *in_), wires(zmq.PULL, *out)
        push.send(b"12345")
        assert pull.recv() == b"12345"
        # What goes in and what goes out are counted, each in its turn.
        told = eventually(lambda: one if (one := device.status(1.0)) and one["bytes"]["in"] else None)
        assert (told["frames"], told["bytes"]) == ({"in": 1, "out": 0}, {"in": 5, "out": 0})
        assert told["uptime"] > 0
    assert device.status(1.0) is None


def test_each_side_is_counted_for_itself_also_while_python_carries(wires: Wires) -> None:
    with running(spec("queue", anonymous=True)) as (device, (in_, out)):
        client, worker = wires(zmq.DEALER, *in_), wires(zmq.DEALER, *out)
        for turn in (1, 2):
            client.send(b"request")
            envelope, _ = worker.recv_multipart()
            worker.send_multipart([envelope, b"an answer"])
            assert client.recv() == b"an answer"
            size = len(envelope)
            front = {"frames": 2 * turn, "bytes": (size + len(b"request")) * turn}
            back = {"frames": 2 * turn, "bytes": (size + len(b"an answer")) * turn}
            what = {key: {"in": front[key], "out": back[key]} for key in front}
            eventually(
                lambda wanted=what: wanted.items() <= (device.status(1.0) or {}).items(), what=str(what)
            )
            device._order(device._ease)
            eventually(lambda: device._in_python)


def test_a_streamer_loses_nothing_before_its_pullers_come_and_needs_no_processor_meanwhile(
    wires: Wires,
) -> None:
    with running(spec("streamer")) as (device, (in_, out)):
        count = push_until_full(wires(zmq.PUSH, *in_))

        def share_of_a_core() -> float:
            before = time.process_time()
            threading.Event().wait(0.5)
            return (time.process_time() - before) / 0.5

        eventually(lambda: share_of_a_core() < 0.1, what="rest")
        pull = wires(zmq.PULL, *out)
        assert numbers(pull, count) == list(range(count))
        assert device.traffic().frames == count
        # Once there is room for some time, libzmq's proxy has it again.
        eventually(lambda: not device._in_python)
        late = wires(zmq.PUSH, *in_)
        late.send(b"7")
        assert pull.recv() == b"7"


@pytest.mark.parametrize(
    ("cpu", "frames", "spinning"),
    [(0.99, 0, True), (0.6, 5_000, True), (0.1, 50, True), (0.99, 20_000, False), (0.04, 0, False)],
)
def test_a_busy_proxy_is_not_taken_for_a_spinning_one(cpu: float, frames: int, spinning: bool) -> None:
    assert spins(cpu, frames, 1.0) is spinning


def test_what_was_pushed_before_the_end_is_delivered(wires: Wires) -> None:
    with running(spec("streamer")) as (device, (in_, out)):
        pull = wires(zmq.PULL, *out)
        push = wires(zmq.PUSH, *in_)
        for number in range(5_000):
            push.send(b"%d" % number)
        stopping = threading.Thread(target=device.stop, args=[20])
        stopping.start()
        assert numbers(pull, 5_000) == list(range(5_000))
        stopping.join(10)
        assert not device.alive and not stopping.is_alive()


@pytest.mark.parametrize("blocked", ["in Python", "in libzmq", "from the start"])
def test_the_end_comes_in_time_though_nobody_pulls(wires: Wires, blocked: str) -> None:
    with running(spec("streamer")) as (device, (in_, out)):
        if blocked == "in libzmq":
            wires(zmq.PULL, *out)
        push = wires(zmq.PUSH, *in_)
        if blocked == "from the start":
            push.send(b"1")
        else:
            push_until_full(push)
        if blocked == "in Python":
            eventually(lambda: device._in_python)
        begun = time.monotonic()
        device.stop(0.5)
        assert time.monotonic() - begun < 15
        assert not device.alive


def test_a_pusher_that_goes_on_does_not_keep_the_hub_from_its_end(wires: Wires) -> None:
    with running(spec("streamer")) as (device, (in_, out)):
        pull, push = wires(zmq.PULL, *out), wires(zmq.PUSH, *in_)
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.001):
                if push.poll(0, zmq.POLLOUT):
                    push.send(b"1")

        thread = threading.Thread(target=go_on)
        thread.start()
        pull.recv()
        begun = time.monotonic()
        device.stop(1.0)
        took = time.monotonic() - begun
        ended.set()
        thread.join()
        assert 0.9 < took < 15


# Forwarder


def test_a_forwarder_carries_topics_to_those_who_asked(wires: Wires) -> None:
    with running(spec("forwarder")) as (_, (in_, out)):
        news, sport = wires(zmq.SUB, *out, subscribe=b"news"), wires(zmq.SUB, *out, subscribe=b"sport")
        # XPUB hears what the hub asks for on behalf of its subscribers.
        publisher = wires(zmq.XPUB, *in_)
        assert {publisher.recv(), publisher.recv()} == {b"\x01news", b"\x01sport"}
        for topic in (b"other", b"news", b"sport"):
            publisher.send_multipart([topic, b"text"])
        assert news.recv_multipart() == [b"news", b"text"]
        assert sport.recv_multipart() == [b"sport", b"text"]
        assert not news.poll(50) and not sport.poll(50)
        sport.unsubscribe(b"sport")
        assert publisher.recv() == b"\x00sport"


def test_a_forwarder_ends_though_its_publisher_goes_on(wires: Wires) -> None:
    with running(spec("forwarder")) as (device, (in_, out)):
        wires(zmq.SUB, *out, subscribe=b"")
        publisher = wires(zmq.XPUB, *in_)
        publisher.recv()
        publisher.send(b"1")
        begun = time.monotonic()
        device.stop(30)
        assert time.monotonic() - begun < 15


# Anonymous queue


def test_a_queue_carries_calls_and_answers_in_turn(wires: Wires) -> None:
    with running(spec("queue")) as (_, (in_, out)):
        workers = [wires(zmq.DEALER, *out), wires(zmq.DEALER, *out)]
        client = wires(zmq.DEALER, *in_)
        seen = set()

        def both_have_had_one() -> bool:
            call = [b"", b"%d" % len(seen)]
            client.send_multipart(call)
            worker = eventually(lambda: next((one for one in workers if one.poll(0)), None))
            echo_once(worker)
            assert client.recv_multipart() == call
            seen.add(worker)
            return len(seen) == 2

        eventually(both_have_had_one)


def test_a_queue_without_workers_keeps_calls_for_the_first(wires: Wires) -> None:
    with running(spec("queue")) as (_, (in_, out)):
        client = wires(zmq.DEALER, *in_)
        client.send_multipart([b"", b"early"])
        echo_once(wires(zmq.DEALER, *out))
        assert client.recv_multipart() == [b"", b"early"]


def request(number: int, **header: object) -> bytes:
    packed: bytes = msgpack.packb([{"message_id": number, "v": 3, **header}, "method", []])
    return packed


def test_a_queue_that_ends_answers_open_calls_and_refuses_new_ones(wires: Wires) -> None:
    with running(spec("queue")) as (device, (in_, out)):
        worker, client = wires(zmq.DEALER, *out), wires(zmq.DEALER, *in_)
        client.send_multipart([b"", request(1)])
        open_call = worker.recv_multipart()
        stopping = threading.Thread(target=device.stop, args=[20])
        stopping.start()

        def refused() -> object:
            client.send_multipart([b"", request(2)])
            if not client.poll(100):
                worker.recv_multipart()  # it was not yet stopping
                return None
            return msgpack.unpackb(client.recv_multipart()[-1])

        header, name, args = eventually(refused)
        assert (name, header["response_to"], header["refused"]) == ("ERR", 2, True)
        assert args[:2] == ["LostRemote", "hub 'one' is stopping: the call was not carried out"]
        # What belongs to an open call goes on, both ways.
        client.send_multipart([b"", request(3, response_to=1)])
        assert worker.recv_multipart()[-1] == request(3, response_to=1)
        worker.send_multipart(open_call)
        while client.recv_multipart()[-1] != request(1):
            pass
        stopping.join(10)
        assert not stopping.is_alive()


@pytest.mark.parametrize("out", [Side((ANY,)), Side((), ("tcp://127.0.0.1:9",))])
def test_a_call_that_nobody_takes_does_not_keep_a_queue_from_its_end(wires: Wires, out: Side) -> None:
    with running(spec("queue", out=out)) as (device, (in_, _)):
        client = wires(zmq.DEALER, *in_)
        client.send_multipart([b"", request(1)])
        client.send_multipart([b"", request(2, response_to=1)])
        eventually(lambda: device._in_python and device._python_proxy.held)
        stopping = threading.Thread(target=device.stop, args=[10 * PATIENCE])
        stopping.start()
        header, name, args = msgpack.unpackb(client.recv_multipart()[-1])
        assert (name, args[0], header["response_to"], header["refused"]) == ("ERR", "LostRemote", 1, True)
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_while_calls_wait_for_a_worker_new_ones_are_refused_and_nothing_is_lost(wires: Wires) -> None:
    front, back, control = (wires(kind, bind=ANY) for kind in (zmq.ROUTER, zmq.DEALER, zmq.PULL))
    in_, out = (one.get_string(zmq.LAST_ENDPOINT).rstrip("\0") for one in (front, back))
    python_proxy, refuse = (
        PythonProxy(front, back, control, both_ways=True),
        Refusal(Ids(b"0" * 24), "hub one is stopping"),
    )
    client = wires(zmq.DEALER, in_)
    for number in (1, 2):
        client.send_multipart([b"", request(number, response_to=b"open")])
    client.send_multipart([b"", request(3)])
    eventually(lambda: python_proxy.step(0.05, refuse) == 0 and client.poll(0))
    assert msgpack.unpackb(client.recv_multipart()[-1])[1] == "ERR"
    assert len(python_proxy.held) == 2
    worker = wires(zmq.DEALER, out)
    eventually(lambda: python_proxy.step(0.05, refuse) == 0 and not python_proxy.held)
    assert [worker.recv_multipart()[-1] for _ in range(2)] == [
        request(number, response_to=b"open") for number in (1, 2)
    ]
    assert (python_proxy.carried.front, python_proxy.held) == (6, deque())


def test_an_idle_queue_ends_at_once(wires: Wires) -> None:
    with running(spec("queue", heartbeat=3600)) as (device, _):
        device._moved -= 3 * 3600
        begun = time.monotonic()
        device.stop(30)
        assert time.monotonic() - begun < 15


# Endpoints


@pytest.mark.parametrize("kind", ["queue", "forwarder", "streamer"])
def test_an_endpoint_in_use(wires: Wires, kind: str, tmp_path: Path) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    own = f"ipc://{tmp_path}/in"
    wrong = replace(spec("streamer"), type=kind, in_=Side((own,)), out=Side((taken,)))
    with pytest.raises(ConfigError) as caught:
        make_hub(wrong).start()
    assert str(caught.value) == (
        f"hub one: out: can't bind to '{taken}': the address is in use already; "
        "stop the other program or take another port"
    )
    # What it had bound before is free again.
    with running(replace(wrong, out=Side((ANY,)))) as (_, endpoints):
        assert endpoints.in_ == (own,)


def test_a_path_that_somebody_listens_at_is_not_taken_away(wires: Wires, tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/jobs"
    pull = wires(zmq.PULL, bind=path)
    with pytest.raises(ConfigError, match="the address is in use already"):
        make_hub(spec("streamer", in_=Side((path,)))).start()
    wires(zmq.PUSH, path).send(b"still mine")
    assert pull.recv() == b"still mine"


def test_a_path_that_a_dead_program_left_behind_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs")
    with closing(unix.socket(unix.AF_UNIX)) as dead:
        dead.bind(path)
    with running(spec("streamer", in_=Side((f"ipc://{tmp_path}/jobs",)))) as (device, _):
        assert device.alive


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_path_of_something_else_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "jobs")
    with pytest.raises(ConfigError, match=r"jobs' is a (file|folder), not a socket: take another path"):
        make_hub(spec("streamer", in_=Side((f"ipc://{tmp_path}/jobs",)))).start()
    assert (tmp_path / "jobs").exists()


def test_a_host_that_is_not_here() -> None:
    with pytest.raises(
        ConfigError, match=r"^hub one: in: can't bind to 'tcp://192.0.2.1:1': no network interface"
    ):
        make_hub(spec("streamer", in_=Side(("tcp://192.0.2.1:1",)))).start()


def test_endpoints_are_free_after_the_end() -> None:
    for _ in range(3):
        with running(spec("queue")) as (device, endpoints):
            fixed = spec("queue", in_=Side(endpoints.in_), out=Side(endpoints.out))
            device.stop(0)
        with running(fixed) as (device, endpoints):
            assert endpoints == (fixed.in_.bind, fixed.out.bind)


def test_a_hub_may_connect_instead(wires: Wires) -> None:
    pull, push = wires(zmq.PULL, bind=ANY), wires(zmq.PUSH, bind=ANY)
    behind, before = (one.get_string(zmq.LAST_ENDPOINT).rstrip("\0") for one in (pull, push))
    with running(spec("streamer", in_=Side((), (before,)), out=Side((), (behind,)))) as (_, endpoints):
        assert endpoints == ((before,), (behind,))
        push.send(b"1")
        assert pull.recv() == b"1"


# Changes


def test_a_change_keeps_the_sockets_that_stay_and_their_messages(wires: Wires, tmp_path: Path) -> None:
    one, more = spec("streamer"), f"ipc://{tmp_path}/more"
    with running(one) as (device, before):
        pull, push = wires(zmq.PULL, *before.out), wires(zmq.PUSH, *before.in_)
        for number in range(500):
            push.send(b"%d" % number)
        after = device.reconfigure(replace(one, in_=Side((ANY, more)), drain=1))
        assert after == ((*before.in_, more), before.out)
        for number in range(500, 1000):
            push.send(b"%d" % number)
        assert numbers(pull, 1000) == list(range(1000))
        wires(zmq.PUSH, more).send(b"7")
        assert pull.recv() == b"7"
        assert device.spec.drain == 1


def test_an_endpoint_that_is_taken_away_is_free_for_others(wires: Wires, tmp_path: Path) -> None:
    path = f"ipc://{tmp_path}/in"
    one = spec("streamer", in_=Side((ANY, path)))
    with running(one) as (device, before):
        pull, push = wires(zmq.PULL, *before.out), wires(zmq.PUSH, path)
        push.send(b"1")
        assert pull.recv() == b"1"
        after = device.reconfigure(replace(one, in_=Side((ANY,))))
        assert after == (before.in_[:1], before.out)
        other = wires(zmq.PULL, bind=path)

        def pushed_there() -> bool:
            push.send(b"2")
            return bool(other.poll(10))

        eventually(pushed_there)


def test_a_change_that_fails_leaves_all_as_it_was(wires: Wires) -> None:
    require_localhost()
    one = spec("queue")
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    with running(one) as (device, before):
        worker, client = wires(zmq.DEALER, *before.out), wires(zmq.DEALER, *before.in_)
        with pytest.raises(ConfigError, match="out: can't bind to"):
            device.reconfigure(replace(one, in_=Side(("tcp://localhost:*",)), out=Side((taken,))))
        assert device.spec == one
        assert device.endpoints == before
        client.send_multipart([b"", b"still"])
        echo_once(worker)
        assert client.recv_multipart() == [b"", b"still"]


def test_a_port_moves_to_another_host(wires: Wires) -> None:
    with running(spec("streamer")) as (device, before):
        port = before.in_[0].rpartition(":")[2]
        fixed = replace(device.spec, in_=Side((f"tcp://127.0.0.1:{port}",)))
        device.reconfigure(fixed)
        after = device.reconfigure(replace(fixed, in_=Side((f"tcp://*:{port}",))))
        assert after is not None and after.in_ == (f"tcp://0.0.0.0:{port}",)


@pytest.mark.parametrize("other", [{"type": "forwarder"}, {"anonymous": False}])
def test_another_kind_of_hub_takes_a_new_one(other: dict[str, object]) -> None:
    one = spec("queue")
    with running(one) as (device, _):
        assert device.reconfigure(replace(one, **other)) is None
        assert device.alive


def test_a_change_while_nobody_pulls(wires: Wires, tmp_path: Path) -> None:
    one = spec("streamer")
    with running(one) as (device, before):
        count = push_until_full(wires(zmq.PUSH, *before.in_))
        eventually(lambda: device._in_python)
        assert device.reconfigure(replace(one, out=Side((ANY, f"ipc://{tmp_path}/out"))))
        assert numbers(wires(zmq.PULL, f"ipc://{tmp_path}/out"), count) == list(range(count))


def test_what_one_socket_leaves_another_may_have_at_once(wires: Wires) -> None:
    """libzmq closes a port only a moment later."""
    context = new_context()
    try:
        ends = [Attached(context.socket(zmq.ROUTER), "in", name, lambda: None) for name in ("one", "two")]
        attach([(ends[0], Side((ANY,)))])
        (endpoint,) = ends[0].endpoints
        attach([(ends[0], Side((endpoint,)))])
        for turn in range(100):
            has, wants = ends[turn % 2], ends[(turn + 1) % 2]
            leave([(has, Side())])
            attach([(wants, Side((endpoint,)))])
    finally:
        context.destroy(linger=0)
