"""Which connections count as a peer's when they end."""

from __future__ import annotations

import socket
import threading
from select import select
from time import monotonic

import zmq

from hubs.connections import EVENTS, Connections
from hubs.router_socket import RouterSocket
from mesh.transport.context import new_context
from mesh.transport.monitors import Monitors
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.wires import ANY, Wires, spec

HANDSHAKE = 2.0
BEGUN, SHAKEN, ENDED = zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED


def told(*events: tuple[int, int], seconds: float = 0.0) -> list[bool]:
    """What came of each event of a new monitor. seconds: from the first to the last."""
    connections = Connections(HANDSHAKE)
    last = len(events) - 1
    return [connections.happened(*one, seconds * (at == last)) for at, one in enumerate(events)]


def test_the_connection_of_a_peer_counts_and_that_of_a_scanner_does_not() -> None:
    assert told((BEGUN, 7), (SHAKEN, 0), (ENDED, 7))[-1]
    assert not any(told((BEGUN, 7), (ENDED, 7)))
    assert told((BEGUN, 7), (SHAKEN, 0), (BEGUN, 8), (ENDED, 8), (ENDED, 7)) == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_in_doubt_it_counts() -> None:
    # Whose handshake it was is not told, nor is there an event for that of a peer of ZMTP 2.
    assert told((BEGUN, 7), (BEGUN, 8), (SHAKEN, 0), (ENDED, 7))[-1]
    assert told((BEGUN, 7), (ENDED, 7), seconds=HANDSHAKE)[-1]
    assert told((ENDED, 7)) == [True]


def test_a_descriptor_that_is_used_again_is_another_connection() -> None:
    assert told((BEGUN, 7), (SHAKEN, 0), (ENDED, 7), (BEGUN, 7), (ENDED, 7)) == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_real_scanner_and_a_real_peer(wires: Wires) -> None:
    context = new_context()
    monitors = Monitors(context, threading.Lock)
    router = context.socket(zmq.ROUTER)
    try:
        watch(monitors, router, wires)
    finally:
        router.close(0)
        monitors.close()
        context.term()


def watch(monitors: Monitors, router: zmq.Socket[bytes], wires: Wires) -> None:
    monitor = monitors.monitor(router, EVENTS)
    connections = Connections(HANDSHAKE)
    router.bind(ANY)
    endpoint = router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def broke() -> bool:
        ended = False
        for event in monitor.take():
            ended |= connections.happened(event.kind, event.value, monotonic())
        return ended

    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), PATIENCE) as scanner:
            assert scanner.recv(1) == b"\xff"

    def gone() -> bool:
        assert not broke()
        return not connections._open

    eventually(gone)
    peer = wires(zmq.DEALER, endpoint)
    eventually(lambda: not broke() and connections._handshakes)
    peer.close(0)
    assert select([monitors.fd], [], [], PATIENCE)[0]
    eventually(broke)
    monitor.close()


def test_what_one_router_reads_for_the_other_is_not_left_lying(wires: Wires) -> None:
    """All monitors of a hub have one descriptor, which is silent when anybody has read."""
    context = new_context()
    monitors = Monitors(context, threading.Lock)
    one, other = (
        RouterSocket(context, monitors, spec("queue"), side, "in", gone=int, unread=max, wake=int)
        for side in (0, 1)
    )
    try:
        other.socket.bind(ANY)
        peer = wires(zmq.DEALER, other.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

        def read_by_one() -> bool:
            assert not one.connection_broke(0.0)
            return other.news

        eventually(read_by_one)
        eventually(lambda: not other.connection_broke(0.0) and other._connections._handshakes)
        peer.close(0)
        other.news = False
        eventually(read_by_one)
        eventually(lambda: other.connection_broke(0.0))
        assert not other.news
    finally:
        for router in (one, other):
            router.close(0)
        monitors.close()
        context.term()
