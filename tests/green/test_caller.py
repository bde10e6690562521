"""A client in its loop: what arrives while something is sent is not left lying."""

from __future__ import annotations

import select
from collections.abc import Iterator
from time import monotonic
from typing import Any

import gevent
import pytest

from mesh.core.channel import NEVER
from mesh.green.caller import Caller
from mesh.green.link import Link
from mesh.transport import sockets
from tests.helpers.peers import nobody
from tests.helpers.raw import RawServer

PATIENCE = 20.0


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as one:
        yield one


@pytest.fixture
def caller(server: RawServer) -> Iterator[Caller]:
    one = Caller(gevent.get_hub(), [(server.endpoint, 1)], None, 10_000)
    yield one
    one.close()


def link_of(caller: Caller) -> Link:
    (link,) = caller.links
    return link


def arrived(caller: Caller) -> None:
    """Wait, without a turn of the loop, until the descriptor tells of something."""
    assert select.select([sockets.descriptor(link_of(caller).dealer.socket)], [], [], PATIENCE)[0]


def send_until_the_edge_is_gone(caller: Caller) -> None:
    """To send takes away what the descriptor has to tell."""
    link, give_up = link_of(caller), monotonic() + PATIENCE
    while select.select([sockets.descriptor(link.dealer.socket)], [], [], 0)[0]:
        assert monotonic() < give_up
        link.transmit(b"a heartbeat")


def reply(server: RawServer, header: dict[str, Any], value: object) -> None:
    server.send({"message_id": b"r", "v": 3, "response_to": header["message_id"]}, "OK", [value])


def test_heartbeats_do_not_hide_an_answer(server: RawServer, caller: Caller) -> None:
    # Two, as the loop looks a while for the answer of a lone one.
    call, never = (gevent.spawn(caller.call, "echo", (), None, None, None) for _ in range(2))
    header, _, _ = server.receive()

    def on_timer(now: float) -> list[Any]:
        caller.session.wake_at = NEVER
        reply(server, header, "late")
        arrived(caller)
        send_until_the_edge_is_gone(caller)
        return []

    caller.session.on_timer = on_timer  # type: ignore[method-assign]
    caller._on_timer()
    assert call.get(timeout=PATIENCE).value == "late"
    never.kill()


def test_calls_of_whom_the_guard_has_woken_do_not_hide_an_answer(server: RawServer, caller: Caller) -> None:
    headers = []

    def twice() -> None:
        caller.call("first", (), None, None, None)
        reply(server, headers[1], "late")
        arrived(caller)
        send_until_the_edge_is_gone(caller)
        caller.call("third", (), None, None, None)

    never = gevent.spawn(twice)
    call = gevent.spawn(caller.call, "second", (), None, None, None)
    headers += [server.receive()[0], server.receive()[0]]
    reply(server, headers[0], 1)
    arrived(caller)
    with caller.lock:
        caller.stand_in(monotonic())
    assert call.get(timeout=PATIENCE).value == "late"
    never.kill()


def test_a_call_that_waits_for_a_server_costs_next_to_nothing() -> None:
    one = Caller(gevent.get_hub(), [(nobody(), 1)], None, 10_000)
    looked = 0

    def follow() -> None:
        nonlocal looked
        looked += 1

    one.follow = follow
    try:
        call = gevent.spawn(one.call, "echo", (), None, 1.2, None)
        assert call.get(timeout=PATIENCE).error is not None
        assert 1 <= looked <= 6
    finally:
        one.close()
