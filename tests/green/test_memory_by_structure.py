"""A message of many small values, which would take seventy times its bytes in memory: it costs no process
its memory, and no other caller much time. Every kind of end that reads one runs here as a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from mesh.core import wire
from tests.e2e.commands import environment
from tests.helpers.peers import mesh_server
from tests.helpers.processes import Process, eventually
from tests.helpers.raw import RawClient
from tests.hubs.cluster import Hub, connected, worker

MIB = 1024 * 1024
SIZES = [
    pytest.param(16 * MIB, id="16 MiB"),
    # A hub takes 128 MiB, header and all.
    pytest.param(127 * MIB, id="127 MiB", marks=pytest.mark.soak),
]


def maps(size: int) -> bytes:
    """That many bytes, in which nearly each is an empty map."""
    return b"\xdd" + size.to_bytes(4, "big") + b"\x80" * size


def event(header: dict[str, Any], name: str, args: bytes) -> bytes:
    return b"\x93" + msgpack.packb(header) + msgpack.packb(name) + args


def peak(process: Process) -> float:
    """The most memory that it has taken, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def busy(process: Process) -> float:
    """Seconds of a processor that it has taken: for so long, at the most, others have waited."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def unharmed(process: Process, size: int) -> Iterator[None]:
    """A message itself is there twice for a while: as libzmq has it, and as bytes of ours."""
    memory, began = peak(process), busy(process)
    yield
    assert peak(process) < min(memory + 2.2 * size / MIB + 40, 400)
    assert busy(process) - began < 0.5 + size / (512 * MIB)


def check_refusal(sender: RawClient) -> None:
    header, name, args = sender.answer()
    assert (name, header["refused"], args[0]) == (wire.ERR, True, "WireError")
    assert "more than 1000000 values" in args[1] and "raise max_elements" in args[1]


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except mesh.ServiceNotFound:
        return False
    return True


@pytest.mark.parametrize("size", SIZES)
def test_at_a_server(size: int) -> None:
    with (
        mesh_server() as server,
        mesh.connect(server.endpoint, timeout=20) as client,
        RawClient(server.endpoint) as sender,
        unharmed(server, size),
    ):
        sender.send_payload(event({"message_id": b"k" * 32, "v": 3, "deadline": 9_000}, "add", maps(size)))
        check_refusal(sender)
        assert client.add(1, 2) == 3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beside", [False, True], ids=["its worker", "a sidecar"])
def test_at_a_hub_and_who_takes_its_calls(tmp_path: Path, size: int, beside: bool) -> None:
    head = {"message_id": b"k" * 32, "v": 3, "deadline": 9_000}
    begin = msgpack.packb({**head, "kwargs": 0})[:-1]
    payloads = [
        event(head, "pid", maps(size)),
        # Longer than what a hub looks through without a question.
        b"\x93" + begin + b"\x81\xa1a" + maps(size) + b"\xa3pid\x90",
    ]
    with ExitStack() as stack:
        hub = Hub(tmp_path, "hub", "queue", stack)
        if beside:
            server = stack.enter_context(mesh_server())
            command = [sys.executable, "-m", "mesh.cli.register", "users", server.endpoint, "--hub", hub.out]
            process = stack.enter_context(Process(command, env=environment()))
        else:
            process = stack.enter_context(worker(hub))
        client = stack.enter_context(connected(tmp_path, hub.in_))
        sender = stack.enter_context(RawClient(hub.in_))
        call = client.pid if not beside else lambda: client.add(1, 2)
        eventually(lambda: works(call))
        for payload in payloads:
            with unharmed(hub.process, size), unharmed(process, size):
                sender.send_payload(payload)
                check_refusal(sender)
                call()


def test_at_a_subscriber(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []
    with (
        zmq.Context() as context,
        context.socket(zmq.PUB) as publisher,
        mesh.Subscriber(None, lambda *args: got.append(args), max_elements=100_000) as subscriber,
    ):
        publisher.bind("tcp://127.0.0.1:*")
        subscriber.connect(publisher.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        header = {"message_id": b"k" * 32, "v": 3}

        def delivered() -> bool:
            publisher.send(event(header, "fine", b"\x91\x01"))
            gevent.sleep(0.01)
            return bool(got)

        eventually(delivered)
        publisher.send(event(header, "large", maps(200_000)))
        eventually(lambda: "more than 100000 values" in caplog.text)
        assert set(got) == {("fine", 1)} and subscriber.dropped["malformed"] == 1
