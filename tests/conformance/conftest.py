"""Peers that a class of conformance tests shares; the class says its `language`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mesh
from tests.conformance.contract import HEARTBEAT
from tests.helpers import peers
from tests.helpers.peers import OldClient, Server


@pytest.fixture(scope="class")
def old_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with peers.old_server(request.cls.language, heartbeat=HEARTBEAT) as server:
        yield server


@pytest.fixture
def client(old_server: Server) -> Iterator[mesh.Client]:
    """A mesh client of the old server."""
    with mesh.connect(old_server.endpoint, timeout=10, heartbeat=HEARTBEAT) as client:
        yield client


@pytest.fixture(scope="class")
def server() -> Iterator[Server]:
    """A mesh server, in a process of its own."""
    with peers.mesh_server(heartbeat=HEARTBEAT) as server:
        yield server


@pytest.fixture(scope="class")
def old_client(request: pytest.FixtureRequest, server: Server) -> Iterator[OldClient]:
    with OldClient(request.cls.language, server.endpoint, heartbeat=HEARTBEAT) as client:
        yield client
