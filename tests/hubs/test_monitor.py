"""Which connections count as a peer's when they end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from select import select

import pytest
import zmq

from hubs.monitor import Connections, Monitor
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.wires import ANY, Wires

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


@pytest.fixture
def watched() -> Iterator[tuple[Monitor, str]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    monitor = Monitor(context, router, lambda event, now: None)
    router.bind(ANY)
    yield monitor, router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    monitor.close()
    context.destroy(linger=0)


def test_a_real_scanner_and_a_real_peer(watched: tuple[Monitor, str], wires: Wires) -> None:
    monitor, endpoint = watched
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), PATIENCE) as scanner:
            assert scanner.recv(1) == b"\xff"
    open_ones = monitor._connections._open

    def gone() -> bool:
        assert not monitor.broke()
        return not open_ones

    eventually(gone)
    peer = wires(zmq.DEALER, endpoint)
    eventually(lambda: not monitor.broke() and monitor._connections._handshakes)
    peer.close(0)
    assert select([monitor.fd], [], [], PATIENCE)[0]
    eventually(monitor.broke)
