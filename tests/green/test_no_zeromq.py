"""Where an endpoint of a publisher or pusher is no ZeroMQ program, nothing is sent there, and it is told."""

from __future__ import annotations

import socket
import time

import pytest
import zmq

import mesh
from mesh.core import events
from mesh.transport import handshake
from tests.green.events import ANY_PORT, PATIENCE, Ends, Heard, caught, ends, reaches, received
from tests.helpers.processes import eventually
from tests.helpers.strangers import HTTP, stranger

__all__ = ["ends"]

SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
ZMTP_1 = b"\x01\0"
ZMTP_2 = b"\xff\0\0\0\0\0\0\0\1\x7f\1\x07\0\0"
"""How a PULL of ZeroMQ 2, and one of ZeroMQ 3, greet."""
TELLTALE = "telltale"
SAID = {HTTP: "answers 'HTTP/1.1 400 Bad Request'", SSH: "answers 'SSH-2.0-OpenSSH_9.2'"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(handshake.ENV, "0.5")


@pytest.mark.parametrize("says", [HTTP, SSH, ZMTP_1, ZMTP_2], ids=["http", "ssh", "zmtp1", "zmtp2"])
def test_a_job_is_not_handed_to_it_and_the_error_says_what_answers(says: bytes, ends: Ends) -> None:
    with stranger(says=says) as (one, endpoint):
        pusher = ends.emitter(mesh.Pusher, endpoint)
        eventually(lambda: "older than" in pusher._sender.describe(), what="an answer")
        error = caught(mesh.TimeoutExpired, lambda: pusher.with_options(timeout=0.3)(TELLTALE))
        pusher.close()
    assert endpoint in error and SAID.get(says, "ZeroMQ 4.0" if says == ZMTP_1 else "older than 4.0") in error
    assert one.connections and TELLTALE.encode() not in one.heard


def test_of_several_endpoints_all_jobs_go_to_the_good_one(ends: Ends) -> None:
    puller, good = ends.raw_bound(zmq.PULL)
    with stranger() as (one, bad):
        pusher = ends.emitter(mesh.Pusher, [bad, good], queue_size=10, timeout=PATIENCE)
        for number in range(100):
            pusher(TELLTALE, number)
            assert events.unpack(received(puller)[-1])[:2] == (TELLTALE, [number])
        eventually(lambda: f"{bad}: it is no" in pusher._sender.describe(), what="an answer")
        puller.close()
        eventually(lambda: not pusher._sender.connections, what="the end of the good one")
        error = caught(mesh.TimeoutExpired, lambda: pusher.with_options(timeout=0.3)(TELLTALE))
        assert f"{bad}: it is no ZeroMQ program" in error
    assert one.connections and TELLTALE.encode() not in one.heard


def test_after_a_good_one_at_the_same_port_nothing_goes_there(ends: Ends) -> None:
    puller, endpoint = ends.raw_bound(zmq.PULL)
    pusher = ends.emitter(mesh.Pusher, endpoint, timeout=PATIENCE)
    pusher("first")
    assert received(puller)
    puller.close()
    eventually(lambda: not pusher._sender.connections, what="the end of the connection")
    with stranger(int(endpoint.rpartition(":")[2])) as (one, _):
        eventually(lambda: "'HTTP/1.1" in pusher._sender.describe(), what="an answer")
        error = caught(mesh.TimeoutExpired, lambda: pusher.with_options(timeout=0.3)(TELLTALE))
        assert endpoint in error and SAID[HTTP] in error
    assert one.connections and TELLTALE.encode() not in one.heard
    heard = Heard()
    again = mesh.Puller(None, heard)
    eventually(lambda: _binds(again, endpoint), what=f"room at {endpoint}")
    with again:
        pusher("last")
        heard.wait(["last"])


def _binds(receiver: mesh.Puller, endpoint: str) -> bool:
    try:
        receiver.bind(endpoint)
    except mesh.ConfigError:
        return False
    return True


def test_a_job_that_waits_goes_to_whoever_takes_the_place(ends: Ends) -> None:
    with stranger() as (one, endpoint):
        pusher = ends.emitter(mesh.Pusher, endpoint, timeout=PATIENCE)
        eventually(lambda: "'HTTP/1.1" in pusher._sender.describe(), what="an answer")
    receiver = mesh.Puller(None, heard := Heard())
    eventually(lambda: _binds(receiver, endpoint), what=f"room at {endpoint}")
    with receiver:
        pusher(TELLTALE)
        heard.wait([TELLTALE])
    assert TELLTALE.encode() not in one.heard


def test_a_publisher_says_what_answers_and_counts_nobody(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    with stranger() as (one, bad):
        publisher = ends.emitter(mesh.Publisher, bad)
        eventually(lambda: SAID[HTTP] in caplog.text, what="a line in the log")
        assert f"the publisher of {bad}: {bad}: it is no ZeroMQ program" in caplog.text
        publisher(TELLTALE)
        assert publisher.dropped["nobody had subscribed"] == 1
        error = caught(mesh.TimeoutExpired, lambda: publisher.wait_for_subscriber(0.3))
        assert bad in error and SAID[HTTP] in error
        receiver = mesh.Subscriber(None, heard)
        publisher.connect(receiver.bind(ANY_PORT))
        with receiver:
            reaches(publisher, heard)
            publisher(TELLTALE)
            eventually(lambda: [TELLTALE] in heard, what="the event")
    assert one.connections and TELLTALE.encode() not in one.heard
    assert sum(SAID[HTTP] in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    "says", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ZMTP_1, ZMTP_2], ids=["http", "1", "2"]
)
@pytest.mark.parametrize("kind", [mesh.Publisher, mesh.Pusher])
def test_a_stranger_who_comes_gets_nothing(
    kind: type[mesh.Publisher] | type[mesh.Pusher], says: bytes, ends: Ends
) -> None:
    emitter, endpoint = ends.bound(kind)
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as one:
        one.sendall(says)
        one.settimeout(5.0)
        heard = _all(one)
        assert emitter._sender.connections == 0
    if isinstance(emitter, mesh.Pusher):
        caught(mesh.TimeoutExpired, lambda: emitter.with_options(timeout=0)(TELLTALE))
    else:
        emitter(TELLTALE)
        assert emitter.dropped["nobody had subscribed"] == 1
    assert len(heard) <= 64, "no more than a greeting"


def _all(one: socket.socket) -> bytes:
    """What comes until the other end ends the connection."""
    heard = b""
    began = time.monotonic()
    try:
        while more := one.recv(65_536):
            heard += more
    except ConnectionError:
        pass
    assert time.monotonic() - began < 5.0
    return heard
