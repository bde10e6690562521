"""A client that floods a busy server and goes, which once made libzmq abort the server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import zmq

import mesh
from mesh.core import wire
from tests.helpers.processes import eventually, python

PROGRAM = Path(__file__).parent / "programs" / "blocked.py"
BLOCKED = 4.0  # longer than the interval of the heartbeats that were at fault, with what goes before


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_flood_that_nobody_reads_and_its_end_harm_no_server(transport: str, tmp_path: Path) -> None:
    endpoint = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/server"
    with python(PROGRAM, endpoint) as server:
        real = server.wait_for(rf"{transport}://\S+")[0]
        context = zmq.Context()
        client = context.socket(zmq.DEALER)
        client.set(zmq.SNDHWM, 0)
        client.set(zmq.LINGER, 0)
        client.connect(real)
        client.send_multipart([b"", wire.pack({"message_id": b"0", "v": 3}, "block", [BLOCKED])])
        for number in range(5_000):
            header = {"message_id": b"%d" % number, "v": 3}
            client.send_multipart([b"", wire.pack(header, "echo", ["x" * 200])])
        flooded = time.monotonic()
        eventually(lambda: time.monotonic() - flooded > 1.0)
        client.close()
        context.term()
        with mesh.connect(real, timeout=20) as other:
            assert other.echo("still there") == "still there"
        assert server.returncode is None
