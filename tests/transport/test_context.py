"""The routing ids that ROUTER sockets give: of no two processes the same, also after a fork."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import zmq

import mesh
from mesh.core import wire
from tests.helpers import peers

UNSEEDED = """
import ctypes
rand = ctypes.CDLL(None).rand
print(*[(rand() | rand() << 31) & 0xFFFFFFFF for _ in range(8)])
"""
"""Where the ids of the first ROUTER sockets begin in a process that nobody has seeded."""

PING = wire.pack({"message_id": b"1", "v": 3}, "_zerorpc_ping", [])

IDS = """
import os, sys, zmq
from mesh.transport import process

def first_id():
    context = process.context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind("inproc://ids")
    dealer.connect("inproc://ids")
    dealer.send(b"")
    return router.recv_multipart()[0].hex()

print(first_id(), flush=True)
if os.fork() == 0:
    print(first_id(), flush=True)
    os._exit(0)
os.wait()
os._exit(0)
"""


def python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout


def test_no_two_processes_begin_at_the_same_id() -> None:
    ids = python(IDS).split() + python(IDS).split()
    assert len(ids) == 4
    assert len(set(ids)) == 4, "two processes and the child of each"


def test_strangers_with_made_up_ids_end_no_server() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(peers.mesh_server())
        context = zmq.Context()
        stack.callback(context.destroy, 0)
        for id in [first + later for first in map(int, python(UNSEEDED).split()) for later in range(12)]:
            stranger = stack.enter_context(context.socket(zmq.DEALER))
            stranger.routing_id = b"\0" + id.to_bytes(4, "big")
            stranger.connect(server.endpoint)
            stranger.send_multipart([b"", PING])
            assert stranger.poll(20_000), "it has been taken in"
        for one in range(3):
            with mesh.connect(server.endpoint, timeout=20) as client:
                assert client.add(one, 1) == one + 1
        assert server.returncode is None
