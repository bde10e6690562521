"""Clients that find their servers through real name servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Serve
from tests.helpers.clients import endpoint_of
from tests.helpers.dns_fixtures import use_dns
from tests.helpers.dns_users import Users, port_of
from tests.helpers.name_servers import Bind, Dnsmasq, Nsd, Unbound
from tests.helpers.processes import eventually


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind")) as server:
        yield server


@pytest.fixture
def in_bind(bind: Bind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bind:
    """Names are looked up there."""
    use_dns(monkeypatch, tmp_path, bind.address)
    return bind


def test_the_zone_that_comes_with_mesh_says_what_its_comments_say(in_bind: Bind, connect: Connect) -> None:
    client = connect("users", timeout=0.1)
    eventually(lambda: endpoint_of(client).links.current, what="an answer")
    records = {link.endpoint: link.record for link in endpoint_of(client).links.current}
    a, b = records["tcp://a.mesh.test:4242"], records["tcp://b.mesh.test:4243"]
    assert [(one.priority, one.weight, one.hub, one.hosts) for one in (a, b)] == [
        (10, 60, False, ("127.0.0.1",)),
        (10, 40, False, ("127.0.0.1",)),
    ]
    assert a.labels == (("version", "2"),) and b.labels == (("version", "2"), ("zone", "cellar"))
    orders = connect("orders", timeout=0.1)
    eventually(lambda: endpoint_of(orders).links.current, what="an answer")
    assert [link.record.hub for link in endpoint_of(orders).links.current] == [True]


def test_servers_that_come_get_their_share_within_the_ttl(
    in_bind: Bind, serve: Serve, connect: Connect
) -> None:
    ports = [port_of(serve(Users(name))) for name in "abcd"]
    in_bind.service("grows", *ports[:2], ttl=1)
    client = connect("grows")
    eventually(lambda: {client.who() for _ in range(20)} == {"a", "b"}, what="the first two")
    in_bind.service("grows", *ports, ttl=1)
    end = time.monotonic() + 1.0 + 5.0
    seen: list[str] = []

    def shares() -> list[int]:
        return [seen[-400:].count(name) for name in "abcd"]

    def call() -> None:
        while time.monotonic() < end and min(shares()) < 50:
            seen.append(client.hold(0.02))

    gevent.joinall([gevent.spawn(call) for _ in range(16)], raise_error=True)
    assert min(shares()) >= 50, f"of the last 400 calls {shares()}"


def test_a_name_server_that_is_away_for_a_while_costs_no_call(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Bind(tmp_path / "bind") as server:
        server.service("users", port_of(serve(Users("a"))), ttl=1)
        use_dns(monkeypatch, tmp_path, server.address)
        client = connect("users", timeout=1.0)
        eventually(lambda: client.with_options(timeout=20).who() == "a")
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        assert client.who() == "a"
        gevent.sleep(0.01)
    with pytest.raises(mesh.ServiceNotFound, match="refuses: no name server runs there"):
        connect("others").who()


def test_more_records_than_a_datagram_takes_come_whole(in_bind: Bind, serve: Serve, connect: Connect) -> None:
    real = port_of(serve(Users("a")))
    in_bind.put("_many._tcp", "SRV", f"10 1 {real} a", *(f"20 1 9 gone{number}" for number in range(60)))
    assert connect("many").who() == "a"


def test_nsd(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    with Nsd(tmp_path) as server:
        use_dns(monkeypatch, tmp_path, server.address)
        server.write(f"_desk._tcp SRV 1 1 {a} a")
        client = connect("desk")

        def who() -> str:
            with suppress(mesh.ServiceNotFound):  # while it reads the zone it still answers from the old one
                return str(client.who())
            return ""

        eventually(lambda: who() == "a", what="the new zone")
        server.write(f"_desk._tcp CNAME _other._tcp\n_other._tcp SRV 1 1 {b} b")
        eventually(lambda: client.who() == "b", what="the move")


def test_unbound(
    bind: Bind, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a, b = (port_of(serve(Users(name))) for name in "ab")
    bind.service("cached", a, ttl=1)
    with Unbound(tmp_path, bind) as server:
        use_dns(monkeypatch, tmp_path, server.address)
        client = connect("cached")
        assert client.who() == "a"
        bind.service("cached", b, ttl=1)
        eventually(lambda: client.who() == "b", what="the move")
        with pytest.raises(mesh.ServiceNotFound, match=r"DNS \(_nobody\._tcp"):
            connect("nobody").who()


def test_what_consul_answers(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Dnsmasq(tmp_path, port_of(serve(Users("a")))) as server:
        use_dns(monkeypatch, tmp_path, server.address)
        monkeypatch.setenv("MESH_DOMAIN", "service.consul")
        client = connect("users")
        assert client.who() == "a"
        (link,) = endpoint_of(client).links.current
        assert link.endpoint.startswith("tcp://7f000001.addr.dc1.consul:")


def test_what_kubernetes_answers(
    in_bind: Bind, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A headless service: SRV by the name of its port, and of each pod a name under the service's own."""
    a, b = (port_of(serve(Users(name))) for name in "ab")
    in_bind.put("10-0-0-1.users.shop.svc", "A", "127.0.0.1")
    in_bind.put("10-0-0-2.users.shop.svc", "A", "127.0.0.1")
    rows = [f"0 50 {a} 10-0-0-1.users.shop.svc", f"0 50 {b} 10-0-0-2.users.shop.svc"]
    in_bind.put("_users._tcp.users.shop.svc", "SRV", *rows)
    monkeypatch.setenv("MESH_DOMAIN", "{service}.shop.svc.mesh.test")
    client = connect("users")
    eventually(lambda: {client.who() for _ in range(20)} == {"a", "b"}, what="both pods")
    assert connect("users.users.shop.svc.mesh.test").who() in ("a", "b")
