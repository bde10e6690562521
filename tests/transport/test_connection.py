"""What the system has counted on a connection of libzmq's, and whose descriptor that is."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from mesh.core.progress import Counters, Progress
from mesh.transport.connection import Connection
from mesh.transport.peers import MAX_OTHERS, Peers
from tests.helpers.processes import eventually, run

Zmq = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Zmq]:
    with ExitStack() as stack:
        made = zmq.Context()
        stack.callback(made.destroy, 0)
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            yield near, far


Pair = tuple[socket.socket, socket.socket]


def test_it_counts_in_both_directions(pair: Pair) -> None:
    near, far = pair
    connection = Connection(near.fileno())
    before = connection.counters()
    assert before is not None
    near.sendall(b"x" * 1_000)
    far.sendall(b"y" * 2_000)

    def counted() -> Counters | None:
        now = connection.counters()
        return now if now is not None and now.received > before.received and not now.pending else None

    after = eventually(counted)
    assert after is not None
    assert after.acked - before.acked == 1_000 and after.received - before.received == 2_000
    assert after.idle < 5.0


def test_what_the_far_end_does_not_take_is_pending(pair: Pair) -> None:
    near, _ = pair
    near.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += near.send(b"x" * 65_536)
    counters = Connection(near.fileno()).counters()
    assert counters is not None and 0 < counters.pending <= sent
    assert abs(counters.acked - 1 + counters.pending - sent) <= 1


def test_another_connection_by_the_same_descriptor_is_another(pair: Pair) -> None:
    near, _ = pair
    number = near.fileno()
    connection = Connection(number)
    assert connection.stands
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.dup2(socket.create_connection(listener.getsockname()).detach(), number)
    assert not connection.stands and connection.counters() is None


def test_what_is_no_connection_has_no_counters(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other, open(tmp_path / "file", "w") as file, socket.socket() as unconnected:
        for number in (one.fileno(), file.fileno(), unconnected.fileno(), 99_999, -1):
            assert Connection(number).counters() is None


def test_a_lock_on_a_file_that_has_got_the_descriptor_is_kept(pair: Pair, tmp_path: Path) -> None:
    """To close any descriptor of a file gives up the locks that the process has on it."""
    near, _ = pair
    connection = Connection(near.fileno())
    with open(tmp_path / "locked", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.dup2(file.fileno(), near.fileno())
        assert connection.counters() is None
        pid = os.fork()
        if pid == 0:
            try:
                with open(tmp_path / "locked", "w") as again:
                    fcntl.lockf(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os._exit(0)
            except OSError:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_another_system_tells_nothing() -> None:
    """As one whose Python lacks what Linux has."""
    program = """
import sys, _socket, socket
sys.platform = "elsewhere"
sys.modules["fcntl"] = sys.modules["termios"] = None
del _socket.TCP_INFO
from mesh.transport.connection import Connection
listener = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(listener.getsockname())
print(Connection(one.fileno()).counters())
"""
    assert run([sys.executable, "-c", program]) == (0, "None\n", "")


def test_nothing_is_left_open(pair: Pair) -> None:
    connection = Connection(pair[0].fileno())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        assert connection.counters() is not None and connection.stands
    assert len(os.listdir("/proc/self/fd")) == before


# Whose it is


class Router:
    """A ROUTER that meets its peers as the drivers do."""

    def __init__(self, context: Zmq, endpoint: str) -> None:
        self.peers = Peers()
        self.socket = context.socket(zmq.ROUTER)
        # The name is free a moment after the monitor has told that its connection has ended.
        self.socket.set(zmq.ROUTER_HANDOVER, 1)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def receive(self) -> bytes:
        assert self.socket.poll(5_000)
        peer = self.socket.recv()
        frame = self.socket.recv(copy=False)
        if peer not in self.peers.known:
            self.peers.meet(peer, frame)
        return peer

    def watch(self) -> None:
        while self._monitor.poll(0):
            told = parse_monitor_message(self._monitor.recv_multipart())
            self.peers.ended(told["value"])


def dealer(context: Zmq, router: Router, name: bytes = b"") -> zmq.Socket[bytes]:
    one = context.socket(zmq.DEALER)
    if name:
        one.set(zmq.ROUTING_ID, name)
    one.connect(router.endpoint)
    one.send(b"x" * 10_000)
    return one


def test_each_peer_has_the_counters_of_its_connection(context: Zmq) -> None:
    router = Router(context, "tcp://127.0.0.1:*")
    seen, dealers = {}, []
    for number in range(3):
        one = dealer(context, router)
        dealers.append(one)
        for _ in range(number):
            one.send(b"x" * 10_000)
        (seen[number],) = {router.receive() for _ in range(number + 1)}
    assert len(set(seen.values())) == 3
    for number, peer in seen.items():
        progress = router.peers.progress(peer)
        assert isinstance(progress, Progress) and router.peers.progress(peer) is progress
        connection = router.peers.known[peer]
        assert connection is not None
        counters = connection.counters()
        assert counters is not None
        assert (number + 1) * 10_000 < counters.received < (number + 1) * 10_000 + 1_000


def test_a_peer_that_is_gone_is_forgotten_and_one_that_comes_back_is_met_again(context: Zmq) -> None:
    router = Router(context, "tcp://127.0.0.1:*")
    for _ in range(3):
        one = dealer(context, router, b"name")
        assert router.receive() == b"name"
        assert router.peers.progress(b"name") is not None
        one.close(0)

        def forgotten() -> bool:
            router.watch()
            return not router.peers.known

        eventually(forgotten)
        assert not router.peers.watched and not router.peers._of


def test_what_has_no_counters_is_met_once_and_bounded(context: Zmq, tmp_path: Path) -> None:
    for endpoint in ("inproc://here", f"ipc://{tmp_path}/path"):
        router = Router(context, endpoint)
        one = dealer(context, router)
        peer = router.receive()
        assert peer in router.peers.known and router.peers.progress(peer) is None
        one.close(0)
    peers = Peers()
    frame = zmq.Frame(b"of nobody")
    for number in range(2 * MAX_OTHERS):
        peers.meet(b"%d" % number, frame)
    assert len(peers.known) == MAX_OTHERS
