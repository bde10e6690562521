"""`mesh-hub` with `publish`: found through the real BIND while it runs, and not after it has drained."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent
import pytest

import mesh
from tests.e2e.commands import environment
from tests.e2e.commands import mesh as mesh_command
from tests.helpers.dns_fixtures import use_dns
from tests.helpers.name_servers import CONFIGS, Bind, Nsd
from tests.helpers.peers import free_port
from tests.helpers.processes import Process, eventually
from tests.hubs.cluster import Hub, connected, worker
from tests.hubs.commands import mesh_hub

SERVICE, NAME = "accounts", "_accounts._tcp"


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind")) as one:
        yield one


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def publish(bind: Bind, server: str | None = None) -> str:
    keys = f'server: "{server or bind.address}", key_file: {bind.key_file}, ttl: 1, as: box'
    return f"{{zone: mesh.test, {keys}}}"


def port(hub: Hub) -> str:
    return hub.in_.rpartition(":")[2]


@pytest.mark.parametrize("kind", ["queue", "majordomo", "sharded"])
def test_a_hub_stands_in_the_zone_while_it_runs(
    bind: Bind, stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    hub = Hub(tmp_path, "front", kind, stack, publish=publish(bind), drain=5)
    stack.enter_context(worker(hub, service=SERVICE))
    client = stack.enter_context(connected(tmp_path, hub.in_, service=SERVICE))
    srv = f"10 1 {port(hub)} box.mesh.test."
    eventually(lambda: bind.records(NAME, "SRV") == {srv})
    assert bind.records(NAME, "TXT") == {f'"at=box.mesh.test:{port(hub)}" "hub=1" "by=box-{port(hub)}"'}
    # Withdrawn, it takes calls on until no cache has it any more, and then drains.
    began = time.monotonic()
    hub.process.signal(signal.SIGTERM)
    eventually(lambda: not bind.records(NAME, "SRV"))
    assert client.pid()
    assert hub.process.wait() == 0
    assert time.monotonic() - began >= 1.0
    assert not bind.records(f"box-{port(hub)}._mesh", "TXT")
    assert hub.process.stderr.count("hub front is withdrawn from the zone mesh.test") == 1


def test_clients_find_it_by_its_name_alone(
    bind: Bind, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the one hub, then the other one in place of it; no call is lost on the way."""
    use_dns(monkeypatch, tmp_path, bind.address)
    first = Hub(tmp_path, "first", "majordomo", stack, publish=publish(bind), drain=5)
    stack.enter_context(worker(first, service="found"))
    eventually(lambda: bind.records("_found._tcp", "SRV"))
    client = stack.enter_context(mesh.connect("found", timeout=10))
    assert client.echo(1) == 1
    second = Hub(tmp_path, "second", "majordomo", stack, publish=publish(bind), drain=5)
    stack.enter_context(worker(second, service="found"))
    eventually(lambda: len(bind.records("_found._tcp", "SRV")) == 2)
    first.process.signal(signal.SIGTERM)
    calls = 0
    while first.process.returncode is None:
        assert client.echo(calls) == calls
        calls += 1
        gevent.sleep(0.005)
    assert calls and client.echo("after") == "after"


def test_a_worker_is_found_by_its_label(
    bind: Bind, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which its own command line gives it: the hub writes it into the zone, and a client asks for it."""
    use_dns(monkeypatch, tmp_path, bind.address)
    hub = Hub(tmp_path, "labels", "majordomo", stack, publish=publish(bind), drain=5)
    for version in ("1", "2"):
        address = f"tcp://127.0.0.1:{free_port()}"
        (tmp_path / f"v{version}.py").write_text(f"def version():\n    return {version}\n")
        arguments = ["labelled", f"v{version}", "--hub", hub.out, "--address", address]
        command = [sys.executable, "-m", "mesh.cli.register", *arguments, "--label", f"version={version}"]
        stack.enter_context(Process(command, cwd=tmp_path, env=environment()))
    eventually(lambda: sum("version=" in text for text in bind.records("_labelled._tcp", "TXT")) == 2)
    told = json.loads(mesh_command("hub-status", hub.in_, "-j", cwd=tmp_path).stdout)["workers"]
    assert sorted(worker["labels"]["version"] for worker in told) == ["1", "2"]
    client = stack.enter_context(mesh.connect("labelled", timeout=10))
    for version in ("1", "2", "1"):
        labelled = client.with_options(version=version)
        assert [labelled.version() for _ in range(5)] == [int(version)] * 5
    with pytest.raises(mesh.ServiceNotFound, match="version=1, version=2"):
        client.with_options(version="3").version()


def test_a_reload_begins_and_ends_it(bind: Bind, stack: ExitStack, tmp_path: Path) -> None:
    hub = Hub(tmp_path, "front", "queue", stack, service="reloaded")
    text = (tmp_path / "front.yml").read_text()
    (tmp_path / "front.yml").write_text(f"{text}publish: {publish(bind)}\n")
    os.kill(hub.process.pid, signal.SIGHUP)
    eventually(lambda: bind.records("_reloaded._tcp", "SRV"))
    (tmp_path / "front.yml").write_text(text)
    os.kill(hub.process.pid, signal.SIGHUP)
    eventually(lambda: not bind.records("_reloaded._tcp", "SRV"))
    assert hub.process.returncode is None


def test_a_name_server_that_is_away_holds_up_nothing(bind: Bind, stack: ExitStack, tmp_path: Path) -> None:
    # It takes connections, and never answers.
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    hub = Hub(tmp_path, "front", "queue", stack, publish=publish(bind, address), drain=5)
    stack.enter_context(worker(hub, service=SERVICE))
    client = stack.enter_context(connected(tmp_path, hub.in_, service=SERVICE))
    assert client.pid()
    eventually(lambda: "hub front is not published: the name server" in hub.process.stderr)
    began = time.monotonic()
    hub.process.signal(signal.SIGTERM)
    assert hub.process.wait() == 0
    assert time.monotonic() - began < 10
    assert "could not be taken out of the zone mesh.test in time" in hub.process.stderr


def test_a_hub_that_was_never_published_does_not_end_as_one_that_is(
    bind: Bind, stack: ExitStack, tmp_path: Path
) -> None:
    (tmp_path / "nsd").mkdir()
    nsd = stack.enter_context(Nsd(tmp_path / "nsd"))
    hub = Hub(tmp_path, "front", "queue", stack, publish=publish(bind, nsd.address), service=SERVICE)
    eventually(lambda: "hub front is not published: the name server" in hub.process.stderr)
    hub.process.signal(signal.SIGTERM)
    assert hub.process.wait() == 0
    assert "is published" not in hub.process.stderr and "is withdrawn" not in hub.process.stderr


def machine_address() -> str:
    """That by which this machine reaches others."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
            towards.connect(("192.0.2.1", 53))
            return str(towards.getsockname()[0])
    except OSError:
        pytest.skip("this machine has no route to others")


def test_a_loopback_address_that_one_hub_left_does_not_stick(
    bind: Bind, stack: ExitStack, tmp_path: Path
) -> None:
    named = publish(bind).replace("as: box", "as: stuck.mesh.test")
    first = Hub(tmp_path, "first", "queue", stack, publish=named, service="stuck")
    eventually(lambda: bind.records("stuck", "A") == {"127.0.0.1"})
    first.process.signal(signal.SIGTERM)
    assert first.process.wait() == 0
    assert bind.records("stuck", "A") == {"127.0.0.1"}
    everywhere = {"in": f'"tcp://*:{free_port()}"'}
    second = Hub(tmp_path, "second", "queue", stack, publish=named, service="stuck", **everywhere)
    eventually(lambda: bind.records("stuck", "A") == {machine_address()})
    second.process.wait_for("the address 127.0.0.1 of stuck.mesh.test is taken out of the zone")
    # And a hub that nobody else reaches leaves it, and says so.
    third = Hub(tmp_path, "third", "queue", stack, publish=named, service="stuck")
    third.process.wait_for(f"stuck.mesh.test has the address {machine_address()} in the zone, and clients go")
    assert bind.records("stuck", "A") == {machine_address()}


def test_an_address_that_somebody_has_set_stays_and_is_told(
    bind: Bind, stack: ExitStack, tmp_path: Path
) -> None:
    bind.put("chosen", "A", "198.51.100.9")
    named = publish(bind).replace("as: box", "as: chosen")
    everywhere = {"in": f'"tcp://*:{free_port()}"'}
    hub = Hub(tmp_path, "front", "queue", stack, publish=named, service="chosen", **everywhere)
    hub.process.wait_for(
        f"chosen.mesh.test has the address 198.51.100.9 .* would write {machine_address()}: "
    )
    assert bind.records("chosen", "A") == {"198.51.100.9"}


def test_a_key_file_that_is_not_there_is_told_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "hub.yml").write_text(
        'in: "tcp://*:*"\nout: "tcp://127.0.0.1:*"\npublish: {zone: mesh.test, key_file: mesh.key, as: box}\n'
    )
    for arguments in (["hub.yml"], ["--check", "hub.yml"]):
        result = mesh_hub(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert "hub.yml:3: publish.key_file: " in result.stderr
        assert (
            "mesh.key: cannot be read: No such file or directory: make one by `tsig-keygen" in result.stderr
        )
    (tmp_path / "mesh.key").write_text((CONFIGS / "mesh.key").read_text())
    assert mesh_hub("--check", "hub.yml", cwd=tmp_path).returncode == 0
