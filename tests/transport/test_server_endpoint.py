"""A server's socket in its loop: what arrives while something is sent is not left lying."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from time import monotonic

import gevent
import pytest
import zmq

from mesh.core.batch import Bundle, read_events
from mesh.core.majordomo import heartbeat
from mesh.core.registration import Registration
from mesh.core.server_session import Limits, ServerCall
from mesh.core.wire import pack
from mesh.green.loop import GeventLoop
from mesh.transport import sockets
from mesh.transport.hub_registrations import HubRegistrations
from mesh.transport.server_endpoint import ServerEndpoint
from tests.helpers.peers import nobody
from tests.helpers.processes import eventually

PATIENCE = 20.0


@pytest.fixture
def peer() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context.socket(zmq.DEALER)
    context.destroy(linger=0)


def send_until_the_edge_is_gone(endpoint: ServerEndpoint, peer: bytes) -> None:
    """Something has arrived, and to send takes away what the descriptor has to tell of it."""
    assert endpoint.router is not None
    descriptor = sockets.descriptor(endpoint.router.socket)
    give_up = monotonic() + PATIENCE
    assert select.select([descriptor], [], [], PATIENCE)[0]
    while select.select([descriptor], [], [], 0)[0]:
        assert monotonic() < give_up
        with endpoint.lock:
            endpoint._send(peer, b"an answer")


def until_readable(endpoint: ServerEndpoint) -> None:
    """Wait in a callback of the loop, which must not switch to another greenlet."""
    assert endpoint.router is not None
    give_up = monotonic() + PATIENCE
    while not endpoint.router.readable():
        assert monotonic() < give_up
        select.select([], [], [], 0.001)


def run(endpoint: ServerEndpoint, dispatch: Callable[[], None]) -> None:
    """Serve in this thread's loop until a second request was received."""
    endpoint.start(GeventLoop(gevent.get_hub()), dispatch, lambda calls: None)
    try:
        with gevent.Timeout(PATIENCE):
            while len(endpoint.session.ready) < 2:
                gevent.sleep(0.01)
    finally:
        endpoint.close(0)


def test_calls_of_the_last_turn_do_not_hide_what_arrives(peer: zmq.Socket[bytes]) -> None:
    endpoint = ServerEndpoint("late", None, Limits())
    turns = 0

    def request() -> None:
        peer.send_multipart([b"", pack({"message_id": str(turns), "v": 3}, "echo", [])])

    def dispatch() -> None:
        nonlocal turns
        turns += bool(endpoint.session.ready)
        # As if the handlers of the first had taken too long, and this is the next, which receives nothing.
        if turns == 2:
            request()
            send_until_the_edge_is_gone(endpoint, endpoint.session.ready[0].peer)

    peer.connect(endpoint.attach("tcp://127.0.0.1:*", "bind"))
    request()
    run(endpoint, dispatch)


def test_the_guard_is_as_impatient_as_the_most_impatient_hub() -> None:
    """A hub may have a shorter interval than its worker, and tells it."""
    endpoint = ServerEndpoint("users", None, Limits())
    registrations = [Registration("users", {"capacity": 1}, 20.0) for _ in range(2)]
    try:
        for registration in registrations:
            endpoint.register({nobody(): registration})
            registration.connected(1.0)
        patience = endpoint.patience
        hub = heartbeat(about={"heartbeat": 300, "capacity": 1})
        registrations[1].receive(hub, 1.1)
        assert endpoint.patience == 0.15 < patience
        assert endpoint.overdue(endpoint.turn + 0.2)
    finally:
        endpoint.close(0)


def test_the_loop_turns_often_enough_for_a_hub_as_soon_as_that_has_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the guard would take a loop that is idle for one that is blocked."""
    endpoint = ServerEndpoint("users", None, Limits())
    try:
        endpoint.start(GeventLoop(gevent.get_hub()), lambda: None, lambda calls: None)
        endpoint._has_hubs = True
        monkeypatch.setattr(HubRegistrations, "interval", 0.1)
        endpoint._pump.run()
        assert endpoint._paced == 0.1
    finally:
        endpoint.close(0)


def test_answers_of_handlers_that_begin_later_share_a_frame_in_each_turn(peer: zmq.Socket[bytes]) -> None:
    """Two frames of calls are taken in before the first handlers begin."""
    endpoint, loop, frames = ServerEndpoint("later", None, Limits()), GeventLoop(gevent.get_hub()), [0]

    def request() -> None:
        bundle = Bundle()
        for number in range(3):
            assert bundle.add(pack({"message_id": f"{frames[0]}-{number}", "v": 3}, "echo", []))
        peer.send_multipart(bundle.frames())
        frames[0] += 1

    def answer(calls: list[ServerCall]) -> None:
        for call in calls:
            endpoint.answer(call, None)

    def dispatch() -> None:
        calls = list(endpoint.session.ready)
        endpoint.session.ready.clear()
        if not calls:
            return
        for call in calls:
            assert endpoint.begin(call, monotonic(), True)
        loop.call_soon(answer, calls)
        if frames[0] == 1:
            request()
            until_readable(endpoint)

    peer.connect(endpoint.attach("tcp://127.0.0.1:*", "bind"))
    request()
    endpoint.start(loop, dispatch, lambda calls: None, wakes_later=True)
    try:
        for _ in range(2):
            eventually(lambda: peer.poll(0))
            assert len(read_events(peer.recv_multipart()[-1])) == 3
    finally:
        endpoint.close(0)
