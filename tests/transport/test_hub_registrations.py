"""The registrations of a server: whatever thread makes them, the loop goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest

from mesh.core.registration import Registration
from mesh.core.server_session import Limits
from mesh.errors import ConfigError, MeshError
from mesh.green.loop import GeventLoop
from mesh.transport.server_endpoint import ServerEndpoint
from tests.helpers.peers import nobody

MANY = 60


@pytest.fixture
def endpoint() -> Iterator[ServerEndpoint]:
    endpoint = ServerEndpoint("users", None, Limits())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield endpoint
    finally:
        sys.setswitchinterval(before)
        endpoint.close(0)


def registration() -> Registration:
    return Registration("users", {"capacity": 1}, 20.0)


@pytest.mark.parametrize(
    "look",
    [
        lambda endpoint: endpoint._wake_at(),
        lambda endpoint: endpoint.patience,
        lambda endpoint: endpoint.hubs.settled,
        lambda endpoint: endpoint.hubs.crowded,
        lambda endpoint: endpoint._work(0.0, 1),
        lambda endpoint: endpoint.offer(1),
    ],
    ids=["wake_at", "patience", "settled", "crowded", "work", "offer"],
)
def test_another_thread_registers_while_the_loop_goes_through_them(
    endpoint: ServerEndpoint, look: Callable[[ServerEndpoint], object]
) -> None:
    hubs = [nobody() for _ in range(MANY)]
    endpoint.register({hubs.pop(): registration()})
    endpoint.start(GeventLoop(gevent.get_hub()), lambda: None, lambda calls: None)

    def register() -> None:
        for hub in hubs:
            endpoint.register({hub: registration()})

    thread = threading.Thread(target=register)
    thread.start()
    looks = 0
    while thread.is_alive():
        look(endpoint)
        looks += 1
    thread.join()
    assert looks > 1 and len(endpoint.hubs._connections) == MANY
    gevent.sleep(0)
    assert len(endpoint.hubs._watched) == MANY


def test_of_hubs_of_which_one_is_given_twice_none_is_registered(endpoint: ServerEndpoint) -> None:
    there, other = nobody(), nobody()
    endpoint.register({there: registration()})
    with pytest.raises(ConfigError, match="is given twice: users is registered there already"):
        endpoint.register({other: registration(), there: registration()})
    assert len(endpoint.hubs._connections) == 1


def test_nothing_registers_where_the_server_has_ended(endpoint: ServerEndpoint) -> None:
    endpoint.close(0)
    with pytest.raises(MeshError, match="was stopped; make a new server"):
        endpoint.register({nobody(): registration()})
