"""Peers that do not read: a server among them, and one whose client floods it and goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

import mesh
from mesh.core import wire
from mesh.core.client_session import ClientSession
from mesh.core.outbox import MAX_MESSAGES, Outbox
from mesh.names.model import Endpoint
from mesh.transport.client_link import Link
from tests.helpers.processes import eventually, python

PROGRAM = Path(__file__).parent / "programs" / "blocked.py"
BLOCKED = 4.0  # longer than the interval of the heartbeats that were at fault, with what goes before


def test_a_server_that_does_not_read_is_told_with_the_method() -> None:
    session = ClientSession(b"c" * 24, lambda: 0.5)
    link = Link(Endpoint("tcp://127.0.0.1:9"), session, wire.MAX_MESSAGE)  # nobody is there to take any
    session.add(link)
    session.peer_up(link, 0.0)
    for _ in range(MAX_MESSAGES):
        call = session.open("save", (), None, 0.0, 30.0)
        link.transmit(call.payload, call)  # type: ignore[arg-type]
    with pytest.raises(mesh.Overloaded) as caught:
        link.transmit(call.payload, call)  # type: ignore[arg-type]
    link.dealer.close()
    assert caught.value.refused
    why = (
        "10000 messages wait already for tcp://127.0.0.1:9, which does not read, or are more than can be sent"
    )
    assert str(caught.value).startswith(f"'save' was not sent: {why} in one turn of the loop")


def test_what_is_too_much_is_refused_without_a_look_at_all_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    keep = Outbox.keep

    def counted(outbox: Outbox[object], wanted: Callable[[object], bool]) -> None:
        looks.append(len(outbox))
        keep(outbox, wanted)

    monkeypatch.setattr(Outbox, "keep", counted)
    session = ClientSession(b"c" * 24, lambda: 0.5)
    link = Link(Endpoint("tcp://127.0.0.1:9"), session, wire.MAX_MESSAGE)
    session.add(link)
    session.peer_up(link, 0.0)
    waiting = []
    for _ in range(MAX_MESSAGES):
        waiting.append(session.open("save", (), None, 0.0, 30.0))
        link.transmit(waiting[-1].payload, waiting[-1])
    for _ in range(5_000):
        over = session.open("save", (), None, 0.0, 30.0)
        with pytest.raises(mesh.Overloaded):
            link.transmit(over.payload, over)
        session.cancel(over, 0.0)
    assert len(looks) == 1
    for call in waiting[: MAX_MESSAGES // 16 + 1]:
        session.cancel(call, 0.0)
    link.transmit(over.payload, session.open("save", (), None, 0.0, 30.0))
    assert len(looks) == 2 and len(link.dealer.outbox) < MAX_MESSAGES
    link.dealer.close()


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
