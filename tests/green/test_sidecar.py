"""The life of a sidecar in a program: start, stop from anywhere, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from mesh.errors import ConfigError, MeshError
from mesh.green.sidecar import Sidecar
from tests.helpers.peers import nobody
from tests.helpers.processes import PATIENCE, eventually


def a_sidecar(**options: Any) -> Sidecar:
    return Sidecar("users", nobody(), nobody(), heartbeat=0.2, **options)


@pytest.fixture
def running() -> Iterator[tuple[Sidecar, gevent.Greenlet]]:
    sidecar = a_sidecar()
    greenlet = gevent.spawn(sidecar.run)
    gevent.sleep(0)
    yield sidecar, greenlet
    sidecar.stop(0)


def ended(greenlet: gevent.Greenlet) -> bool:
    greenlet.join(PATIENCE)
    return bool(greenlet.successful())


def test_it_runs_until_it_is_stopped(running: tuple[Sidecar, gevent.Greenlet]) -> None:
    sidecar, greenlet = running
    gevent.sleep(0.3)
    assert not greenlet.dead
    sidecar.stop()
    assert greenlet.dead
    sidecar.stop()
    assert ended(greenlet)


def test_it_is_stopped_from_the_loop(running: tuple[Sidecar, gevent.Greenlet]) -> None:
    """As a signal handler does, which may not wait for what it interrupts."""
    sidecar, greenlet = running
    gevent.get_hub().loop.run_callback(sidecar.stop)
    assert ended(greenlet)


def test_it_is_stopped_from_a_native_thread(running: tuple[Sidecar, gevent.Greenlet]) -> None:
    sidecar, greenlet = running
    thread = threading.Thread(target=sidecar.stop)
    thread.start()
    assert ended(greenlet)
    eventually(lambda: not thread.is_alive())


def test_it_runs_in_a_native_thread() -> None:
    sidecar = a_sidecar()
    thread = threading.Thread(target=sidecar.run)
    thread.start()
    eventually(lambda: sidecar._hub is not None)
    sidecar.stop()
    eventually(lambda: not thread.is_alive())


def test_it_runs_once(running: tuple[Sidecar, gevent.Greenlet]) -> None:
    with pytest.raises(MeshError, match="started already"):
        running[0].run()
    stopped = a_sidecar()
    stopped.stop()
    with pytest.raises(MeshError, match="stopped"):
        stopped.run()


@pytest.mark.parametrize(
    ("name", "endpoint", "hubs", "options", "text"),
    [
        ("", "tcp://a:1", "tcp://b:1", {}, "'' is no name of a service"),
        ("users", "a:1", "tcp://b:1", {}, "did you mean 'tcp://a:1'?"),
        ("users", "inproc://a", "tcp://b:1", {}, "a sidecar's server is another process"),
        ("users", "tcp://a:1", ["tcp://b:1", "inproc://c"], {}, "a hub is never in the same process"),
        ("users", "tcp://a:1", ["tcp://b:1", "tcp://a:1"], {}, "'tcp://a:1' is the hub's endpoint"),
        ("users", "tcp://localhost:1", "tcp://127.0.0.1:1", {}, "a sidecar stands beside a server"),
        (
            "users",
            "tcp://a:1",
            "tcp://b:1",
            {"heartbeat": 0},
            "heartbeat must be more than 0 and at most 3600 seconds",
        ),
        ("users", "tcp://a:1", "tcp://b:1", {"capacity": 0}, "capacity must be a whole number from 1"),
    ],
)
def test_what_can_not_work_is_refused(name: str, endpoint: str, hubs: Any, options: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sidecar(name, endpoint, hubs, **options)
    assert text in str(caught.value)


def test_no_socket_is_left(running: tuple[Sidecar, gevent.Greenlet]) -> None:
    sidecar, _ = running
    endpoint = sidecar._endpoint
    sockets = [one.dealer.socket for one in endpoint._server._sockets.values()]
    sockets += [one._dealer.socket for one in endpoint._hubs._connections.values()]
    assert len(sockets) == 2
    sidecar.stop()
    assert all(socket.closed for socket in sockets)
