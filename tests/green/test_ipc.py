"""Servers, clients, workers, sidecars and ends of events at paths of ipc."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.hub_client import HubControl
from mesh.green.sidecar import Sidecar
from mesh.names.model import Endpoint
from mesh.transport import ipc, lookup
from mesh.transport.identity import myself
from tests.green.conftest import Connect
from tests.helpers.processes import eventually
from tests.helpers.users import open_folder, unprivileged


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(lookup, "AGAIN", 0.0)
    with open_folder() as folder:
        yield folder / "users.ipc"


@pytest.fixture
def refused(path: Path) -> Iterator[Path]:
    """A path that may not be opened inside the test."""
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))
        one.listen()
        path.chmod(0o000)
        myself()  # what that imports may lie where nobody else may read
        with unprivileged():
            yield path


def error_of(client: mesh.Client) -> str:
    with pytest.raises(mesh.TimeoutExpired) as caught:
        client.f()
    assert caught.value.refused
    return str(caught.value)


# The reason of what can't be reached


def test_a_client_is_told_what_it_may_not_open(refused: Path, connect: Connect) -> None:
    client = connect(f"ipc://{refused}", timeout=0.6)
    right = f"permission denied: {ipc._me()} may not write to the socket {refused} (owner "
    eventually(lambda: right in error_of(client))
    assert "is a server running" not in error_of(client)


def test_a_client_is_told_what_is_missing(path: Path, connect: Connect) -> None:
    client = connect([f"ipc://{path}", f"ipc://{path}.d/x"], timeout=0.6)
    eventually(lambda: f"there is no folder {path}.d" in error_of(client))
    assert f"ipc://{path}: there is no socket {path}; is a server running there?" in error_of(client)
    server = mesh.Server({"f": lambda: 1})
    server.bind(f"ipc://{path}")
    server.start()
    assert connect(f"ipc://{path}", timeout=20).f() == 1
    server.stop(0)


def test_a_client_is_told_that_nobody_listens_any_more(path: Path, connect: Connect) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    client = connect(f"ipc://{path}", timeout=0.6)
    eventually(lambda: f"nobody listens at the socket {path} any more" in error_of(client))


def test_the_log_of_a_worker_tells_what_it_may_not_open(
    refused: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.transport.hub_connection.NOTICE", 0.3)
    server = mesh.Server({"f": print}, name="files")
    server.register("files", f"ipc://{refused}")
    server.start()
    try:
        eventually(lambda: f"files is no worker of ipc://{refused} for now: permission denied" in caplog.text)
    finally:
        server.stop(0)


def test_the_log_of_a_worker_tells_what_comes_later(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.transport.hub_connection.NOTICE", 0.2)
    server = mesh.Server({"f": print}, name="files")
    server.register("files", f"ipc://{path}")
    server.start()
    try:
        eventually(lambda: f"files is no worker of ipc://{path} for now: there is no socket" in caplog.text)
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(str(path))
        eventually(lambda: f"for now: nobody listens at the socket {path} any more" in caplog.text)
    finally:
        server.stop(0)
    assert caplog.text.count("is no worker of") == 2, "each is told once"


def test_the_log_of_a_sidecar_tells_it(refused: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Sidecar("files", f"ipc://{refused}", "tcp://127.0.0.1:9", heartbeat=0.2):
        eventually(lambda: f"the server at ipc://{refused} is out for now: permission denied" in caplog.text)


@pytest.mark.parametrize("kind", [mesh.Subscriber, mesh.Puller, mesh.Publisher, mesh.Pusher])
def test_the_log_of_events_tells_it(refused: Path, caplog: pytest.LogCaptureFixture, kind: Any) -> None:
    handler = [{"f": print}] if kind in (mesh.Subscriber, mesh.Puller) else []
    with kind(f"ipc://{refused}", *handler):
        eventually(lambda: "permission denied" in caplog.text)
    (record,) = [one for one in caplog.records if "permission denied" in one.getMessage()]
    assert (record.levelname, record.name) == ("WARNING", "mesh.events")


def test_a_path_of_events_that_is_bound_soon_after_is_no_news() -> None:
    told: list[str] = []
    obstacles = lookup.Obstacles(told.append)
    obstacles._looked_up("ipc:///x", "there is no socket")
    obstacles._looked_up("ipc:///x", "")
    assert told == []
    obstacles._looked_up("ipc:///x", "there is no socket")
    obstacles._looked_up("ipc:///x", "there is no socket")
    obstacles._looked_up("ipc:///x", "there is no socket")
    assert told == ["there is no socket"]


def test_whoever_pushes_is_told(refused: Path) -> None:
    told = pytest.raises(mesh.TimeoutExpired, match="permission denied")
    with mesh.Pusher(f"ipc://{refused}", timeout=2.5) as pusher, told:
        pusher.job()


def test_a_hub_s_status_tells_it(refused: Path) -> None:
    with closing(HubControl(Endpoint(f"ipc://{refused}"), 0.6)) as hub:
        answer = hub.ask()
    assert str(answer.error).startswith(f"ipc://{refused}: permission denied")


# Binding


def test_a_server_s_path_has_its_mode_and_is_removed_at_the_end(path: Path, connect: Connect) -> None:
    server = mesh.Server({"f": lambda: 1})
    assert server.bind(f"ipc://{path}", mode=0o600) == f"ipc://{path}"
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert connect(f"ipc://{path}", timeout=20).f() == 1
    server.stop(0)
    assert not path.exists()


def test_a_server_s_path_has_its_group(path: Path) -> None:
    server = mesh.Server({"f": lambda: 1})
    server.bind(f"ipc://{path}", group=os.getegid())
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == os.getegid()
    server.stop(0)


def test_a_path_of_a_live_server_is_not_taken_over(path: Path) -> None:
    one, other = mesh.Server({"f": len}), mesh.Server({"f": len})
    one.bind(f"ipc://{path}")
    in_use = f"to 'ipc://{path}': the address is in use already"
    with pytest.raises(mesh.ConfigError, match=in_use):
        other.bind(f"ipc://{path}")
    with pytest.raises(mesh.ConfigError, match=in_use):
        other.bind(f"ipc://{path}", mode=0o600)
    one.stop(0)
    assert not path.exists()
    other.bind(f"ipc://{path}", mode=0o600)
    other.stop(0)


@pytest.mark.parametrize("kind", [mesh.Subscriber, mesh.Puller, mesh.Publisher, mesh.Pusher])
def test_ends_of_events_leave_nothing(path: Path, kind: Any) -> None:
    handler = [{"f": print}] if kind in (mesh.Subscriber, mesh.Puller) else []
    end = kind(None, *handler)
    end.bind(f"ipc://{path}")
    assert path.is_socket()
    end.stop(0) if handler else end.close(0)
    eventually(lambda: not path.exists())


@pytest.mark.parametrize("more", [{}, {"mode": 0o600}])
def test_a_folder_that_is_not_there(path: Path, more: dict[str, int]) -> None:
    server = mesh.Server({"f": len})
    with pytest.raises(mesh.ConfigError, match=f"there is no folder {path}: make it, or take another path"):
        server.bind(f"ipc://{path}/x/y", **more)
    server.stop(0)


@pytest.mark.parametrize(
    ("endpoint", "more", "says"),
    [
        ("tcp://127.0.0.1:*", {"mode": 0o600}, "mode and group are for the path of an ipc:// endpoint"),
        ("ipc://@x", {"group": "root"}, "mode and group are for the path of an ipc:// endpoint"),
        ("ipc:///x", {"mode": 600}, "mode must be the permissions .* not 0o1130"),
        ("ipc:///x", {"mode": "0600"}, "mode must be the permissions .* not '0600'"),
        ("ipc:///x", {"mode": True}, "mode must be the permissions"),
        ("ipc:///x", {"group": ""}, "group must be the name of a group, or its number"),
        ("ipc:///x", {"group": 1.5}, "group must be the name of a group, or its number"),
        ("ipc:///x", {"mode": 0o600, "fd": 5}, "give fd, or mode and group"),
    ],
)
def test_what_is_no_mode_or_group(endpoint: str, more: dict[str, Any], says: str) -> None:
    server = mesh.Server({"f": len})
    with pytest.raises(mesh.ConfigError, match=says):
        server.bind(endpoint, **more)
    server.stop(0)
