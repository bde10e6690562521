"""Fixtures for clients that find their servers through a name server of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.lying_dns import LyingServer

DOMAIN = "mesh.test"
NAME = f"_users._tcp.{DOMAIN}"


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LyingServer]:
    """A name server that MESH_DNS names, and no services.yml anywhere."""
    with LyingServer() as server:
        for host in "ab":
            server.put(f"{host}.mesh.test", "A", "127.0.0.1", ttl=300)
        use_dns(monkeypatch, tmp_path, server.address)
        yield server


def use_dns(monkeypatch: pytest.MonkeyPatch, folder: Path, servers: str) -> None:
    """Have names looked up there, and nowhere else."""
    monkeypatch.setenv("MESH_DOMAIN", DOMAIN)
    monkeypatch.setenv("MESH_DNS", servers)
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.chdir(folder)
