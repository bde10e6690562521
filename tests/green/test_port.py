"""A server's socket in its loop: what arrives while something is sent is not left lying."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from time import monotonic

import gevent
import pytest
import zmq

from mesh.core.majordomo import heartbeat
from mesh.core.registration import Registration
from mesh.core.server_session import Limits
from mesh.core.wire import pack
from mesh.green.port import Port
from mesh.transport import sockets
from mesh.transport.hub_links import HubLinks
from tests.helpers.peers import nobody

PATIENCE = 20.0


@pytest.fixture
def peer() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context.socket(zmq.DEALER)
    context.destroy(linger=0)


def send_until_the_edge_is_gone(port: Port, peer: bytes) -> None:
    """Something has arrived, and to send takes away what the descriptor has to tell of it."""
    assert port.router is not None
    descriptor = sockets.descriptor(port.router.socket)
    give_up = monotonic() + PATIENCE
    assert select.select([descriptor], [], [], PATIENCE)[0]
    while select.select([descriptor], [], [], 0)[0]:
        assert monotonic() < give_up
        with port.lock:
            port.send(peer, b"an answer")


def run(port: Port, dispatch: Callable[[], None]) -> None:
    """Serve in this thread's loop until a second request was received."""
    port.start(gevent.get_hub(), dispatch, lambda call: None)
    try:
        with gevent.Timeout(PATIENCE):
            while len(port.session.ready) < 2:
                gevent.sleep(0.01)
    finally:
        port.close(0)


def test_calls_of_the_last_turn_do_not_hide_what_arrives(peer: zmq.Socket[bytes]) -> None:
    port = Port("late", None, Limits())
    turns = 0

    def request() -> None:
        peer.send_multipart([b"", pack({"message_id": str(turns), "v": 3}, "echo", [])])

    def dispatch() -> None:
        nonlocal turns
        turns += bool(port.session.ready)
        # As if the handlers of the first had taken too long, and this is the next, which receives nothing.
        if turns == 2:
            request()
            send_until_the_edge_is_gone(port, port.session.ready[0].peer)

    peer.connect(port.attach("tcp://127.0.0.1:*", "bind"))
    request()
    run(port, dispatch)


def test_the_guard_is_as_impatient_as_the_most_impatient_hub() -> None:
    """A hub may have a shorter interval than its worker, and tells it."""
    port = Port("users", None, Limits())
    registrations = [Registration("users", {"capacity": 1}, 20.0) for _ in range(2)]
    try:
        for registration in registrations:
            port.register(nobody(), registration)
            registration.connected(1.0)
        patience = port.patience
        hub = heartbeat(about={"heartbeat": 300, "capacity": 1})
        registrations[1].receive(hub, 1.1)
        assert port.patience == 0.15 < patience
        assert port.overdue(port.turn + 0.2)
    finally:
        port.close(0)


def test_the_loop_turns_often_enough_for_a_hub_as_soon_as_that_has_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the guard would take a loop that is idle for one that is blocked."""
    port = Port("users", None, Limits())
    try:
        port.start(gevent.get_hub(), lambda: None, lambda call: None)
        port._has_hubs = True
        monkeypatch.setattr(HubLinks, "interval", 0.1)
        port._drain()
        assert port._paced == 0.1
    finally:
        port.close(0)
