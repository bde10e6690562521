"""A client in its loop: what arrives while something is sent is not left lying."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from time import monotonic
from typing import Any

import gevent
import pytest

import mesh
from mesh.core.channel import NEVER
from mesh.transport import sockets
from mesh.transport.client_endpoint import ClientEndpoint
from tests.helpers.clients import call, endpoint_of, endpoint_to, link_of
from tests.helpers.peers import nobody
from tests.helpers.raw import RawServer

PATIENCE = 20.0


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as one:
        yield one


@pytest.fixture
def endpoint(server: RawServer) -> Iterator[ClientEndpoint]:
    one = endpoint_to(server.endpoint)
    yield one
    one.close()


def arrived(endpoint: ClientEndpoint) -> None:
    """Wait, without a turn of the loop, until the descriptor tells of something; or the socket itself, for
    libzmq does not tell by the descriptor while it takes the last to be looked at still.
    """
    dealer, give_up = link_of(endpoint).dealer, monotonic() + PATIENCE
    while not select.select([sockets.descriptor(dealer.socket)], [], [], 0.1)[0] and not dealer.readable():
        assert monotonic() < give_up


def send_until_the_edge_is_gone(endpoint: ClientEndpoint) -> None:
    """To send takes away what the descriptor has to tell."""
    link, give_up = link_of(endpoint), monotonic() + PATIENCE
    while select.select([sockets.descriptor(link.dealer.socket)], [], [], 0)[0]:
        assert monotonic() < give_up
        link.transmit(b"a heartbeat")


def reply(server: RawServer, header: dict[str, Any], value: object) -> None:
    server.send({"message_id": b"r", "v": 3, "response_to": header["message_id"]}, "OK", [value])


def test_heartbeats_do_not_hide_an_answer(server: RawServer, endpoint: ClientEndpoint) -> None:
    # Two, as the loop looks a while for the answer of a lone one.
    answer, never = (gevent.spawn(call, endpoint, "echo") for _ in range(2))
    header, _, _ = server.receive()

    def on_timer(now: float) -> list[Any]:
        endpoint.session.wake_at = NEVER
        reply(server, header, "late")
        arrived(endpoint)
        send_until_the_edge_is_gone(endpoint)
        return []

    endpoint.session.on_timer = on_timer  # type: ignore[method-assign]
    endpoint.session.wake_at = 0.0
    endpoint._on_timer()
    assert answer.get(timeout=PATIENCE).value == "late"
    never.kill()


def test_calls_of_whom_the_guard_has_woken_do_not_hide_an_answer(
    server: RawServer, endpoint: ClientEndpoint
) -> None:
    headers = []

    # Under the lock: where it takes long the guard would take the answers in, and nothing be left to tell.
    def twice() -> None:
        call(endpoint, "first")
        with endpoint.lock:
            reply(server, headers[1], "late")
            arrived(endpoint)
            send_until_the_edge_is_gone(endpoint)
        call(endpoint, "third")

    never = gevent.spawn(twice)
    answer = gevent.spawn(call, endpoint, "second")
    headers += [server.receive()[0], server.receive()[0]]
    with endpoint.lock:
        reply(server, headers[0], 1)
        arrived(endpoint)
        endpoint.stand_in(monotonic())
    assert answer.get(timeout=PATIENCE).value == "late"
    never.kill()


def test_a_call_that_waits_for_a_server_costs_next_to_nothing() -> None:
    one = endpoint_to(nobody())
    looked = 0

    def follow() -> None:
        nonlocal looked
        looked += 1

    one.follow = follow
    try:
        answer = gevent.spawn(call, one, "echo", 1.2)
        assert answer.get(timeout=PATIENCE).error is not None
        assert 1 <= looked <= 6
    finally:
        one.close()


def test_the_watchdog_may_come_at_any_moment() -> None:
    """It stands in all the time here, beside a loop that turns, and calls are dropped from its thread."""
    service = mesh.Server({"echo": lambda value: value, "count": lambda number: iter(range(number))})
    with mesh.connect(service.bind("tcp://127.0.0.1:*"), timeout=PATIENCE) as client:
        service.start()
        endpoint, ended = endpoint_of(client), threading.Event()
        stood = 0

        def stand_in() -> None:
            nonlocal stood
            while not ended.is_set():
                with endpoint.lock:
                    endpoint.stand_in(monotonic())
                stood += 1
                endpoint.overdue(monotonic())
                time.sleep(0.0001)

        def call(number: int) -> None:
            for turn in range(40):
                assert client.echo([number, turn]) == [number, turn]
                assert list(client.count(30)) == list(range(30))
                with gevent.Timeout(0.0005, False):
                    client.echo("perhaps given up")

        thread = threading.Thread(target=stand_in)
        thread.start()
        try:
            gevent.joinall([gevent.spawn(call, number) for number in range(20)], raise_error=True)
        finally:
            ended.set()
            thread.join()
        assert stood > 10
        assert not endpoint.session.calls and not endpoint.session.unsent
    service.stop(timeout=0.2)
