"""The commands with names that DNS has and no file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import ANY_PORT, mesh, serving
from tests.helpers.dns_users import port_of
from tests.helpers.lying_dns import LyingServer

NAME = "_people._tcp.mesh.test"


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (_, endpoint):
        yield endpoint


@pytest.fixture
def zone(served: str) -> Iterator[LyingServer]:
    with LyingServer() as dns:
        dns.put("a.mesh.test", "A", "127.0.0.1")
        dns.service(NAME, f"a.mesh.test:{port_of(served)}")
        yield dns


@pytest.fixture
def env(zone: LyingServer) -> dict[str, str]:
    return {"MESH_DOMAIN": "mesh.test", "MESH_DNS": zone.address}


def at(served: str) -> str:
    return f"tcp://a.mesh.test:{port_of(served)}"


def test_a_call_and_a_ping(folder: Path, served: str, env: dict[str, str]) -> None:
    result = mesh("call", "people", "get", "42", cwd=folder, **env)
    assert (result.returncode, result.stderr) == (0, "") and "Ann" in result.stdout
    told = json.loads(mesh("ping", "people", "-j", cwd=folder, **env).stdout)
    assert (told["endpoint"], told["name"]) == (at(served), "Users")


def test_services_show_where_a_name_is_from(folder: Path, served: str, env: dict[str, str]) -> None:
    result = mesh("services", "people", "-j", cwd=folder, **env)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert found["source"] == f"DNS {NAME} at {env['MESH_DNS']}"
    assert [(one["endpoint"], one["health"]) for one in found["endpoints"]] == [(at(served), "up")]


@pytest.mark.parametrize("command", [("call", "nobody", "get"), ("ping", "nobody"), ("services", "nobody")])
def test_a_name_that_nobody_has(folder: Path, env: dict[str, str], command: tuple[str, ...]) -> None:
    result = mesh(*command, cwd=folder, **env)
    assert (result.returncode, result.stdout) == (3, "")
    assert "no service 'nobody' in" in result.stderr and "DNS (_nobody._tcp.mesh.test at" in result.stderr


@pytest.mark.parametrize("command", [("call", "people", "get", "42"), ("services", "check", "people")])
def test_aliases_in_a_circle_are_told_as_such(
    folder: Path, env: dict[str, str], zone: LyingServer, command: tuple[str, ...]
) -> None:
    zone.take_out(NAME, "SRV")
    zone.put(NAME, "CNAME", "b.mesh.test.")
    zone.put("b.mesh.test", "CNAME", f"{NAME}.")
    result = mesh(*command, cwd=folder, **env)
    assert result.returncode == (3 if command[0] == "call" else 2), result
    told = (
        f"{env['MESH_DNS']} says of {NAME} that its aliases (CNAME) lead round in a circle, or are too many"
    )
    assert told in result.stdout + result.stderr


def test_a_name_that_is_decidedly_not_available(folder: Path, env: dict[str, str], zone: LyingServer) -> None:
    zone.put(NAME, "SRV", "0 0 0 .")
    result = mesh("call", "people", "get", "42", cwd=folder, **env)
    assert result.returncode == 3, result
    at_server = f"DNS ({NAME} at {env['MESH_DNS']})"
    said = (
        f", and {at_server} says by the target '.' that it is decidedly not available (RFC 2782): ask whoever"
    )
    assert said in result.stderr and "no service 'people' in" in result.stderr
    result = mesh("services", "check", "people", cwd=folder, **env)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"note: {NAME} SRV: its only target is '.', by which the zone says")


def test_a_type_that_nobody_knows(folder: Path, env: dict[str, str], zone: LyingServer) -> None:
    zone.put(NAME, "TXT", '"type=rooter"')
    result = mesh("services", "check", "people", cwd=folder, **env)
    assert result.returncode == 2 and "did you mean 'router'?" in result.stdout


def test_a_name_with_the_dot_of_dns_at_its_end(folder: Path, env: dict[str, str]) -> None:
    result = mesh("call", "people.mesh.test.", "get", "42", cwd=folder, **env)
    assert result.returncode == 2 and result.stderr.endswith(": leave the last dot out\n")
    assert mesh("call", "people.mesh.test", "get", "42", cwd=folder, **env).returncode == 0


def test_wrong_settings_are_told(folder: Path) -> None:
    result = mesh("call", "nobody", "get", cwd=folder, MESH_DOMAIN="a..b")
    assert result.returncode == 2
    assert "MESH_DOMAIN has 'a..b', which is no domain" in result.stderr
