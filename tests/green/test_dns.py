"""Clients that find their servers through DNS, of a name server in this process that may lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
from mesh.names.model import LAST_RESORT, Endpoint
from mesh.names.subset import MOST
from mesh.transport.client_links import ClientLinks
from tests.green.conftest import Connect, Serve
from tests.helpers.clients import endpoint_of
from tests.helpers.dns_fixtures import NAME, dns, use_dns
from tests.helpers.dns_users import Users, port_of
from tests.helpers.lying_dns import LyingServer
from tests.helpers.peers import nobody
from tests.helpers.processes import PATIENCE, eventually

__all__ = ["dns"]


def test_a_name_that_the_file_lacks_is_found(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('a')))}", ttl=300)
    client = connect("users")
    assert client.who() == "a"
    asked = dict.fromkeys((one, kind) for one, kind, _ in dns.asked)
    assert list(asked) == [(NAME, "SRV"), (NAME, "TXT"), ("a.mesh.test", "A"), ("a.mesh.test", "AAAA")]


def test_the_file_goes_first(dns: LyingServer, serve: Serve, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "services.yml").write_text(f"users: {serve(Users('file'))}\n")
    dns.service(NAME, "a.mesh.test:9")
    assert connect("users").who() == "file" and dns.asked == []


def test_calls_are_split_to_a_name_that_dns_has(
    dns: LyingServer, serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "services.yml").write_text(
        f"shop: {{split: {{users: 1, other: 1}}}}\nother: {serve(Users('file'))}\n"
    )
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('dns')))}")
    client = connect("shop")
    assert {client.who() for _ in range(60)} == {"file", "dns"}


def test_a_name_that_nobody_has(dns: LyingServer, connect: Connect) -> None:
    dns.soa_ttl = 60
    client = connect("nobody")
    with pytest.raises(mesh.ServiceNotFound, match=r"services\.yml.*, DNS \(_nobody\._tcp"):
        client.who()
    asked = len(dns.asked)
    with pytest.raises(mesh.ServiceNotFound):
        client.who.future().result()
    with pytest.raises(mesh.ServiceNotFound):
        client.with_options(retries=1).who(x=1)
    assert len(dns.asked) == asked, "that there is none holds for a while"


def test_without_a_domain_a_typo_fails_at_once(
    dns: LyingServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_DOMAIN", "")
    connect_began = time.monotonic()
    with pytest.raises(mesh.ServiceNotFound, match="no service 'usres' in"):
        connect("usres")
    assert time.monotonic() - connect_began < 0.05 and dns.asked == []


def test_a_name_server_that_is_down_is_named_beside_the_file(dns: LyingServer, connect: Connect) -> None:
    dns.silent = True
    client = connect("users")
    began = time.monotonic()
    with pytest.raises(mesh.TimeoutExpired) as early:
        client.with_options(timeout=0.1).who()
    where = f"DNS ({NAME} at {dns.address})"
    assert f"no name server has told yet where the service is: {where} has given no answer" in str(
        early.value
    )
    with pytest.raises(mesh.ServiceNotFound) as caught:
        client.who()
    assert 3.0 < time.monotonic() - began < 8.0
    said = str(caught.value)
    assert "services.yml (no such file)" in said
    assert f"and {where} can't tell: {dns.address} does not answer" in said


def test_what_is_wrong_with_it_is_told_before_it_is_given_up(
    dns: LyingServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = nobody().removeprefix("tcp://")
    use_dns(monkeypatch, tmp_path, away)
    with pytest.raises(mesh.TimeoutExpired, match=rf"DNS \(.*\): {away} refuses: no name server runs there"):
        connect("users", timeout=1.0).who()
    dns.code = "REFUSED"
    use_dns(monkeypatch, tmp_path, f"{away} {dns.address}")
    with pytest.raises(
        mesh.TimeoutExpired, match=rf"refuses: .*, {dns.address} answers REFUSED \(it may not"
    ):
        connect("orders", timeout=1.0).who()


def test_nothing_waits_for_a_name_server_but_the_call(
    dns: LyingServer, serve: Serve, connect: Connect
) -> None:
    dns.silent = True
    other = connect(serve(Users("other")))
    other.who()
    began = time.monotonic()
    call = connect("users").who.future()
    assert time.monotonic() - began < 2.0, "a name server that is silent holds its asker for four seconds"
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        assert other.who() == "other"
        slowest = max(slowest, time.monotonic() - began)
        gevent.sleep(0.01)
    assert slowest < 2.0
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('a')))}")
    dns.silent = False
    assert call.result() == "a"


def test_servers_come_and_go_without_a_call_lost(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"a.mesh.test:{a}")
    client = connect("users")
    assert client.who() == "a"
    held = [client.hold.future(1.5) for _ in range(3)]
    dns.service(NAME, f"b.mesh.test:{b}")
    eventually(lambda: client.who() == "b", what="the move")
    dns.service(NAME, f"a.mesh.test:{a}", f"b.mesh.test:{b}")
    seen: set[str] = set()
    eventually(lambda: seen.add(client.who()) or seen == {"a", "b"}, what="both servers")
    assert [one.result() for one in held] == ["a"] * 3


def test_a_client_that_only_reads_a_stream_moves_too(
    dns: LyingServer, serve: Serve, connect: Connect
) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"a.mesh.test:{a}")
    client = connect("users")
    stream = client.ticks(500)
    assert next(stream) == 0
    dns.service(NAME, f"b.mesh.test:{b}")
    links = endpoint_of(client).links
    items = [next(stream)]

    def moved() -> bool:
        items.append(next(stream))
        return f"tcp://b.mesh.test:{b}" in [link.endpoint for link in links.current if link.live]

    eventually(moved, what="the move")
    items += [next(stream) for _ in range(20)]
    assert items == list(range(1, len(items) + 1))
    stream.close()


def test_a_lost_connection_has_dns_asked_at_once(dns: LyingServer, connect: Connect) -> None:
    first = mesh.Server(Users("a"))
    port = port_of(first.bind("tcp://127.0.0.1:*"))
    first.start()
    second = mesh.Server(Users("b"))
    try:
        dns.service(NAME, f"a.mesh.test:{port}", ttl=300)
        client = connect("users")
        assert client.who() == "a"
        dns.service(NAME, f"b.mesh.test:{port_of(second.bind('tcp://127.0.0.1:*'))}", ttl=300)
        second.start()
        first.stop(timeout=0)
        assert client.with_options(idempotent=True, retries=5).who() == "b"
        assert dns.times_asked(NAME) >= 2
    finally:
        second.stop(timeout=0)


def test_what_is_removed_is_a_last_resort(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    a = port_of(serve(Users("a")))
    dns.service(NAME, f"a.mesh.test:{a}", ttl=2)
    client = connect("users")
    assert client.who() == "a"
    dns.service(NAME, "b.mesh.test:9", ttl=2)
    eventually(lambda: len(endpoint_of(client).links.current) == 2, what="the new answer")
    assert client.who() == "a", "nobody is there where the service is now"
    eventually(lambda: len(endpoint_of(client).links.current) == 1, what="the end of the last resort")
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.1).who()


def test_where_the_last_resort_of_a_withdrawn_service_dies_calls_are_told_so(
    dns: LyingServer, connect: Connect
) -> None:
    with mesh.Server(Users("a")) as last:
        dns.service(NAME, f"a.mesh.test:{port_of(last.bind('tcp://127.0.0.1:*'))}", ttl=60)
        client = connect("users", timeout=PATIENCE)
        assert client.who() == "a"
        dns.put(NAME, "SRV", "0 0 0 .", ttl=60)
        links = endpoint_of(client).links
        endpoint_of(client).want()
        eventually(lambda: links.current[0].priority >= LAST_RESORT, what="the new answer")
        assert client.who() == "a"
        waiting = client.hold.future(PATIENCE)
        eventually(lambda: links.current[0].open)
        last.stop(timeout=0)
        with pytest.raises((mesh.LostRemote, mesh.ServiceNotFound)):
            waiting.result(timeout=PATIENCE)
        eventually(lambda: not any(link.live for link in links.current))
        began = time.monotonic()
        with pytest.raises(mesh.ServiceNotFound):
            client.who()
        assert time.monotonic() - began < PATIENCE / 2


def test_priorities_and_labels_reach_the_choice(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"10 60 a.mesh.test:{a}", f"20 40 b.mesh.test:{b}")
    dns.put(NAME, "TXT", '"version=2"', f'"at=b.mesh.test:{b}" "version=1" "zone=x"')
    client = connect("users")
    client.who()
    records = {link.endpoint: link.record for link in endpoint_of(client).links.current}
    of_b = records[f"tcp://b.mesh.test:{b}"]
    assert (of_b.priority, of_b.weight, of_b.labels) == (20, 40, (("version", "1"), ("zone", "x")))
    assert records[f"tcp://a.mesh.test:{a}"].labels == (("version", "2"),)


def test_all_addresses_of_a_host_are_one_endpoint(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    dns.put("c.mesh.test", "A", "127.0.0.9", "127.0.0.8", "127.0.0.1")
    dns.service(NAME, f"c.mesh.test:{port_of(serve(Users('c')))}")
    client = connect("users")
    assert client.who() == "c", "nobody is at the first two"
    assert len(endpoint_of(client).links.current) == 1


def test_a_host_that_moves_is_found_where_it_is(dns: LyingServer, connect: Connect) -> None:
    dns.put("c.mesh.test", "A", "127.0.0.9")
    first = mesh.Server(Users("first"))
    port = port_of(first.bind("tcp://127.0.0.9:*"))
    first.start()
    dns.service(NAME, f"c.mesh.test:{port}")
    client = connect("users")
    assert client.who() == "first"
    second = mesh.Server(Users("second"))
    second.bind(f"tcp://127.0.0.1:{port}")
    with second:
        dns.put("c.mesh.test", "A", "127.0.0.1")
        first.stop(timeout=0)
        persistent = client.with_options(idempotent=True, retries=20)
        eventually(lambda: persistent.who() == "second", what="the move")


def test_an_endpoint_with_a_key_is_not_called_in_the_clear(
    dns: LyingServer, serve: Serve, connect: Connect
) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    dns.service(NAME, f"a.mesh.test:{a}", f"b.mesh.test:{b}")
    dns.put(NAME, "TXT", f'"at=b.mesh.test:{b}" "key={"k" * 40}"')
    client = connect("users")
    assert {client.who() for _ in range(20)} == {"a"}
    dns.put(NAME, "TXT", f'"key={"k" * 40}"')
    with pytest.raises(mesh.ConfigError, match=r"users\.mesh\.test has a key"):
        connect("users.mesh.test").who()


def test_several_name_servers(
    dns: LyingServer, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('a')))}", ttl=300)
    with LyingServer() as broken:
        broken.code = "REFUSED"
        use_dns(monkeypatch, tmp_path, f"{broken.address}, tcp:{dns.address}")
        assert connect("users").who() == "a"
        assert broken.times_asked(NAME)
    assert {how for _, _, how in dns.asked} == {"tcp"}


def test_a_set_that_does_not_fit_a_datagram_comes_by_tcp(
    dns: LyingServer, serve: Serve, connect: Connect
) -> None:
    real = f"a.mesh.test:{port_of(serve(Users('a')))}"
    dns.soa_ttl = 300
    dns.service(NAME, real, *(f"nowhere{number}.mesh.test:9" for number in range(100)), ttl=300)
    assert connect("users").who() == "a"
    assert list(dict.fromkeys(how for _, kind, how in dns.asked if kind == "SRV")) == ["udp", "tcp"]


def test_clients_of_one_name_share_what_is_known(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('a')))}", ttl=300)
    first = connect("users")
    assert first.who() == "a"
    asked = len(dns.asked)
    assert [connect("users").who() for _ in range(10)] == ["a"] * 10
    assert len(dns.asked) == asked


def test_a_cached_name_costs_a_call_nearly_nothing(dns: LyingServer, serve: Serve, connect: Connect) -> None:
    dns.service(NAME, f"a.mesh.test:{port_of(serve(Users('a')))}", ttl=300)
    client = connect("users")
    client.who()
    source = client._target.connections._source
    assert source is not None
    times = []
    for _ in range(20):
        began = time.thread_time()
        for _ in range(1000):
            source.refresh(1e9)
        times.append(time.thread_time() - began)
    assert min(times) / 1000 < 20e-6


def test_a_name_with_a_thousand_records_keeps_no_loop(
    dns: LyingServer, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a loop does of it is to connect to some; here its own time counts, and not that of the machine."""
    port = port_of(serve(Users("a")))
    hosts = [f"h{number}.mesh.test" for number in range(1000)]
    for host in hosts:
        dns.put(host, "A", "127.0.0.1", ttl=60)
    dns.service(NAME, *(f"{host}:{port}" for host in hosts), ttl=60)
    steps: list[float] = []
    set_endpoints = ClientLinks.set_endpoints

    def timed(links: ClientLinks, endpoints: Sequence[Endpoint]) -> None:
        began = time.thread_time()
        set_endpoints(links, endpoints)
        steps.append(time.thread_time() - began)

    monkeypatch.setattr(ClientLinks, "set_endpoints", timed)
    slowest = []
    for _ in range(3):
        client = connect("users")
        links = endpoint_of(client).links  # the name server is in this process, and takes its time for them
        eventually(lambda links=links: len(links.current) == MOST, what="all that it uses")
        assert client.who() == "a"
        slowest.append(max(steps))
        steps.clear()
        client.close()
    assert min(slowest) < 0.02


def test_subscribers_find_their_publishers(dns: LyingServer) -> None:
    publisher = mesh.Publisher()
    port = port_of(publisher.bind("tcp://127.0.0.1:*"))
    dns.service(NAME, f"a.mesh.test:{port}")
    dns.put(NAME, "TXT", '"type=pub"')
    seen: list[str] = []

    class Handler:
        def came(self, text: str) -> None:
            seen.append(text)

    subscriber = mesh.Subscriber("users", Handler())
    subscriber.start()
    try:
        eventually(lambda: publisher.came("x") or seen, what="an event")
    finally:
        subscriber.stop()
        publisher.close()


def test_a_sender_of_events_whose_name_is_of_another_type_is_told_at_once(dns: LyingServer) -> None:
    taken: list[int] = []

    class Handler:
        def work(self, number: int) -> None:
            taken.append(number)

    puller = mesh.Puller(None, Handler())
    port = port_of(puller.bind("tcp://127.0.0.1:*"))
    puller.start()
    dns.service(NAME, f"a.mesh.test:{port}")
    made = threading.Event()

    def late(query: Any, by_tcp: bool) -> None:
        made.wait(PATIENCE)  # one that is made when the type is known is refused there and then

    dns.lie = late
    publisher, pusher = mesh.Publisher("users"), mesh.Pusher("users", timeout=10)
    made.set()
    began = time.monotonic()
    try:
        with pytest.raises(mesh.ConfigError, match=r"type router \(DNS .*sub or xsub.*`mesh call`"):
            publisher.wait_for_subscriber(10)
        with pytest.raises(mesh.ConfigError, match=r"type router \(DNS .* connects to pull"):
            pusher.work(1)
        with pytest.raises(mesh.ConfigError):
            publisher.came(1)
        assert time.monotonic() - began < 5
        dns.put(NAME, "TXT", '"type=pull"')
        eventually(lambda: pusher._sender.ends.connected, what="the right type")
        pusher.work(2)
        eventually(lambda: taken == [2], what="the job")
        # As in the child of a fork: only the records know the host.
        sender, watch = pusher._sender, pusher._sender._watch
        assert watch is not None
        sender.forked()
        try:
            pusher.work(3)
            eventually(lambda: taken == [2, 3], what="the job after a fork")
        finally:
            pusher._in_loop(lambda _: watch.end(0))
    finally:
        publisher.close()
        pusher.close()
        puller.stop()


def test_a_host_whose_address_the_records_give_is_not_said_to_be_unknown(
    dns: LyingServer, connect: Connect
) -> None:
    """Where merely nobody listens. The system can't resolve the host."""
    dns.service(NAME, "a.mesh.test:1")
    with pytest.raises(mesh.TimeoutExpired, match=r"tcp://a\.mesh\.test:1: no connection yet"):
        connect("users").with_options(timeout=1.5).who()
    dns.service("_jobs._tcp.mesh.test", "a.mesh.test:1")
    dns.put("_jobs._tcp.mesh.test", "TXT", '"type=pull"')
    with (
        mesh.Pusher("jobs", timeout=1.5) as pusher,
        pytest.raises(mesh.TimeoutExpired, match=r"no connection to tcp://a\.mesh\.test:1$"),
    ):
        pusher.work(1)


def test_events_are_not_sent_in_the_clear_to_an_endpoint_with_a_key(dns: LyingServer) -> None:
    dns.service(NAME, "a.mesh.test:1")
    dns.put(NAME, "TXT", '"type=pull"', f'"key={"a" * 40}"')
    with (
        mesh.Pusher("users", timeout=5) as pusher,
        pytest.raises(mesh.ConfigError, match=r"users has a key .*can't encrypt yet"),
    ):
        pusher.work(1)


def test_a_sender_of_events_names_what_dns_has_told_of_its_name(dns: LyingServer) -> None:
    with (
        mesh.Pusher("nobody", timeout=0.5) as pusher,
        pytest.raises(mesh.TimeoutExpired, match=r"no service 'nobody' in .*DNS \(_nobody\._tcp"),
    ):
        pusher.work(1)
    dns.silent = True
    with (
        mesh.Pusher("users", timeout=0.2) as pusher,
        pytest.raises(mesh.TimeoutExpired, match=r"DNS \(_users\._tcp.* has given no answer"),
    ):
        pusher.work(1)
