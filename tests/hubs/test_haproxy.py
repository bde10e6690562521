"""The real HAProxy with configs/haproxy.cfg, before two mesh servers and before two hubs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import gevent
import pytest

import mesh
from tests.e2e.commands import SERVICE, serving
from tests.helpers.callers import Callers
from tests.helpers.peers import free_port
from tests.helpers.processes import ROOT, Process, eventually
from tests.helpers.requirements import lacking
from tests.hubs.cluster import Hub, connected, until_served_by, worker

CLIENTS = 10


@contextmanager
def haproxy(**addresses: str) -> Iterator[Process]:
    """HAProxy with that configuration and other addresses, as its file names them."""
    # Debian has it where not everybody's path leads.
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        lacking("HAProxy is not installed: on Debian, apt-get install haproxy")
    with Process([program, "-db", "-f", ROOT / "configs" / "haproxy.cfg"], env=addresses) as process:
        yield process


def host(endpoint: str) -> str:
    return endpoint.removeprefix("tcp://")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture
def addresses() -> dict[str, str]:
    """Of all that the file names, so that nothing of this machine is touched."""
    names = ("USERS", "USERS_1", "USERS_2", "HUBS", "HUB_1", "HUB_2")
    ports = {name: str(free_port()) for name in ("READY_1", "READY_2")}
    return {name: f"127.0.0.1:{free_port()}" for name in names} | ports


class Servers:
    """Two mesh servers behind HAProxy, and clients that know only its address."""

    def __init__(self, addresses: dict[str, str], stack: ExitStack, folder: Path) -> None:
        (folder / "users.py").write_text(SERVICE)
        self._addresses, self._stack, self._folder = addresses, stack, folder
        self.one, self.two = self.start("USERS_1"), self.start("USERS_2")
        stack.enter_context(haproxy(**addresses))
        self.clients = [self.connect() for _ in range(CLIENTS)]
        assert {client.pid() for client in self.clients} == {self.one.pid, self.two.pid}

    def start(self, name: str) -> Process:
        endpoint = f"tcp://{self._addresses[name]}"
        process, _ = self._stack.enter_context(serving("users:Users", "--bind", endpoint, cwd=self._folder))
        return process

    def connect(self) -> mesh.Client:
        return self._stack.enter_context(mesh.connect(f"tcp://{self._addresses['USERS']}", timeout=10))


@pytest.fixture
def servers(addresses: dict[str, str], stack: ExitStack, tmp_path: Path) -> Servers:
    return Servers(addresses, stack, tmp_path)


def sure(clients: list[mesh.Client]) -> Callers:
    """One caller of each of these, whose calls may be carried out twice."""
    return Callers([client.with_options(retries=10, idempotent=True).pid for client in clients])


def test_clients_go_on_when_a_server_is_killed(servers: Servers) -> None:
    with sure(servers.clients) as idempotent, Callers([one.pid for one in servers.clients]) as others:
        idempotent.wait_for(20)
        killed = time.monotonic()
        servers.one.kill()
        idempotent.wait_for(20)
        others.wait_for(20)
    assert not idempotent.errors
    assert {type(lost.error) for lost in others.errors} <= {mesh.LostRemote}
    assert len(others.errors) <= CLIENTS
    for callers in (idempotent, others):
        assert callers.resumed(killed) < 8.0
        assert callers.values(killed) == {servers.two.pid}


def test_a_frozen_server_is_found_by_its_silence(servers: Servers) -> None:
    with sure(servers.clients) as callers:
        callers.wait_for(20)
        frozen = time.monotonic()
        servers.one.signal(signal.SIGSTOP)
        callers.wait_for(20)
    assert not callers.errors
    assert callers.resumed(frozen) < 15.0
    servers.one.signal(signal.SIGCONT)


def test_a_server_that_comes_back_gets_the_next_clients(servers: Servers) -> None:
    servers.one.kill()
    assert {client.with_options(retries=10, idempotent=True).pid() for client in servers.clients} == {
        servers.two.pid
    }
    back = servers.start("USERS_1")
    eventually(lambda: servers.connect().pid() == back.pid, timeout=10)


def test_a_stream_comes_whole_through_haproxy(servers: Servers) -> None:
    assert list(servers.clients[0].ticks(5000, 0)) == list(range(5000))


class Hubs:
    """Two hubs behind HAProxy, which have the same two workers, and clients that know only its address."""

    def __init__(self, kind: str, addresses: dict[str, str], stack: ExitStack, folder: Path) -> None:
        self.hubs = [
            Hub(folder, name, kind, stack, prometheus=addresses[port], drain=120)
            for name, port in (("one", "READY_1"), ("two", "READY_2"))
        ]
        self.workers = {stack.enter_context(worker(*self.hubs)).pid for _ in range(2)}
        for hub in self.hubs:
            with connected(folder, hub.in_) as client:
                until_served_by(client, self.workers)
        real = {name: host(hub.in_) for name, hub in zip(("HUB_1", "HUB_2"), self.hubs, strict=True)}
        self.proxy = stack.enter_context(haproxy(**addresses | real))
        address = f"tcp://{addresses['HUBS']}"
        self.clients = [stack.enter_context(connected(folder, address)) for _ in range(CLIENTS)]


def served(client: mesh.Client) -> int:
    """How many naps both workers have begun."""
    # Many at once: a lone call always goes to the worker that has the most room.
    asked = [gevent.spawn(client.begun) for _ in range(40)]
    naps = dict(one.get(timeout=20) for one in asked)
    return sum(map(len, naps.values()))


@pytest.mark.parametrize("kind", ["queue", "majordomo"])
def test_clients_go_on_when_a_hub_is_killed(
    kind: str, addresses: dict[str, str], stack: ExitStack, tmp_path: Path
) -> None:
    both = Hubs(kind, addresses, stack, tmp_path)
    with sure(both.clients) as callers:
        callers.wait_for(20)
        killed = time.monotonic()
        both.hubs[0].process.kill()
        callers.wait_for(20)
    assert not callers.errors
    assert callers.resumed(killed) < 8.0
    assert callers.values(killed) == both.workers


def test_clients_leave_a_hub_that_drains(addresses: dict[str, str], stack: ExitStack, tmp_path: Path) -> None:
    both = Hubs("queue", addresses, stack, tmp_path)
    draining = both.hubs[0]
    long = [client.with_options(timeout=300).nap.future(300, "held") for client in both.clients]
    eventually(lambda: served(both.clients[0]) == len(long))
    with sure(both.clients) as callers:
        callers.wait_for(20)
        told = time.monotonic()
        draining.process.signal(signal.SIGTERM)
        draining.process.wait_for("finishing what is under way")
        callers.wait_for(20)
        assert draining.process.returncode is None
        lost = [call.exception() for call in long if call.done()]
        assert not lost, f"{lost}: {draining.process.describe()}; {both.proxy.describe()}"
    assert {type(lost.error) for lost in callers.errors} <= {mesh.LostRemote}
    assert callers.values(told) == both.workers
