"""What answers at an endpoint that breaks off handshakes: real sockets of ZeroMQ, and strangers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from mesh.transport import greeting

SIGNATURE = b"\xff\0\0\0\0\0\0\0\1\x7f"


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(0)


def describe(heard: bytes | None, kind: int) -> str:
    assert heard is not None
    return greeting.describe(heard, kind)


def answer(said: bytes, *, closes: bool = True) -> bytes | None:
    """What is heard of a program that says this to whoever connects."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            connection = stack.enter_context(listener.accept()[0])
            connection.sendall(said)
            if closes:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join, 5.0)
        return greeting.ask(f"tcp://127.0.0.1:{listener.getsockname()[1]}", 0.5)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>", "'HTTP/1.1 400 Bad Request'"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "'SSH-2.0-OpenSSH_9.2'"),
        (b"\x15\x03\x01\0\x02\x02\x46", r"b'\x15\x03\x01\x00\x02\x02F'"),
        (b"\x01\0", r"b'\x01\x00'"),
        (b"x" * 1_000, repr("x" * 60)),
        (b"\x1b[31mred", repr(b"\x1b[31mred")),
        (b"\xff\0\0\0\0\0\0\0\1\0", "ZeroMQ 4.0"),
    ],
)
def test_text_is_no_zeromq_and_is_shown(said: bytes, shown: str) -> None:
    told = describe(answer(said), zmq.PUSH)
    assert (
        told.startswith("it is no ZeroMQ program, or one older than ZeroMQ 4.0: it answers ")
        and shown in told
    )


def test_an_old_zeromq_is_told_by_its_version() -> None:
    for revision in (0, 1, 2):
        heard = answer(SIGNATURE + bytes([revision, 7, 0, 0]))
        assert describe(heard, zmq.PUSH).startswith("it is a ZeroMQ older than 4.0")


def test_a_telnet_server_is_no_zeromq() -> None:
    heard = answer(b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff" + b"\xfb\x03" * 30)
    assert "no ZeroMQ program" in describe(heard, zmq.PUSH)


def test_who_says_nothing_or_only_begins_is_not_judged_and_not_waited_for_long() -> None:
    began = time.monotonic()
    for said in (b"\xff", SIGNATURE, SIGNATURE + b"\x03\x00NULL"):
        assert describe(answer(said, closes=False), zmq.PUSH) == ""
    assert answer(b"", closes=False) is None
    assert time.monotonic() - began < 4.0
    assert greeting.ask("tcp://127.0.0.1:1", 0.5) == b"" == greeting.ask("tcp://no port", 0.5)


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (zmq.PAIR, zmq.PUSH, "it is another kind of ZeroMQ socket: 'PAIR', and only PULL will do"),
        (zmq.PUSH, zmq.SUB, "it is another kind of ZeroMQ socket: 'PUSH', and only PUB or XPUB will do"),
        (zmq.PULL, zmq.PUSH, ""),
        (zmq.XSUB, zmq.XPUB, ""),
        (zmq.DEALER, zmq.ROUTER, ""),
    ],
)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_the_kind_of_a_socket_is_told(
    theirs: int, ours: int, said: str, transport: str, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    foreign = context.socket(theirs)
    foreign.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/one")
    endpoint = foreign.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    assert describe(greeting.ask(endpoint, 5.0), ours) == said


def test_one_that_wants_a_key_is_told(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    foreign = context.socket(zmq.PULL)
    foreign.curve_server = True
    foreign.curve_secretkey = zmq.curve_keypair()[1]
    port = foreign.bind_to_random_port("tcp://127.0.0.1")
    assert "wants a key" in describe(greeting.ask(f"tcp://127.0.0.1:{port}", 0.5), zmq.PUSH)


@pytest.mark.parametrize(
    "ready",
    [
        b"",
        b"\x05READY",
        b"\x05READY\x0bSocket-Type",
        b"\x05READY\x0bSocket-Type\xff\xff\xff\xff",
        b"\x05ERROR\x01x",
    ],
)
def test_a_broken_command_is_not_judged(ready: bytes) -> None:
    whole = SIGNATURE + b"\x03\x00" + b"NULL".ljust(52, b"\0") + bytes([4, len(ready)]) + ready
    for length in range(len(whole) + 1):
        assert greeting.describe(whole[:length], zmq.PUSH) == ""
