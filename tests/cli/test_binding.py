"""Where `mesh serve` listens."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.binding import DEFAULT_BIND, Binds, choose_binds, listen
from mesh.errors import ConfigError
from tests.helpers.requirements import require_localhost

REGISTRY = """\
users: [tcp://10.9.8.7:4242, tcp://127.0.0.1:4343]
events: {address: tcp://127.0.0.1:7002, type: pub}
orders: {hub: tcp://127.0.0.1:5555}
"""


@pytest.fixture
def registry(tmp_path: Path) -> str:
    file = tmp_path / "services.yml"
    file.write_text(REGISTRY)
    return str(file)


def test_what_is_given_is_bound() -> None:
    binds = choose_binds(["tcp://*:1", "ipc:///x"], [], "users", None)
    assert binds.each(str.upper) == ["TCP://*:1", "IPC:///X"]


def test_a_server_that_connects_binds_nothing_by_itself() -> None:
    assert choose_binds([], ["tcp://127.0.0.1:1"], None, None).endpoints == ()


def test_the_default(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SERVICES", registry)
    assert choose_binds([], [], None, None).endpoints == (DEFAULT_BIND,)
    assert choose_binds([], [], "unknown", None) == Binds(
        (DEFAULT_BIND,), note=f"{registry} has no service 'unknown'; it listens on {DEFAULT_BIND}"
    )
    assert "did you mean 'users'? It listens on" in choose_binds([], [], "userz", None).note


def test_without_a_registry_there_is_nothing_to_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert choose_binds([], [], "users", None) == Binds((DEFAULT_BIND,))


def test_a_service_of_the_registry_gets_the_first_address_that_can_be_had(registry: str) -> None:
    def bind(endpoint: str) -> str:
        if "10.9.8.7" in endpoint:
            raise ConfigError(f"not here: {endpoint}")
        return endpoint

    assert choose_binds([], [], "users", registry).each(bind) == ["tcp://127.0.0.1:4343"]


def test_none_of_the_addresses_can_be_had(registry: str) -> None:
    def bind(endpoint: str) -> str:
        raise ConfigError(f"not here: {endpoint}")

    with pytest.raises(ConfigError, match=r"none of the addresses of users .*yml:1.*10\.9\.8\.7.*4343"):
        choose_binds([], [], "users", registry).each(bind)


@pytest.mark.parametrize(
    ("service", "part"),
    [("events", "of type 'pub'"), ("orders", "behind a hub"), ("userz", "no service 'userz'")],
)
def test_a_service_that_is_no_server(registry: str, service: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        choose_binds([], [], service, registry)


@pytest.mark.parametrize("endpoint", ["4242", "127.0.0.1:4242", "tcp://127.0.0.1", "http://x:1"])
def test_a_bad_endpoint_is_refused_before_anything_starts(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        choose_binds([endpoint], [], None, None)
    with pytest.raises(ConfigError):
        choose_binds([], [endpoint], None, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "*"])
def test_a_shared_socket_tells_its_real_endpoint(host: str) -> None:
    if host == "localhost":
        require_localhost()
    endpoint, listening = listen(f"tcp://{host}:*")
    with listening:
        port = listening.getsockname()[1]
        assert endpoint.endswith(f":{port}") and port > 0
        assert not listening.getblocking()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_name_with_an_ipv6_address_too_is_shared_where_clients_look_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = socket.getaddrinfo

    def both(_host: str, port: int, family: int = 0, *more: int, **named: int) -> list[Any]:
        """What there is to know of localhost on a usual Debian."""
        wanted = [socket.AF_INET6, socket.AF_INET] if family == 0 else [family]
        local = {socket.AF_INET6: "::1", socket.AF_INET: "127.0.0.1"}
        return [one for each in wanted for one in ask(local[each], port, each, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    endpoint, listening = listen("tcp://localhost:*")
    with listening:
        assert endpoint.startswith("tcp://127.0.0.1:")


def test_a_shared_socket_whose_port_is_taken() -> None:
    endpoint, listening = listen("tcp://127.0.0.1:*")
    with listening, pytest.raises(ConfigError, match="in use already"):
        listen(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [("ipc:///tmp/x", "--processes needs tcp"), ("tcp://no.such.host.invalid:1", "no such host")],
)
def test_what_processes_can_not_share(endpoint: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        listen(endpoint)


def test_all_of_the_given_endpoints_must_be_bound() -> None:
    def bind(endpoint: str) -> str:
        raise ConfigError(endpoint)

    with pytest.raises(ConfigError, match="a"):
        Binds(("a", "b")).each(bind)
