"""Servers of mesh that are workers of hubs: `Server.register`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest
import zmq

import mesh
from hubs.broker import Broker
from hubs.spec import Side
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command
from mesh.core.registration import Registration, State
from mesh.core.server_session import ServerSession
from mesh.errors import ConfigError
from mesh.transport.hub_connection import HubConnection
from mesh.transport.monitors import ConnectionEvent
from tests.e2e.commands import environment
from tests.helpers.computing import compute_a_moment
from tests.helpers.peers import free_port, nobody
from tests.helpers.processes import eventually, python
from tests.hubs.cluster import WORKER
from tests.hubs.test_broker import HEARTBEAT, majordomo, queue, running, until_registered
from tests.hubs.wires import Wires

Serve = Callable[..., mesh.Server]


class Shop:
    """What the workers serve."""

    def __init__(self) -> None:
        self.closed = 0
        self.began = 0

    def price(self, item: str, *, times: int = 1) -> float:
        return {"tea": 2.5, "jam": 4.0}[item] * times

    def count(self, number: int) -> Iterator[int]:
        try:
            yield from range(number)
        finally:
            self.closed += 1

    def nap(self, seconds: float) -> str:
        self.began += 1
        gevent.sleep(seconds)
        return "rested"

    def burn(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return "burnt"


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def serve(shop: Shop) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*hubs: str, **options: Any) -> mesh.Server:
            server = mesh.Server(shop, name="shop", **options)
            server.register("shop", list(hubs), heartbeat=HEARTBEAT)
            server.start()
            stack.callback(server.stop, 0.2)
            return server

        yield start


@pytest.fixture(params=["queue", "majordomo"])
def hub(request: pytest.FixtureRequest) -> Iterator[tuple[Broker, str, str]]:
    """A broker, its in side and its out side."""
    one = queue(service="shop") if request.param == "queue" else majordomo(default="shop")
    with running(one) as (broker, endpoints):
        yield broker, endpoints.in_[0], endpoints.out[0]


def test_calls_streams_keywords_and_errors(hub: tuple[Broker, str, str], serve: Serve, shop: Shop) -> None:
    broker, clients, workers = hub
    serve(workers)
    until_registered(broker, 1)
    with mesh.connect(clients, timeout=10) as client:
        assert client.price("tea") == 2.5
        assert client.price("tea", times=2) == 5.0
        assert list(client.count(5_000)) == list(range(5_000))
        with pytest.raises(KeyError) as caught:
            client.price("salt")
        assert "in price" in caught.value.traceback
        with pytest.raises(mesh.MethodNotFound) as unknown:
            client.nothing()
        assert unknown.value.refused and "no method 'nothing'" in str(unknown.value)
    (worker,) = broker.switch.workers.values()
    eventually(lambda: not worker.calls, what="the slots to be free")
    assert shop.closed == 1


def test_a_stream_that_is_left_ends_and_frees_its_place(
    hub: tuple[Broker, str, str], serve: Serve, shop: Shop
) -> None:
    broker, clients, workers = hub
    serve(workers, pool_size=1)
    until_registered(broker, 1)
    with mesh.connect(clients, timeout=10) as client:
        for _ in range(3):
            for number in client.count(1_000_000):
                if number == 200:
                    break
        assert client.price("jam") == 4.0
        assert shop.closed == 3


def test_many_streams_at_once_wait_for_a_hub_that_is_slower(
    hub: tuple[Broker, str, str], serve: Serve, shop: Shop
) -> None:
    """Else what the hub has not read yet would be too much to keep, and cost the registration."""
    broker, clients, workers = hub
    serve(workers)
    until_registered(broker, 1)
    with ExitStack() as stack:
        callers = [stack.enter_context(mesh.connect(clients, timeout=30)) for _ in range(60)]
        reading = [gevent.spawn(lambda one=one: sum(one.count(1_500))) for one in callers]
        gevent.joinall(reading, timeout=40, raise_error=True)
        assert {one.value for one in reading} == {sum(range(1_500))}
    assert len(broker.switch.workers) == 1


def test_a_call_that_times_out_in_the_hub_or_the_worker_frees_its_place(
    hub: tuple[Broker, str, str], serve: Serve
) -> None:
    broker, clients, workers = hub
    serve(workers, pool_size=1)
    until_registered(broker, 1)
    with mesh.connect(clients, timeout=10) as client:
        hurried = client.with_options(timeout=0.1)
        naps = [hurried.nap.future(0.5) for _ in range(3)]
        for nap in naps:
            with pytest.raises(mesh.TimeoutExpired):
                nap.result()
        assert client.price("jam") == 4.0
        assert client.nap(0.01) == "rested"


def test_a_client_that_is_gone_ends_its_stream(
    hub: tuple[Broker, str, str], serve: Serve, shop: Shop
) -> None:
    broker, clients, workers = hub
    serve(workers)
    until_registered(broker, 1)
    client = mesh.connect(clients, timeout=10)
    assert next(iter(client.count(1_000_000))) == 0
    client.close()
    eventually(lambda: shop.closed == 1, what="the generator to be closed")


def test_a_handler_that_computes_keeps_its_registration(hub: tuple[Broker, str, str], serve: Serve) -> None:
    broker, clients, workers = hub
    serve(workers)
    until_registered(broker, 1)
    before = list(broker.switch.workers.values())
    with mesh.connect(clients, timeout=20) as client:
        assert client.burn(4 * HEARTBEAT) == "burnt"
    assert list(broker.switch.workers.values()) == before


@pytest.mark.parametrize("method", ["nap", "burn"])
def test_a_ping_and_an_unknown_method_pass_by_the_calls_of_a_full_worker(method: str, serve: Serve) -> None:
    """Also while the handler blocks the loop, where the guard answers."""
    with running(queue()) as (broker, endpoints):
        serve(endpoints.out[0], pool_size=1)
        until_registered(broker, 1)
        (service,) = broker.switch.services.values()
        with mesh.connect(endpoints.in_[0], timeout=10) as client:
            calls = [getattr(client, method).future(1.5) for _ in range(2)]
            eventually(lambda: service.scheduler.waiting.count == 1)
            assert client("_zerorpc_ping") == ["pong", "shop"]
            with pytest.raises(mesh.MethodNotFound, match="shop has no method 'nepp'"):
                client.nepp()
            assert not any(call.done() for call in calls)
            assert len({call.result() for call in calls}) == 1


def test_a_handler_that_computes_keeps_to_the_interval_of_the_hub() -> None:
    quick = 0.7
    with (
        running(queue(heartbeat=quick)) as (broker, ends),
        mesh.connect(ends.in_[0], timeout=30) as client,
        python(WORKER, "shop", "20", "0", ends.out[0], env=environment()) as process,
    ):
        until_registered(broker, 1)
        (worker,) = broker.switch.workers.values()
        assert client.burn(6 * quick) == process.pid
        assert worker in broker.switch.workers.values()
        process.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        eventually(lambda: worker not in broker.switch.workers.values())
        assert time.monotonic() - frozen < 20, "three of the worker's own are 60"


def test_one_worker_of_two_hubs_serves_both_from_one_pool(serve: Serve, shop: Shop, tmp_path: Path) -> None:
    with running(queue()) as (first, one), running(majordomo()) as (second, two):
        serve(one.out[0], two.out[0], pool_size=2)
        until_registered(first, 1)
        until_registered(second, 1)
        with mesh.connect(one.in_[0], timeout=10) as client:
            assert client.price("tea") == 2.5
            naps = [client.nap.future(0.3) for _ in range(2)]
            eventually(lambda: shop.began == 2, what="two naps")
            first.stop(0)
            for nap in naps:
                with pytest.raises(mesh.LostRemote):
                    nap.result()
        registry = tmp_path / "services.yml"
        registry.write_text(f"shop: {{hub: {two.in_[0]}}}\n")
        with mesh.connect("shop", timeout=10, services=str(registry)) as client:
            assert client.price("jam") == 4.0


def test_a_worker_whose_handler_outlives_the_hub_takes_no_call_behind_it(
    serve: Serve, shop: Shop, tmp_path: Path
) -> None:
    sides = {"in_": Side((f"ipc://{tmp_path}/in",)), "out": Side((f"ipc://{tmp_path}/out",))}
    with mesh.connect(sides["in_"].bind[0], timeout=10) as client:
        with running(queue(**sides)) as (broker, ends):
            serve(ends.out[0], pool_size=1)
            until_registered(broker, 1)
            nap = client.nap.future(1.5)
            eventually(lambda: shop.began == 1)
        with pytest.raises(mesh.LostRemote):
            nap.result()
        began = time.monotonic()
        with running(queue(**sides)) as (broker, _):
            until_registered(broker, 1)
            assert client.price("tea") == 2.5
            assert time.monotonic() - began > 0.9


def test_a_worker_that_the_hub_does_not_want_tries_again_and_says_why(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.core.reminder.FIRST", 0.4)
    with caplog.at_level(logging.WARNING), running(queue(service="users")) as (broker, ends):
        serve(ends.out[0])
        eventually(lambda: broker.switch.dropped["registration refused"] >= 5, what="five attempts")
        eventually(lambda: broker._logged["registration refused"])
        assert not broker.switch.workers
    problem = "hub one serves 'users', not 'shop': register it as 'users', or with the hub of 'shop'"
    here = f"shop is no worker of {ends.out[0]} for now: the hub has sent its worker away: {problem}"
    # Each of them again after a while, but not at each attempt.
    assert 2 <= caplog.messages.count(here) < 5
    assert 2 <= sum(line.endswith(f"of shop is not taken: {problem}") for line in caplog.messages) < 5
    assert not any("dropped" in line for line in caplog.messages)


def test_a_hub_that_stops_is_one_line_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its worker, which at once tries to register again, and none of the hub."""
    monkeypatch.setattr("hubs.broker.GRACE", 3.0)
    with caplog.at_level(logging.WARNING), running(queue()) as (broker, ends):
        serve(ends.out[0])
        until_registered(broker, 1)
        stopping = threading.Thread(target=broker.stop, args=[30])
        stopping.start()
        here = f"shop is no worker of {ends.out[0]} for now: the hub has sent its worker away"
        try:
            eventually(lambda: broker.switch.dropped["registration refused"] >= 2, what="two attempts")
            assert caplog.messages == [f"{here}: the hub is stopping"]
        finally:
            stopping.join(40)


def test_a_hub_that_never_was_there_is_said_so(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.transport.hub_connection.NOTICE", 0.1)
    with caplog.at_level(logging.INFO, "mesh.server"):
        serve(f"tcp://127.0.0.1:{free_port()}")
        eventually(lambda: "no connection yet; is a hub running there?" in caplog.text)
    assert "has registered" not in caplog.text


def test_each_registration_is_in_the_log(
    serve: Serve, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after a hub that died without a goodbye."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.INFO, "mesh.server"):
        for times in (1, 2):
            hub = wires(zmq.ROUTER, bind=endpoint)
            if times == 1:
                serve(endpoint)
            me, *_ = hub.recv_multipart()
            hub.send_multipart([me, *mdp.heartbeat()])
            eventually(lambda times=times: caplog.text.count("shop has registered with") == times)
            hub.close(0)
            eventually(lambda times=times: caplog.text.count("the connection broke") == times)


def test_a_hub_that_comes_later_gets_its_worker(serve: Serve) -> None:
    port = free_port()
    serve(f"tcp://127.0.0.1:{port}")
    with running(queue(out=Side((f"tcp://127.0.0.1:{port}",)))) as (broker, _):
        until_registered(broker, 1)


def test_stop_loses_no_call(hub: tuple[Broker, str, str], serve: Serve) -> None:
    broker, clients, workers = hub
    first = serve(workers)
    serve(workers)
    until_registered(broker, 2)
    with mesh.connect(clients, timeout=10) as client:
        naps = [client.nap.future(0.3) for _ in range(10)]
        prices = [client.price.future("tea") for _ in range(200)]
        first.stop()
        prices += [client.price.future("tea") for _ in range(200)]
        assert {price.result() for price in prices} == {2.5}
        assert {nap.result() for nap in naps} == {"rested"}
    until_registered(broker, 1)


def test_a_plain_majordomo_client_gets_an_answer_to_what_is_no_event(serve: Serve, wires: Wires) -> None:
    with running(majordomo()) as (broker, ends):
        serve(ends.out[0])
        until_registered(broker, 1)
        client = wires(zmq.DEALER, ends.in_[0])
        client.send_multipart(mdp.request("shop", [b"hello"]))
        assert client.recv_multipart()[:4] == [b"MDPC02", b"\x03", b"shop", b"WireError"]
        event = wire.pack({"message_id": b"m1", "v": 3}, "price", ["tea"])
        client.send_multipart(mdp.request("shop", [event]))
        *head, answer = client.recv_multipart()
        assert head == [b"MDPC02", b"\x03", b"shop"]
        assert wire.unpack(answer)[1:] == ("OK", [2.5])
        (worker,) = broker.switch.workers.values()
        assert not worker.calls


def test_a_strict_broker_of_somebody_else(serve: Serve, wires: Wires) -> None:
    """One that knows no frame but the RFC's, and gives one call at a time."""
    port = free_port()
    broker = wires(zmq.ROUTER, bind=f"tcp://127.0.0.1:{port}")
    server = serve(f"tcp://127.0.0.1:{port}")
    me, *ready = broker.recv_multipart()
    assert ready[:3] == [b"MDPW02", b"\x01", b"shop"]
    event = wire.pack({"message_id": b"m1", "v": 3}, "count", [2])
    broker.send_multipart([me, *mdp.carried(STANDARD[2], Command.REQUEST, b"client", [event])])
    answers: list[tuple[bytes, str]] = []
    while not answers or answers[-1][0] != b"\x04":
        broker.send_multipart([me, *mdp.heartbeat()])
        if broker.poll(50):
            _, head, command, *rest = broker.recv_multipart()
            assert head == b"MDPW02"
            if command != b"\x05":
                assert rest[:2] == [b"client", b""]
                answers.append((command, wire.unpack(rest[2])[1]))
                more = wire.pack({"message_id": b"m2", "v": 3, "response_to": b"m1"}, "_zpc_more", [5])
                broker.send_multipart([me, *mdp.carried(STANDARD[2], Command.REQUEST, b"client", [more])])
    assert [name for _, name in answers if name != "_zpc_hb"] == ["STREAM", "STREAM", "STREAM_DONE"]
    server.stop()
    while True:
        _, _, command, *rest = broker.recv_multipart()
        if command == b"\x06":
            assert not rest
            break


@pytest.mark.parametrize(
    ("service", "hub", "options", "part"),
    [
        ("a b", "tcp://127.0.0.1:1", {}, "is no name of a service"),
        ("shop", "127.0.0.1:1", {}, "is no endpoint"),
        ("shop", "inproc://x", {}, "never in the same process"),
        ("shop", "tcp://127.0.0.1:1", {"heartbeat": 0}, "more than 0"),
        ("shop", "tcp://127.0.0.1:1", {"heartbeat": "a"}, "more than 0"),
        ("mmi.shop", "tcp://127.0.0.1:1", {}, "a hub's own"),
        (None, "tcp://127.0.0.1:1", {}, "None is no name of a service"),
        ("shop", [], {}, "is no hub"),
        ("shop", 5, {}, "is no hub"),
        ("shop", ["tcp://127.0.0.1:1", "tcp://127.0.0.1:1"], {}, "tcp://127.0.0.1:1 is given twice"),
    ],
)
def test_wrong_arguments(service: Any, hub: Any, options: dict[str, Any], part: str, shop: Shop) -> None:
    server = mesh.Server(shop)
    with pytest.raises(ConfigError, match=part):
        server.register(service, hub, **options)
    server.stop()


def test_streams_that_nobody_reads_leave_their_places_at_the_hub_to_others(serve: Serve) -> None:
    """With native threads they are in none."""
    with running(queue()) as (broker, (in_, out)):
        server = serve(out[0], threads=2)
        until_registered(broker, 1)
        with mesh.connect(in_[0], timeout=20) as client:
            streams = [client.count(5_000) for _ in range(2)]
            assert [next(stream) for stream in streams] == [0, 0]
            assert client.price("tea") == 2.5
            (pool,) = [service.scheduler.pool for service in broker.switch.services.values()]
            # The call finds room as soon as the hub has heard of the first stream's place.
            eventually(lambda: list(map(pool.capacity, pool)) == [4])
            eventually(lambda: server._workers._places._teller.due == float("inf"))
            assert [list(stream) for stream in streams] == [list(range(1, 5_000))] * 2
            eventually(lambda: list(map(pool.capacity, pool)) == [2])
            assert client.price("jam") == 4.0


def test_a_hub_is_given_once_for_each_service(shop: Shop) -> None:
    server, one, two = mesh.Server(shop), nobody(), nobody()
    server.register("shop", one)
    for hubs in (one, [two, one]):
        with pytest.raises(ConfigError, match=f"^{one} is given twice: shop is registered there already$"):
            server.register("shop", hubs)
    server.register("store", one)
    server.register("shop", two)
    server.stop()


class Told:
    """A monitor with these events."""

    def __init__(self, *events: int) -> None:
        self._events = list(events)

    def take(self) -> list[ConnectionEvent]:
        events, self._events = self._events, []
        return [ConnectionEvent(kind, 0, "") for kind in events]

    def close(self) -> None:
        pass


def test_a_connection_that_comes_back_by_itself_is_none_where_a_new_one_is_to_take_over() -> None:
    registration = Registration("shop", {"capacity": 1}, HEARTBEAT)
    session = ServerSession(b"0" * 24, None)
    link = HubConnection(0, nobody(), registration, session, 10_000, lambda: 0)
    assert link._dealer.dialer is not None
    try:
        registration.connected(1.0)
        registration.broke("the hub has sent its worker away", 2.0, pause=1.0)
        link._dealer.dialer.monitor.close()
        link._dealer.dialer.monitor = Told(zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED)  # type: ignore[assignment]
        link.take_changes(2.1)
        assert registration.state is State.AWAY and not registration.out
        assert registration.connect_at <= 3.0
        link.connect_anew()
        link._dealer.dialer.monitor.close()
        link._dealer.dialer.monitor = Told(zmq.EVENT_HANDSHAKE_SUCCEEDED)  # type: ignore[assignment]
        link.take_changes(3.1)
        assert registration.state is State.REGISTERED
    finally:
        link.close()
