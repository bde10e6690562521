"""Crowds of strangers at servers and hubs: made-up routing ids, and handshakes without an end."""

from __future__ import annotations

import os
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent
import pytest
import zmq

from mesh.core import wire
from tests.helpers import peers
from tests.helpers.processes import Process, eventually
from tests.hubs.cluster import Hub, worker

pytestmark = pytest.mark.soak

STRANGERS = 10_000
CLIENTS = 1_000
FILES = 20_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\0NULL" + bytes(16 + 1 + 31)
FREED_WITHIN = 5.0
SPARE = 60 * 2**20
"""Bytes that a process may keep of what it has freed."""


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, before[1])))
    except (OSError, ValueError):
        pytest.skip(f"needs {FILES} file descriptors: raise the hard limit of `ulimit -n`")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Place:
    """strangers_at: where strangers come. clients_at: where calls of `method` are answered."""

    def __init__(self, process: Process, strangers_at: str, clients_at: str, method: str) -> None:
        self.process = process
        self.strangers_at = strangers_at
        self.clients_at = clients_at
        self.method = method


PLACES = ["server", *(f"{side} of a {kind}" for kind in ("queue", "majordomo") for side in ("in", "out"))]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        if request.param == "server":
            server = stack.enter_context(peers.mesh_server())
            yield Place(server, server.endpoint, server.endpoint, "add")
            return
        side, _, kind = request.param.partition(" of a ")
        hub = Hub(tmp_path, "one", kind, stack, heartbeat=2.5)
        stack.enter_context(worker(hub, service="mine"))
        yield Place(hub.process, hub.in_ if side == "in" else hub.out, hub.in_, "pid")


def test_made_up_routing_ids_end_nobody_and_lose_no_call(place: Place) -> None:
    with ExitStack() as stack:
        for _ in range(STRANGERS):
            one = stack.enter_context(_connected(place.strangers_at))
            one.sendall(GREETING + _ready(b"\0" + random.randbytes(4)))
        context = stack.enter_context(zmq.Context())
        context.set(zmq.MAX_SOCKETS, 2 * CLIENTS)
        assert _call(place, context, CLIENTS) == ["OK"] * CLIENTS
        assert place.process.returncode is None
        context.destroy(0)


def test_what_fills_a_handshake_or_says_nothing_is_freed(place: Place) -> None:
    before = _memory(place.process), _files(place.process)
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(_connected(place.strangers_at))
        command = b"\x06" + (100_000_000).to_bytes(8, "big") + b"\x05READY"
        greedy = [stack.enter_context(_connected(place.strangers_at)) for _ in range(5)]
        for one in greedy:
            one.sendall(GREETING)
        filled = [gevent.get_hub().threadpool.spawn(_fill, one, command) for one in greedy]
        gevent.joinall(filled, timeout=20)
        began = time.monotonic()
        eventually(
            lambda: _files(place.process) <= before[1] + 5 and _memory(place.process) <= before[0] + SPARE,
            timeout=3 * FREED_WITHIN,
            what=lambda: f"{before} again, not {_memory(place.process), _files(place.process)}",
        )
        assert time.monotonic() - began < FREED_WITHIN
    with zmq.Context() as context:
        assert _call(place, context, 1) == ["OK"]
        context.destroy(0)


def _connected(endpoint: str) -> socket.socket:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _ready(identity: bytes) -> bytes:
    """ZMTP's READY of a DEALER with a routing id of its own."""
    properties = {b"Socket-Type": b"DEALER", b"Identity": identity}
    body = b"\x05READY"
    for name, value in properties.items():
        body += bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return b"\x04" + bytes([len(body)]) + body


def _fill(one: socket.socket, command: bytes) -> None:
    try:
        one.sendall(command + bytes(99_000_000))
    except OSError:
        pass  # it was let go meanwhile


def _call(place: Place, context: zmq.Context[zmq.Socket[bytes]], number: int) -> list[str]:
    """What each of so many clients is answered."""
    args = [1, 2] if place.method == "add" else []
    clients = [context.socket(zmq.DEALER) for _ in range(number)]
    for one, client in enumerate(clients):
        client.linger = 0
        client.connect(place.clients_at)
        header = {"message_id": b"%032d" % one, "v": 3, "service": "mine"}
        client.send_multipart([b"", wire.pack(header, place.method, args)])
    return [_answer(client) for client in clients]


def _answer(client: zmq.Socket[bytes]) -> str:
    while True:
        assert client.poll(20_000), "an answer"
        event = wire.unpack(client.recv_multipart()[-1])
        if event[1] != wire.BEAT:
            return event[1]


def _memory(process: Process) -> int:
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def _files(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))
