"""Several servers of one service: choice, loss, retries; and names whose endpoints change."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
from mesh.core.ejection import IN_A_ROW
from tests.green.conftest import Connect, Serve
from tests.helpers.clients import endpoint_of, until_connected
from tests.helpers.processes import Process, eventually
from tests.helpers.raw import RawServer

Service = Callable[..., tuple[str, Process]]


class Counting:
    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Any] = []

    def who(self, value: Any = None) -> str:
        self.calls.append(value)
        return self.name

    def hold(self, seconds: float) -> str:
        self.calls.append(seconds)
        gevent.sleep(seconds)
        return self.name

    def ticks(self) -> Any:
        while True:
            yield self.name
            gevent.sleep(0.01)


def nobody() -> str:
    """An endpoint where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def test_a_dead_one_of_three_slows_nobody(serve: Serve, connect: Connect) -> None:
    client = connect([serve(Counting("a")), nobody(), serve(Counting("c"))])
    until_connected(client, 2)
    took, who = list[float](), Counter[str]()
    for _ in range(300):
        began = time.monotonic()
        who[client.who()] += 1
        took.append(time.monotonic() - began)
    assert set(who) == {"a", "c"}
    assert sorted(took)[len(took) * 9 // 10] < 0.2, "a third would wait for the dead one"
    assert max(took) < 5
    jobs = [client.who.future() for _ in range(100)]
    assert {job.result(timeout=20) for job in jobs} == {"a", "c"}


def test_even_the_first_call_waits_for_no_dead_one(serve: Serve, connect: Connect) -> None:
    for _ in range(10):
        client = connect([nobody(), serve(Counting("b")), nobody()], timeout=20)
        began = time.monotonic()
        assert client.who() == "b"
        assert time.monotonic() - began < 5


def test_calls_that_take_long_are_spread_evenly(serve: Serve, connect: Connect) -> None:
    targets = {name: Counting(name) for name in "abc"}
    client = connect([serve(target) for target in targets.values()])
    until_connected(client, 3)
    held = [client.hold.future(30) for _ in range(30)]
    eventually(lambda: sum(len(target.calls) for target in targets.values()) == 30)
    assert all(7 <= len(target.calls) <= 13 for target in targets.values())
    for one in held:
        one.cancel()


def test_a_busy_one_is_left_alone(serve: Serve, connect: Connect) -> None:
    busy, free = Counting("busy"), Counting("free")
    busy_at, free_at = serve(busy), serve(free)
    client = connect([busy_at, free_at], balance="least_loaded")
    until_connected(client, 2)
    streams = [client.ticks() for _ in range(6)]
    assert Counter(next(stream) for stream in streams) == {"busy": 3, "free": 3}
    for stream in streams:
        if next(stream) == "free":
            stream.close()
    assert {client.who() for _ in range(50)} == {"free"}


def test_a_killed_ones_calls_fail_and_the_others_go_on(service: Service, connect: Connect) -> None:
    running = [service() for _ in range(3)]
    client = connect([endpoint for endpoint, _ in running], timeout=20)
    until_connected(client, 3)
    calls = [client.slow.future(0.8) for _ in range(30)]
    quick = connect([endpoint for endpoint, _ in running], timeout=20)
    gevent.sleep(0)
    victim_at, victim = running[0]
    eventually(lambda: quick.echo(1) == 1)
    victim.signal(signal.SIGKILL)
    outcomes: Counter[Any] = Counter()
    for call in calls:
        try:
            outcomes[call.result(timeout=10)] += 1
        except mesh.LostRemote as exc:
            assert victim_at in str(exc)
            outcomes["lost"] += 1
    assert set(outcomes) == {"lost", running[1][1].pid, running[2][1].pid}
    assert all(7 <= number <= 13 for number in outcomes.values())
    assert {client.pid() for _ in range(20)} <= {running[1][1].pid, running[2][1].pid}


def test_one_that_is_stopping_costs_no_call(connect: Connect) -> None:
    """It has the fewest open calls, and refuses all new ones."""
    stopping, other = (mesh.Server(Counting(name), name=name) for name in ("stopping", "other"))
    with other:
        client = connect([server.bind("tcp://127.0.0.1:*") for server in (stopping, other)])
        stopping.start()
        until_connected(client, 2)
        held = [client.hold.future(1.0) for _ in range(4)]
        eventually(lambda: stopping._slots.running)
        busy = [client.hold.future(1.5) for _ in range(6)]
        ending = gevent.spawn(stopping.stop)
        eventually(lambda: stopping._endpoint.session.draining)
        assert {client.who() for _ in range(20)} == {"other"}
        assert {client.who(value=1) for _ in range(5)} == {"other"}
        assert {one.result() for one in held + busy} == {"stopping", "other"}
        ending.join()


def test_an_idempotent_call_says_so_to_whoever_stands_between(connect: Connect) -> None:
    with RawServer() as server:
        client = connect(server.endpoint, timeout=20)
        client.with_options(idempotent=True).who.future()
        assert server.receive()[0]["idempotent"] is True


def test_what_may_be_repeated_goes_to_another(service: Service, connect: Connect) -> None:
    running = [service() for _ in range(2)]
    client = connect([endpoint for endpoint, _ in running], timeout=20)
    until_connected(client, 2)
    idempotent = client.with_options(retries=3, idempotent=True)
    calls = [idempotent.slow.future(0.6) for _ in range(10)]
    eventually(lambda: client.echo(1) == 1)
    running[0][1].signal(signal.SIGKILL)
    assert {call.result(timeout=10) for call in calls} == {running[0][1].pid, running[1][1].pid} - {
        running[0][1].pid
    }


def test_what_may_not_be_repeated_is_sent_once(service: Service, connect: Connect) -> None:
    running = [service() for _ in range(2)]
    client = connect([endpoint for endpoint, _ in running], timeout=20)
    until_connected(client, 2)
    persistent = client.with_options(retries=5)
    calls = {n: persistent.hold.future(n) for n in range(10)}
    direct = [connect(endpoint) for endpoint, _ in running]
    eventually(lambda: sum(len(one.events()) for one in direct) == 10)
    lost = direct[0].events()
    running[0][1].signal(signal.SIGKILL)
    for number in lost:
        with pytest.raises(mesh.LostRemote):
            calls[number].result(timeout=20)
    assert sorted(lost + direct[1].events()) == list(range(10))


def test_what_was_never_sent_goes_to_another(serve: Serve, connect: Connect) -> None:
    server = mesh.Server(Counting("stopping"))
    client = connect([server.bind("tcp://127.0.0.1:*"), serve(Counting("staying"))], timeout=20)
    with server:
        until_connected(client, 2)
        held = [client.hold.future(0.4) for _ in range(2)]
        eventually(lambda: {len(server._endpoint.session.calls)} == {1})
        stopping = gevent.get_hub().threadpool.spawn(server.stop)
        eventually(lambda: server._endpoint.session.draining)
        persistent = client.with_options(retries=20)
        assert {persistent.who() for _ in range(20)} == {"staying"}
        assert {one.result(timeout=20) for one in held} == {"stopping", "staying"}
        stopping.get(timeout=20)
    # A call that is sent before the connection's end is known is lost.
    until_connected(client, 1)
    assert client.who() == "staying"


def write(registry: Path, text: str) -> None:
    """Replace the file in one step."""
    new = registry.with_suffix(".new")
    new.write_text(text)
    new.replace(registry)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "services.yml"


def test_a_name_is_found_in_the_registry(
    serve: Serve, connect: Connect, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(registry, f"users: {serve(Counting('named'))}\n")
    assert connect("users", services=str(registry)).who() == "named"
    monkeypatch.setenv("MESH_SERVICES", str(registry))
    assert connect("users").who() == "named"
    monkeypatch.delenv("MESH_SERVICES")
    monkeypatch.chdir(registry.parent)
    assert connect("users").who() == "named"
    with pytest.raises(mesh.ServiceNotFound, match="user") as caught:
        mesh.connect("user")
    assert isinstance(caught.value, LookupError)


def test_a_client_moves_as_the_registry_changes(serve: Serve, connect: Connect, registry: Path) -> None:
    first, second = Counting("first"), Counting("second")
    first_at, second_at = serve(first), serve(second)
    write(registry, f"users: {first_at}\n")
    client = connect("users", services=str(registry), timeout=20)
    assert client.who() == "first"
    held = client.hold.future(1.5)
    eventually(lambda: 1.5 in first.calls)
    write(registry, f"users: {second_at}\n")
    eventually(lambda: client.who() == "second", what="the move")
    assert held.result(timeout=20) == "first", "a call that was open ends where it began"
    links = endpoint_of(client).links
    eventually(lambda: len(links.open) == 1, what="the old connection to be closed")
    write(registry, f"users: [{first_at}, {second_at}]\n")
    eventually(lambda: {client.who() for _ in range(8)} == {"first", "second"})
    assert len(links.current) == 2


def test_a_client_moves_that_makes_no_call(serve: Serve, connect: Connect, registry: Path) -> None:
    first_at, second_at = serve(Counting("first")), serve(Counting("second"))
    write(registry, f"users: {first_at}\n")
    client = connect("users", services=str(registry))
    until_connected(client, 1)
    links = endpoint_of(client).links
    write(registry, f"users: {second_at}\n")
    eventually(lambda: [link.endpoint for link in links.current] == [second_at], what="the move")


def test_a_call_that_waits_follows_its_service(serve: Serve, connect: Connect, registry: Path) -> None:
    write(registry, f"users: {nobody()}\n")
    client = connect("users", services=str(registry), timeout=10)
    waiting = client.who.future()
    gevent.sleep(0.3)
    write(registry, f"users: {serve(Counting('new'))}\n")
    assert waiting.result() == "new"


def test_a_broken_registry_changes_nothing(
    serve: Serve, connect: Connect, registry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(registry, f"users: {serve(Counting('kept'))}\n")
    client = connect("users", services=str(registry), timeout=20)
    assert client.who() == "kept"
    for broken in ("users: [unclosed\n", "others: tcp://127.0.0.1:1\n"):
        caplog.clear()
        write(registry, broken)
        eventually(lambda: (client.who(), caplog.text)[1], what="a line in the log")
        assert client.who() == "kept"
    registry.unlink()
    assert client.who() == "kept"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{address: tcp://127.0.0.1:1, type: pub}", "is of type 'pub'"),
        (f"{{address: tcp://127.0.0.1:1, key: '{'a' * 40}'}}", "has a key"),
    ],
)
def test_an_entry_that_becomes_of_no_use_to_a_client(
    serve: Serve, connect: Connect, registry: Path, caplog: pytest.LogCaptureFixture, entry: str, problem: str
) -> None:
    endpoint, other = serve(Counting("kept")), serve(Counting("new"))
    write(registry, f"users: {endpoint}\n")
    client = connect("users", services=str(registry), timeout=20)
    assert client.who() == "kept"
    write(registry, f"users: {entry}\n")
    eventually(lambda: (client.who(), caplog.text)[1], what="a line in the log")
    assert f"{registry}:1" in caplog.text and problem in caplog.text
    assert "its last endpoints are kept" in caplog.text
    assert client.who() == "kept" and len(caplog.records) == 1
    write(registry, f"users: {other}\n")
    eventually(lambda: client.who() == "new", what="the move")


def test_options_of_a_service_come_from_the_registry(serve: Serve, connect: Connect, registry: Path) -> None:
    write(registry, f"users: {{address: {serve(Counting('a'))}, timeout: 0.1}}\n")
    with (
        mesh.connect("users", services=str(registry)) as client,
        pytest.raises(mesh.TimeoutExpired, match=r"after 0\.1 s"),
    ):
        client.hold(5)
    with pytest.raises(mesh.TimeoutExpired, match=r"after 0\.2 s"):
        connect("users", services=str(registry), timeout=0.2).hold(5)


def test_a_service_that_takes_no_calls(registry: Path) -> None:
    write(registry, "events: {address: tcp://127.0.0.1:1, type: pub}\n")
    with pytest.raises(mesh.ConfigError, match="takes no calls"):
        mesh.connect("events", services=str(registry))


def refuse(server: RawServer, header: dict[str, Any], error: str, text: str, *, refused: bool = True) -> None:
    head = {"message_id": b"r", "v": 3, "response_to": header["message_id"], "refused": refused}
    server.send(head, "ERR", [error, text, ""])


def test_a_retry_that_nobody_saw_does_not_hide_one_that_a_handler_has_seen(connect: Connect) -> None:
    with RawServer() as server:
        client = connect(server.endpoint).with_options(retries=2, idempotent=True)
        waiting = client.pay.future(1)
        for name, text, refused in (
            ("Overloaded", "first", True),
            ("LostRemote", "its worker is gone", False),
            ("TimeoutExpired", "no worker was free", True),
        ):
            header, _, _ = server.receive()
            refuse(server, header, name, text, refused=refused)
        with pytest.raises(mesh.LostRemote, match="its worker is gone") as caught:
            waiting.result(timeout=20)
        assert not caught.value.refused
        assert any("no worker was free" in note for note in caught.value.__notes__)


def test_a_hub_without_a_worker_costs_no_call(connect: Connect) -> None:
    with RawServer() as one, RawServer() as two:
        client = connect([one.endpoint, two.endpoint])
        until_connected(client, 2)
        waiting = client.pay.future(1)
        eventually(lambda: one.socket.poll(0) or two.socket.poll(0))
        without, other = (one, two) if one.socket.poll(0) else (two, one)
        refuse(without, without.receive()[0], "ServiceNotFound", "no worker of it")
        for _ in range(10):  # none of the next goes there either
            header, _, _ = other.receive()
            other.send({"message_id": b"r", "v": 3, "response_to": header["message_id"]}, "OK", ["paid"])
            assert waiting.result(timeout=20) == "paid"
            waiting = client.pay.future(1)
        waiting.cancel()


def test_a_call_that_no_hub_has_a_worker_for_ends(connect: Connect) -> None:
    with RawServer() as one, RawServer() as two:
        client = connect([one.endpoint, two.endpoint])
        until_connected(client, 2)
        waiting = client.pay.future(1)
        for _ in range(2):
            eventually(lambda: one.socket.poll(0) or two.socket.poll(0))
            without = one if one.socket.poll(0) else two
            refuse(without, without.receive()[0], "ServiceNotFound", "no worker of it")
        with pytest.raises(mesh.ServiceNotFound) as caught:
            waiting.result(timeout=20)
        assert caught.value.refused


def test_the_log_tells_who_gets_no_calls_for_his_failures(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    endpoints = [serve(Counting(name)) for name in "ab"]
    client = connect(endpoints)
    until_connected(client, 2)
    endpoint, now = endpoint_of(client), time.monotonic()
    bad = endpoint.session.peers[0]
    with endpoint.lock:
        for _ in range(IN_A_ROW):
            bad.unanswered[b"a call"] = now
            endpoint.session.balancer.failed(bad, b"a call", now)
    line = f"too many calls to {bad.endpoint} have failed: it gets none for "
    eventually(lambda: (gevent.sleep(0.01), line in caplog.text)[1], what="a line in the log")
